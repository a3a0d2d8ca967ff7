"""A group by its id: its members, what it committed, and how far it is behind.

>>> import strandline as sl
>>> with sl.Cluster() as cluster:
...     with cluster.producer() as producer:
...         for number in range(5):
...             _ = producer.send("numbers", str(number))
...     cluster.admin().alter_offsets("sum", {("numbers", 0): 2})
...     cluster.group("sum")
Group 'sum': Empty, 0 members, 1 partition, 3 records behind
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strandline.errors import KafkaError

if TYPE_CHECKING:
    from strandline._strandline import Admin
    from strandline.types import GroupDescription, TopicPartition

__all__ = ["Group", "Lag"]


class Lag(NamedTuple):
    """Where a group is in a partition: the next offset that it is to read, and the one behind the last record."""

    committed: int
    end: int

    @property
    def records(self) -> int:
        """How many offsets lie between the two: what it has still to read, unless the topic is compacted."""
        return max(self.end - self.committed, 0)


class Group:
    """A group of a cluster, by its id; each call asks the cluster anew. Made by `Cluster.group` and `Client.group`."""

    __slots__ = ("_admin", "_group_id")

    def __init__(self, admin: Admin, group_id: str) -> None:
        """Name the group that `admin` is to ask for."""
        self._admin = admin
        self._group_id = group_id

    @property
    def group_id(self) -> str:
        """Its id."""
        return self._group_id

    def describe(self) -> GroupDescription:
        """Tell its state and its members."""
        [described] = self._admin.describe_groups([self._group_id])
        return described

    def lag(self) -> dict[TopicPartition, Lag]:
        """Tell how far it is behind, for each partition that it committed an offset of and that is still there."""
        committed = self._admin.list_offsets(self._group_id)
        known = set(self._admin.list_topics(internal=True))
        there = [name for name in committed if name.topic in known]
        ends = self._admin.latest_offsets(there) if there else {}
        return {name: Lag(committed[name].offset, ends[name]) for name in there}

    def __repr__(self) -> str:
        """Tell its state, and how far it is behind in all."""
        from strandline import _html

        try:
            return self._told(*_html.in_time(lambda: (self.describe(), self.lag())))
        except KafkaError as error:
            return f"Group '{self._group_id}': {error}"

    def _told(self, described: GroupDescription, lag: dict[TopicPartition, Lag]) -> str:
        members, partitions = len(described.members), len(lag)
        behind = sum(place.records for place in lag.values())
        return (
            f"Group '{self._group_id}': {described.state}, {members:,} member{'' if members == 1 else 's'}, "
            f"{partitions:,} partition{'' if partitions == 1 else 's'}, "
            f"{behind:,} record{'' if behind == 1 else 's'} behind"
        )

    def _repr_html_(self) -> str:
        from strandline import _html

        return _html.group_lag(self)
