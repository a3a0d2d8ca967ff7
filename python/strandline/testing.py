"""Clusters, topics and reports for tests: what the pytest plugin stands on.

The plugin itself is `pytest_strandline`, which pytest finds by itself; it loads this module once a test asks for a
cluster. Nothing here knows pytest, so another runner can stand on it as well.

>>> from strandline.testing import ClusterSpec, Clusters, TopicFactory
>>> with Clusters() as clusters:
...     cluster = clusters.get(ClusterSpec())
...     topic = TopicFactory(cluster, "test_prices[UA]")()
...     with cluster.producer() as producer:
...         _ = producer.send(topic, key="UA", value="119.00")
...     print(topic, [message.value for message in topic.messages()])
test_prices-UA [b'119.00']
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from strandline._strandline import Cluster, Message, Topic
from strandline.errors import KafkaError, TopicAlreadyExistsError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

# The longest name that Kafka allows a topic is 249; the rest is left to what makes it unique.
_NAME = 200
# How long a report may read, and how much of it is shown.
_PATIENCE = 5.0
_RECORDS = 20
_TOPICS = 10
_WIDTH = 80


@dataclass(frozen=True)
class ClusterSpec:
    """What a test wants of its cluster; tests whose specs are equal share one."""

    config: tuple[tuple[str, Any], ...] = ()
    """The broker's keys, by Kafka's dotted names."""
    clock: Literal["system", "manual"] = "system"
    """Whether it goes by the machine's clock, or by one that the test moves."""

    def start(self) -> Cluster:
        """Start such a cluster."""
        return Cluster(config=dict(self.config), clock=self.clock)

    def but(self, config: Mapping[str, Any], clock: Literal["system", "manual"] | None = None) -> ClusterSpec:
        """Make a spec that differs in these keys, and in its clock if one is given."""
        return ClusterSpec(tuple(sorted({**dict(self.config), **config}.items())), clock or self.clock)


class Clusters:
    """The clusters of one test run: each is started when it is first asked for, and all end with `close()`."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._running: list[tuple[ClusterSpec, Cluster]] = []

    def running(self, spec: ClusterSpec) -> Cluster | None:
        """Find the cluster of this spec, if it was started."""
        return next((cluster for known, cluster in self._running if known == spec), None)

    def get(self, spec: ClusterSpec) -> Cluster:
        """Find the cluster of this spec, or start it."""
        cluster = self.running(spec)
        if cluster is None:
            cluster = spec.start()
            self._running.append((spec, cluster))
        return cluster

    def stop(self, spec: ClusterSpec) -> None:
        """Stop the cluster of this spec, if it was started."""
        cluster = self.running(spec)
        if cluster is not None:
            self._running.remove((spec, cluster))
            cluster.close()

    def close(self) -> None:
        """Stop them all."""
        while self._running:
            self._running.pop()[1].close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Stop them all."""
        self.close()


class KafkaTopic(str):
    """A topic that was made for one test. It is its own name, a `str`, so that every Kafka client takes it."""

    __slots__ = ("_cluster",)
    _cluster: Cluster

    def __new__(cls, name: str, cluster: Cluster) -> Self:
        """Name a topic of a cluster."""
        topic = super().__new__(cls, name)
        topic._cluster = cluster
        return topic

    @property
    def cluster(self) -> Cluster:
        """The cluster that it is in."""
        return self._cluster

    @property
    def name(self) -> str:
        """The name as a plain `str`."""
        return str(self)

    @property
    def topic(self) -> Topic:
        """The topic itself: its partitions, offsets and configs, and `scan()`."""
        return self.cluster.topic(self.name)

    def messages(self) -> list[Message]:
        """Read all that lies in it now, in the order of its partitions and offsets."""
        return _last_messages(self.cluster, self.name)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Travel to other processes as the name: the cluster is only here."""
        return str, (self.name,)


class TopicFactory:
    """Makes the topics of one test, with names that tell whose they are and that nobody else has."""

    def __init__(
        self, cluster: Cluster, test: str, partitions: int = 1, config: Mapping[str, Any] | None = None
    ) -> None:
        """Make topics in this cluster for the test of this name."""
        self.cluster = cluster
        self.made: list[KafkaTopic] = []
        self._base = re.sub(r"[^a-zA-Z0-9_-]+", "-", test).strip("-")[:_NAME] or "test"
        self._partitions = partitions
        self._config = dict(config or {})

    def __call__(
        self, suffix: str = "", *, partitions: int | None = None, config: Mapping[str, Any] | None = None
    ) -> KafkaTopic:
        """Make a topic; `suffix` tells it from others of the same test, `config` adds to the test's topic keys."""
        base = f"{self._base}-{suffix}" if suffix else self._base
        partitions = self._partitions if partitions is None else partitions
        config = {**self._config, **(config or {})}
        for number in itertools.count(1):
            name = base if number == 1 else f"{base}-{number}"
            try:
                self.cluster.create_topic(name, partitions=partitions, config=config)
            except TopicAlreadyExistsError:
                continue
            break
        topic = KafkaTopic(name, self.cluster)
        self.made.append(topic)
        return topic

    def close(self) -> None:
        """Delete what was made and is still there."""
        admin = self.cluster.admin()
        there = set(admin.list_topics())
        made = [topic.name for topic in self.made if topic in there]
        self.made.clear()
        if made:
            admin.delete_topics(made)


def _last_messages(
    cluster: Cluster, topic: str, most: int | None = None, patience: float | None = None
) -> list[Message]:
    """Read the last records of each partition, or all of them; those that a consumer sees."""
    known = cluster.topic(topic)
    ends = known.latest_offsets()
    ranges = {
        (topic, index): (start if most is None else max(start, end - most), end)
        for index, (start, end) in enumerate(zip(known.earliest_offsets(), ends, strict=True))
        if start < end
    }
    found: list[Message] = []
    if not ranges:
        return found
    until = None if patience is None else time.monotonic() + patience
    with cluster.consumer() as consumer:
        consumer.assign(list(ranges))
        for partition, (start, _) in ranges.items():
            consumer.seek(partition, start)
        while any(consumer.position(partition) < end for partition, (_, end) in ranges.items()):
            if until is not None and time.monotonic() > until:
                break
            found += consumer.poll(timeout=0.1)
    here = [message for message in found if message.offset < ends[message.partition]]
    return sorted(here, key=lambda message: (message.partition, message.offset))


def report(cluster: Cluster, topics: Iterable[str]) -> str:
    """Tell in a few lines what lies in these topics: the last records of each partition."""
    names = list(dict.fromkeys(topics))
    lines: list[str] = []
    for name in names[:_TOPICS]:
        try:
            lines += _told(cluster, name)
        except KafkaError as error:
            lines.append(f"{name}: could not be read: {error}")
    if len(names) > _TOPICS:
        lines.append(f"and {len(names) - _TOPICS} more topics: {', '.join(names[_TOPICS:])}"[: 2 * _WIDTH])
    return "\n".join(lines)


def _told(cluster: Cluster, name: str) -> list[str]:
    topic = cluster.topic(name)
    counts = [end - start for start, end in zip(topic.earliest_offsets(), topic.latest_offsets(), strict=True)]
    count = sum(counts)
    partitions = f"{len(counts)} partition{'' if len(counts) == 1 else 's'}"
    lines = [f"{name}: {count:,} record{'' if count == 1 else 's'} in {partitions}"]
    last: dict[int, list[Message]] = {}
    for message in _last_messages(cluster, name, _RECORDS, _PATIENCE):
        last.setdefault(message.partition, []).append(message)
    for partition, messages in last.items():
        shown = "" if len(messages) == counts[partition] else f", the last {len(messages)} of {counts[partition]:,}"
        lines.append(f"  partition {partition}{shown}")
        lines += [f"    {_line(message)}" for message in messages]
    return lines


def _line(message: Message) -> str:
    moment = message.datetime
    parts = [f"offset {message.offset}", f"{moment:%H:%M:%S}.{message.timestamp % 1000:03}" if moment else "no time"]
    parts += [f"key={_short(message.key)}", f"value={_short(message.value)}"]
    if message.headers:
        parts.append("headers=" + _cut(", ".join(f"{key}={value!r}" for key, value in message.headers)))
    return "  ".join(parts)


def _short(value: bytes | None) -> str:
    """Bytes as text where they are text."""
    if value is None:
        return "None"
    cut = value[: 4 * _WIDTH]
    try:
        text = cut.decode()
    except UnicodeDecodeError:
        text = ""
    shown = repr(text if text.isprintable() and (text or not cut) else cut)
    return _cut(shown) + (f" ({len(value):,} bytes)" if len(shown) > _WIDTH or len(cut) < len(value) else "")


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


__all__ = ["ClusterSpec", "Clusters", "KafkaTopic", "TopicFactory", "report"]
