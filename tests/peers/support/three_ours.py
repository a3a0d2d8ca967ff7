"""Three brokers of either kind, as a scenario hurts them: by the names a, b and c, whatever their node ids are."""

import re
from pathlib import Path
from typing import Protocol

import strandline as sl

from .brokers import SETTINGS
from .three import KafkaCluster

NAMES = "abc"


class Three(Protocol):
    """Three brokers that can be stopped and started, by their places."""

    @property
    def bootstrap(self) -> str:
        """Where they are."""

    @property
    def nodes(self) -> list[int]:
        """Their node ids."""

    def stop(self, place: int) -> None:
        """End one in good order."""

    def start(self, place: int) -> None:
        """Start it again."""


class Kafka:
    """Apache Kafka's."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self.nodes = sorted(cluster.brokers)

    @property
    def bootstrap(self) -> str:
        """Where they are."""
        return self._cluster.bootstrap

    def stop(self, place: int) -> None:
        """End one in good order."""
        self._cluster.stop_cleanly(self.nodes[place])

    def start(self, place: int) -> None:
        """Start it again."""
        self._cluster.start(self.nodes[place])


class Ours:
    """Ours, in this process."""

    def __init__(self, folder: Path) -> None:
        settings = {**SETTINGS, "offsets.topic.num.partitions": "3"}
        self._cluster = sl.Cluster(folder, brokers=3, config=settings)
        self.nodes = [broker.id for broker in self._cluster.brokers]

    @property
    def bootstrap(self) -> str:
        """Where they are."""
        return self._cluster.bootstrap_servers

    def stop(self, place: int) -> None:
        """End one in good order."""
        self._cluster.brokers[place].stop()

    def kill(self, place: int) -> None:
        """End one where it stands."""
        self._cluster.brokers[place].kill()

    def start(self, place: int) -> None:
        """Start it again."""
        self._cluster.brokers[place].start()

    def close(self) -> None:
        """End them all."""
        self._cluster.close()


def named(three: Three, text: str) -> list[str]:
    """The lines of what a tool said, with brokers by their names, and without what differs from run to run."""
    names = dict(zip(map(str, three.nodes), NAMES, strict=True))

    def rename(found: re.Match[str]) -> str:
        return re.sub(r"-?\d+", lambda node: names.get(node[0], node[0]), found[0])

    text = re.sub(r"(?:127\.0\.0\.1|localhost):\d+", "HOST:PORT", text)
    text = re.sub(r"TopicId: \S{22}", "TopicId: ID", text)
    # What follows these are words of the broker's own.
    text = re.sub(r"(org\.apache\.kafka\.common\.errors\.\w+) ?: .*", r"\1", text)
    text = re.sub(r"(?:Leader|Replicas|Isr|Elr|LastKnownElr|replicas): ?[-\d,]+", rename, text)
    text = re.sub(r'"log_dirs":\[[^]]*\]', '"log_dirs":DIRS', text)
    text = re.sub(r"(?:adding|removing): [\d,]+", rename, text)
    text = re.sub(r'"replicas":\[[\d,]*\]', rename, text)
    text = re.sub(r"(?:[Bb]rokers?|replica[s]?) [\d,]+", rename, text)
    rows = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    return [re.sub(r"^\[20\d\d-[^]]*\] ", "", row) for row in rows]
