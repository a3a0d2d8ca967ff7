"""Several brokers, in this process and each in its own: replicated, hurt on purpose, and healed."""

from pathlib import Path
from typing import Literal, TypeAlias

import pytest

import strandline as sl

Isolation: TypeAlias = Literal["thread", "process"]


def values(cluster: sl.Cluster, topic: str) -> list[int]:
    """What a topic of one partition holds."""
    consumer = cluster.consumer(topic, auto_offset_reset="earliest", stop_at_end=True)
    return [int(message.value or b"") for message in consumer]


def test_a_topic_is_on_three_brokers(three: sl.Cluster) -> None:
    three.create_topic("t", replication_factor=3)
    with three.producer(acks="all") as producer:
        assert [producer.send("t", str(number)).result().offset for number in range(10)] == list(range(10))
    assert [broker.id for broker in three.brokers] == [0, 1, 2]
    [partition] = three.admin().describe_topics(["t"])[0].partitions
    assert sorted(partition.replicas) == sorted(partition.isr) == [0, 1, 2]
    assert len(three.admin().describe_cluster().brokers) == 3
    assert values(three, "t") == list(range(10))
    # In this process that is the leader's own log, without a socket.
    assert three.topic("t").scan().count() == 10


def test_whoever_is_killed_nothing_is_lost(three: sl.Cluster) -> None:
    three.create_topic("t", replication_factor=3)
    sent = 0
    with three.producer(acks="all") as producer:
        for _ in range(3):
            for _ in range(20):
                producer.send("t", str(sent)).result()
                sent += 1
            victim = three.brokers[three.wait_leader("t")]
            victim.kill()
            assert not victim.is_running
            for _ in range(20):
                producer.send("t", str(sent)).result()
                sent += 1
            victim.start()
            three.wait_healthy()
    assert values(three, "t") == list(range(sent))


def test_a_rolling_restart_shows_no_error(three: sl.Cluster) -> None:
    three.create_topic("t", replication_factor=3)
    with three.producer(acks="all") as producer:
        for round_, broker in enumerate(three.brokers):
            broker.stop()
            for number in range(10):
                producer.send("t", str(round_ * 10 + number)).result()
            broker.start()
            three.wait_healthy()
    assert values(three, "t") == list(range(30))


def test_a_group_goes_on_when_its_coordinator_is_killed(three: sl.Cluster) -> None:
    three.create_topic("t", replication_factor=3)
    with three.producer(acks="all") as producer:
        for number in range(20):
            producer.send("t", str(number)).result()
    seen: list[int] = []
    consumer = three.consumer("t", group_id="g", auto_offset_reset="earliest", enable_auto_commit=False)
    for message in consumer:
        seen.append(int(message.value or b""))
        if len(seen) == 10:
            break
    consumer.commit(message)
    consumer.close()
    # One of them coordinates the group.
    for broker in three.brokers:
        broker.kill()
        with three.consumer("t", group_id="g", enable_auto_commit=False, stop_at_end=True) as again:
            assert [int(message.value or b"") for message in again] == list(range(10, 20))
        broker.start()
        three.wait_healthy()


def test_a_minority_does_not_lead(three: sl.Cluster) -> None:
    three.create_topic("t", replication_factor=3, min_insync_replicas=2)
    alone = three.wait_leader("t")
    with three.producer(acks="all", request_timeout_ms=2000) as producer:
        producer.send("t", "0").result()
        three.network.partition({alone}, {0, 1, 2} - {alone})
        # Its clients reach the one that is cut off; it may not acknowledge, and the others go on without it.
        producer.send("t", "1").result(timeout=60)
        three.network.heal()
        three.wait_healthy()
    assert values(three, "t") == [0, 1]


def test_a_broker_that_hangs_is_replaced(three: sl.Cluster) -> None:
    three.create_topic("t", replication_factor=3)
    hung = three.wait_leader("t")
    with three.producer(acks="all", request_timeout_ms=2000) as producer:
        producer.send("t", "0").result()
        three.brokers[hung].pause()
        assert three.brokers[hung].state == "paused"
        with pytest.raises(TimeoutError, match=f"broker {hung} is paused"):
            three.wait_healthy(timeout=0.1)
        with pytest.raises(RuntimeError, match="is paused: resume it, or kill it"):
            three.brokers[hung].stop()
        producer.send("t", "1").result()
        three.brokers[hung].resume()
        three.wait_healthy()
    assert values(three, "t") == [0, 1]


def test_links_are_slow_broken_and_cut_one_way(three: sl.Cluster) -> None:
    three.create_topic("t", replication_factor=3)
    leads = three.wait_leader("t")
    follows = (leads + 1) % 3
    with three.producer(acks="all") as producer:
        three.network.delay(0.02)
        producer.send("t", "0").result()
        three.network.heal()
        # What it asks for arrives, and the answer never does: it is not in sync any more, or it would be waited for.
        three.network.block(leads, follows)
        producer.send("t", "1").result()
        # A broker that is started while links are cut goes by that too.
        three.brokers[follows].kill()
        three.network.drop(0.2)
        three.network.heal()
        three.brokers[follows].start()
        three.wait_healthy()
        producer.send("t", "2").result()
    assert values(three, "t") == [0, 1, 2]


def test_a_broker_that_is_killed_while_it_is_paused_starts_again(three: sl.Cluster) -> None:
    three.brokers[2].pause()
    three.network.partition({2}, {0, 1})
    three.network.heal()
    three.brokers[2].kill()
    assert three.brokers[2].state == "stopped"
    three.brokers[2].start()
    three.wait_healthy()
    assert three.brokers[2].state == "running"


def test_data_stays(tmp_path: Path, isolation: Isolation) -> None:
    with sl.Cluster(tmp_path, brokers=3, isolation=isolation) as cluster:
        cluster.create_topic("t", replication_factor=3)
        with cluster.producer(acks="all") as producer:
            producer.send("t", "0").result()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broker-0", "broker-1", "broker-2"]
    with sl.Cluster(tmp_path, brokers=3, isolation=isolation) as cluster:
        cluster.wait_healthy()
        assert values(cluster, "t") == [0]


def test_what_makes_no_sense_is_refused(three: sl.Cluster) -> None:
    with pytest.raises(sl.KafkaError, match="must be from 1 to"):
        sl.Cluster(brokers=0)
    with pytest.raises(sl.KafkaError, match=r"node\.id is each broker's own"):
        sl.Cluster(brokers=3, node_id=7)
    with pytest.raises(ValueError, match=r"isolation is .container.: it must be 'thread' or 'process'"):
        sl.Cluster(brokers=3, isolation="container")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no broker 7"):
        three.network.partition({7}, {0})
    with pytest.raises(ValueError, match="in two groups"):
        three.network.partition({0}, {0, 1})
    with pytest.raises(RuntimeError, match="runs already"):
        three.brokers[0].start()
    three.brokers[0].kill()
    with pytest.raises(RuntimeError, match="does not run"):
        three.brokers[0].stop()
    three.create_topic("t", replication_factor=2)
    three.brokers[1].kill()
    three.brokers[2].kill()
    with pytest.raises(TimeoutError, match="not healthy"):
        three.wait_healthy(timeout=0.5)


def test_one_broker_may_be_killed_too(isolation: Isolation) -> None:
    with sl.Cluster(isolation=isolation) as cluster:
        cluster.create_topic("t")
        with cluster.producer() as producer:
            producer.send("t", "0").result()
            [broker] = cluster.brokers
            broker.kill()
            broker.start()
            producer.send("t", "1").result()
        assert values(cluster, "t") == [0, 1]
