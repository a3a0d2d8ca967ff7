"""How far a long read is: a bar of tqdm's, or a call of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strandline.scan import _needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strandline._strandline import NativeBatch, NativeBatches
    from strandline.scan import Progress


def told(batches: NativeBatches, progress: Progress, topic: str) -> Iterator[NativeBatch]:
    """Hand the batches on, and tell after each how many offsets were read, and of how many."""
    if callable(progress):
        yield from _called(batches, progress)
    elif progress:
        # In a notebook it is a widget, in a terminal a line.
        bars = _needs("tqdm.auto", "progress=True (a function does without)")
        _, total = batches.progress
        with bars.tqdm(total=total, desc=topic, unit=" offsets", unit_scale=True) as bar:
            yield from _called(batches, lambda read, _: _moved(bar, read))
    else:
        yield from batches


def _called(batches: NativeBatches, progress: Callable[[int, int], object]) -> Iterator[NativeBatch]:
    before = -1
    for batch in batches:
        before, total = batches.progress
        progress(before, total)
        yield batch
    read, total = batches.progress
    # What came last may have been no records: what compaction left, or nothing at all.
    if read != before:
        progress(read, total)


def _moved(bar: Any, read: int) -> None:
    bar.update(read - bar.n)
