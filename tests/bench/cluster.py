"""All that is measured of three brokers."""

from pathlib import Path

from cluster_failures import by_itself, hung, killed
from cluster_load import KINDS, loaded, running, starting
from measures import Figures, Sizes


def cluster(kind: str, folder: Path, sizes: Sizes) -> Figures:
    """All figures of three brokers of one kind."""
    figures = starting(kind, folder / "start")
    with running(KINDS[kind], folder / "load") as three:
        figures |= loaded(kind, three, sizes)
        if kind == "strandline":
            figures |= hung(three)
        figures |= killed(three)
    if kind == "strandline":
        figures |= by_itself(folder, sizes)
    return figures
