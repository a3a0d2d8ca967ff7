"""What a test waits for instead of sleeping: a leader, replicas in sync."""

from typing import Literal

import pytest

import strandline as sl


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_another_leads_and_then_all_are_in_sync(isolation: Literal["thread", "process"]) -> None:
    with sl.Cluster(
        brokers=3, isolation=isolation, broker_session_timeout_ms=2000, broker_heartbeat_interval_ms=500
    ) as cluster:
        cluster.create_topic("t", replication_factor=3)
        first = cluster.wait_leader("t")
        with pytest.raises(TimeoutError, match=r"partition 0 of .t. is led by no broker that runs and is not in"):
            cluster.wait_leader("t", not_in={0, 1, 2}, timeout=0.05)
        cluster.wait_in_sync("t")
        cluster.brokers[first].kill()
        second = cluster.wait_leader("t", not_in={first})
        assert second != first
        with cluster.producer(acks="all") as producer:
            producer.send("t", "v").result()
        with pytest.raises(TimeoutError, match=r"not every replica of .t. is in sync"):
            cluster.wait_in_sync("t", timeout=0.05)
        cluster.brokers[first].start()
        cluster.wait_in_sync("t")
        assert cluster.topic("t").describe().in_sync


def test_whoever_is_asked_knows_what_was_made_and_who_has_gone() -> None:
    with sl.Cluster(brokers=3) as cluster:
        for number in range(20):
            # No wait between: any of the three may be the one that is asked.
            topic = cluster.create_topic(f"t-{number}", replication_factor=1)
            assert topic.describe().partitions[0].replicas
        gone = cluster.wait_leader("t-0")
        cluster.brokers[gone].stop()
        for _ in range(20):
            assert cluster.topic("t-0").describe().partitions[0].leader is None


def test_a_topic_may_come_later() -> None:
    with sl.Cluster() as cluster:
        with pytest.raises(TimeoutError):
            cluster.wait_leader("t", timeout=0.01)
        with pytest.raises(TimeoutError):
            cluster.wait_in_sync("t", timeout=0.01)
        cluster.create_topic("t", partitions=2)
        [alone] = cluster.brokers
        assert cluster.wait_leader("t", 1) == alone.id
        cluster.wait_in_sync("t")
        alone.stop()
        with pytest.raises(TimeoutError):
            cluster.wait_leader("t", timeout=0.01)
