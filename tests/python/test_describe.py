"""What `Topic.describe` tells: who leads, who is in sync, and how far each replica is."""

from collections.abc import Iterator

import pytest

import strandline as sl
from strandline.types import PartitionStatus, TopicStatus


@pytest.fixture
def three() -> Iterator[sl.Cluster]:
    """Three brokers that notice quickly who is gone."""
    with sl.Cluster(
        brokers=3, broker_session_timeout_ms=2000, broker_heartbeat_interval_ms=500, replica_lag_time_max_ms=2000
    ) as cluster:
        yield cluster


def test_all_replicas_are_where_the_leader_is(three: sl.Cluster) -> None:
    topic = three.create_topic("t", partitions=2, replication_factor=3)
    with three.producer(acks="all") as producer:
        for number in range(10):
            producer.send("t", str(number), partition=1).result()
    status = topic.describe()
    assert (status.name, status.internal, status.in_sync) == ("t", False, True)
    assert status.id
    empty, filled = status.partitions
    assert (empty.partition, empty.earliest_offset, empty.latest_offset) == (0, 0, 0)
    assert filled.log_ends == dict.fromkeys(filled.replicas, 10)
    assert filled.lag == dict.fromkeys(filled.replicas, 0)
    assert sorted(filled.isr) == sorted(filled.replicas) == [0, 1, 2]
    assert filled.leader in filled.replicas
    assert (filled.latest_offset, filled.leader_epoch, filled.in_sync) == (10, 0, True)


def test_a_follower_that_hears_nothing_is_behind(three: sl.Cluster) -> None:
    topic = three.create_topic("t", replication_factor=3, min_insync_replicas=1)
    [partition] = topic.describe().partitions
    leader = partition.leader
    assert leader is not None
    late = (leader + 1) % 3
    # It asks, and hears no answer.
    three.network.block(leader, late)
    with three.producer(acks=1) as producer:
        for number in range(5):
            producer.send("t", str(number)).result()
    status = topic.describe()
    [partition] = status.partitions
    assert (partition.log_ends[late], partition.lag[late]) == (0, 5)
    assert f"{late}: 5" in repr(status)
    three.network.heal()
    three.wait_healthy()
    assert topic.describe().in_sync


def test_a_broker_that_is_down_tells_nothing(three: sl.Cluster) -> None:
    topic = three.create_topic("t", replication_factor=3)
    [partition] = topic.describe().partitions
    leader = partition.leader
    assert leader is not None
    gone = (leader + 1) % 3
    three.brokers[gone].stop()
    with three.producer(acks="all") as producer:
        producer.send("t", "v").result()
    [partition] = topic.describe().partitions
    assert (partition.log_ends[gone], partition.lag[gone]) == (None, None)
    assert (partition.isr, partition.in_sync) == ([id for id in partition.isr if id != gone], False)
    assert partition.offline_replicas == [gone]
    assert partition.lag[leader] == 0


def test_without_a_leader_what_nobody_knows_is_none(three: sl.Cluster) -> None:
    topic = three.create_topic("t", replication_factor=1)
    [partition] = topic.describe().partitions
    assert partition.leader is not None
    three.brokers[partition.leader].stop()
    [partition] = topic.describe().partitions
    assert (partition.leader, partition.earliest_offset, partition.latest_offset) == (None, None, None)
    assert list(partition.lag.values()) == [None]


def test_it_is_a_table_in_a_terminal_and_in_a_notebook() -> None:
    rows = [
        PartitionStatus(0, 1, 4, [1, 2, 0], [1, 2], [], 0, 1234, {1: 1240, 2: 1240, 0: 5}),
        PartitionStatus(1, None, None, [2], [], [2], None, None, {2: None}),
    ]
    status = TopicStatus("<i>", "id", False, rows)
    assert repr(status).splitlines() == [
        "Topic '<i>': 2 partitions, replication 3, 2 of them not in sync, 1 without a leader",
        "  partition  leader  epoch  replicas  in sync  from  to     behind",
        "  0          1       4      1, 2, 0   1, 2     0     1,234  0: 1,235",
        "  1          none    none   2                  none  none   2: unknown",
    ]
    page = status._repr_html_()
    assert "&lt;i&gt;" in page
    assert "<i>" not in page
    assert "<th>behind</th>" in page
    assert "<td>0: 1,235</td>" in page


def test_of_a_topic_that_is_not_there(three: sl.Cluster) -> None:
    with pytest.raises(sl.errors.UnknownTopicOrPartitionError):
        three.topic("nowhere").describe()
