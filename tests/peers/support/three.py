"""Apache Kafka as a cluster of three brokers, each of them a controller too."""

from pathlib import Path

from .brokers import SETTINGS
from .nodes import Kafka, Node, Nodes

NUMBERS = (1, 2, 3)


class KafkaCluster:
    """Three brokers that run; each may be stopped, and started again under its address."""

    def __init__(self, folder: Path) -> None:
        """Format their data dirs, and start them."""
        self._nodes = Nodes(folder, SETTINGS, kind=Kafka, numbers=NUMBERS)
        self.brokers: dict[int, Node] = {node.number: node for node in self._nodes.all}

    @property
    def bootstrap(self) -> str:
        """The addresses of all three."""
        return self._nodes.bootstrap

    def start(self, node: int) -> None:
        """Start a broker again that was stopped."""
        self._nodes.start(self.brokers[node])

    def stop_cleanly(self, node: int) -> None:
        """End a broker by SIGTERM: it hands its partitions over first."""
        self.brokers[node].stop()

    def stop(self) -> None:
        """End them all: without a majority none could hand over what it leads."""
        self._nodes.kill()
