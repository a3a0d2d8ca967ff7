"""What the clients are told and tell: small named tuples, to be unpacked, compared and printed.

>>> from strandline.types import TopicPartition
>>> topic, partition = TopicPartition("flights", 3)
>>> TopicPartition("flights", 3) == ("flights", 3)
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from strandline.errors import KafkaError


class TopicPartition(NamedTuple):
    """One partition of one topic; wherever one is asked for, a plain ``(topic, partition)`` will do."""

    topic: str
    partition: int


class CommittedOffset(NamedTuple):
    """The next offset that a group is to read, with what the committer noted besides."""

    offset: int
    metadata: str = ""
    leader_epoch: int | None = None


class OffsetAndTimestamp(NamedTuple):
    """A record's offset that was looked up by time, and the record's timestamp in milliseconds since 1970."""

    offset: int
    timestamp: int
    leader_epoch: int | None = None


class TimeSpan(NamedTuple):
    """How many records a topic got from one moment to another, the second not included; both are in UTC."""

    start: datetime
    end: datetime
    records: int


class SentPartition(NamedTuple):
    """The rows of a table that one partition got; the offsets are `None` where the broker did not say (``acks=0``)."""

    rows: int
    first_offset: int | None
    last_offset: int | None


class SentTable(NamedTuple):
    """What became of a table that was sent.

    ``rows`` were written, to these ``partitions``; each that ``failed`` is there with its number (from 0) and the
    exception that says why.
    """

    rows: int
    partitions: dict[int, SentPartition]
    failed: list[tuple[int, KafkaError]]


class Broker(NamedTuple):
    """A broker and where it listens."""

    id: int
    host: str
    port: int
    rack: str | None = None


class PartitionDescription(NamedTuple):
    """A partition and the brokers that hold it; ``leader`` is `None` while it has none."""

    partition: int
    leader: int | None
    leader_epoch: int | None
    replicas: list[int]
    isr: list[int]
    offline_replicas: list[int]


class TopicDescription(NamedTuple):
    """A topic and its partitions."""

    name: str
    id: str | None
    internal: bool
    partitions: list[PartitionDescription]


class PartitionStatus(NamedTuple):
    """A partition, the brokers that hold it, and how far each of them is.

    ``latest_offset`` is the high watermark, up to where consumers read. ``log_ends`` has for each replica the offset
    behind its last record, and ``lag`` how far that is behind the leader's. `None` stands for what nobody tells: there
    is no leader, or the broker is down.
    """

    partition: int
    leader: int | None
    leader_epoch: int | None
    replicas: list[int]
    isr: list[int]
    offline_replicas: list[int]
    earliest_offset: int | None
    latest_offset: int | None
    log_ends: dict[int, int | None]

    @property
    def lag(self) -> dict[int, int | None]:
        """How many records each replica is behind the leader."""
        end = None if self.leader is None else self.log_ends.get(self.leader)
        return {
            # They are not all asked at the same moment.
            broker: None if end is None or known is None else max(0, end - known)
            for broker, known in self.log_ends.items()
        }

    @property
    def in_sync(self) -> bool:
        """Whether every replica is in sync."""
        return len(self.isr) == len(self.replicas)


class TopicStatus(NamedTuple):
    """A topic, its partitions, and how far their replicas are."""

    name: str
    id: str | None
    internal: bool
    partitions: list[PartitionStatus]

    @property
    def in_sync(self) -> bool:
        """Whether every replica of every partition is in sync."""
        return all(partition.in_sync for partition in self.partitions)

    def __repr__(self) -> str:
        """Say it, and show the partitions as a table."""
        from strandline import _html

        return _html.status_text(self)

    def _repr_html_(self) -> str:
        from strandline import _html

        return _html.status(self)


class ClusterDescription(NamedTuple):
    """A cluster and its brokers; ``controller`` is the id of a broker to ask for changes: any hands them on."""

    cluster_id: str | None
    controller: int | None
    brokers: list[Broker]


class ConfigEntry(NamedTuple):
    """One key of a topic or broker; ``value`` is `None` for null and for what is not shown.

    ``source`` is Kafka's name for where the value was set: ``DYNAMIC_TOPIC_CONFIG``, ``DYNAMIC_BROKER_CONFIG``,
    ``DYNAMIC_DEFAULT_BROKER_CONFIG``, ``STATIC_BROKER_CONFIG`` or ``DEFAULT_CONFIG``.
    """

    name: str
    value: str | None
    source: str
    read_only: bool
    sensitive: bool
    documentation: str | None


class GroupListing(NamedTuple):
    """A group as the list of groups has it."""

    group_id: str
    protocol_type: str
    state: str
    type: str


class GroupMember(NamedTuple):
    """A member of a group, and the partitions it has."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    assignment: list[TopicPartition]


class GroupDescription(NamedTuple):
    """A group, its state (``Stable``, ``Empty``, ``Dead``, ...) and its members."""

    group_id: str
    state: str
    protocol_type: str
    protocol: str
    members: list[GroupMember]

    def _repr_html_(self) -> str:
        from strandline import _html

        return _html.group(self)


class ReplicaSize(NamedTuple):
    """How many bytes of a log dir one replica takes."""

    topic: str
    partition: int
    size: int
    offset_lag: int
    is_future: bool


class LogDir(NamedTuple):
    """A folder in which a broker keeps its logs; the bytes are those of its volume, where the broker tells them."""

    broker: int
    path: str
    total_bytes: int | None
    usable_bytes: int | None
    replicas: list[ReplicaSize]


__all__ = [
    "Broker",
    "ClusterDescription",
    "CommittedOffset",
    "ConfigEntry",
    "GroupDescription",
    "GroupListing",
    "GroupMember",
    "LogDir",
    "OffsetAndTimestamp",
    "PartitionDescription",
    "ReplicaSize",
    "SentPartition",
    "SentTable",
    "TimeSpan",
    "TopicDescription",
    "TopicPartition",
]
