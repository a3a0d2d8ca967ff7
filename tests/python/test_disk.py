"""Disks that fail on purpose: their broker ends, the others go on, nothing that was acknowledged is lost."""

import contextlib
import json
import subprocess
import sys
from typing import Literal, TypeAlias

import pytest

import strandline as sl

Isolation: TypeAlias = Literal["thread", "process"]


def values(cluster: sl.Cluster, topic: str) -> list[int]:
    """What a topic of one partition holds."""
    consumer = cluster.consumer(topic, auto_offset_reset="earliest", stop_at_end=True)
    return [int(message.value or b"") for message in consumer]


@pytest.mark.parametrize("how", ["fail", "fill"])
@pytest.mark.parametrize("whose", ["leader", "follower"])
def test_a_broker_whose_disk_fails_ends_and_nothing_is_lost(three: sl.Cluster, how: str, whose: str) -> None:
    three.create_topic("t", replication_factor=3, min_insync_replicas=2)
    leads = three.wait_leader("t")
    victim = three.brokers[leads if whose == "leader" else (leads + 1) % 3]
    with three.producer(acks="all") as producer:
        for number in range(20):
            producer.send("t", str(number)).result()
        getattr(three.disk(victim.id), how)()
        for number in range(20, 40):
            producer.send("t", str(number)).result()
        victim.wait_down()
        assert victim.state == "died"
        assert "its disk failed, and others can lead" in (victim.reason or "")
        assert ("No space left on device" if how == "fill" else "Input/output error") in (victim.reason or "")
        assert victim.exit_code == (None if victim.log == [] else 1)
        assert three.wait_leader("t", not_in={victim.id}) != victim.id
        # Its disk is as it was.
        with pytest.raises((OSError, sl.KafkaError)):
            victim.start()
        three.disk(victim.id).heal()
        victim.start()
        three.wait_healthy()
        producer.send("t", "40").result()
    assert values(three, "t") == list(range(41))
    # It has caught up.
    [partition] = three.topic("t").describe().partitions
    assert partition.log_ends == dict.fromkeys(partition.replicas, 41)


def test_a_write_that_was_torn_is_cut_off_and_the_log_goes_on(three: sl.Cluster) -> None:
    """One write of the leader's log fails half-way: what is behind it then must not be taken for records."""
    three.create_topic("t", replication_factor=3, min_insync_replicas=2)
    victim = three.brokers[three.wait_leader("t")]
    with three.producer(acks="all") as producer:
        producer.send("t", "0").result()
        three.disk(victim.id).fail(files="t-0/*.log", times=1)
        producer.send("t", "1").result()
        victim.wait_down()
        # The one failure is used up.
        victim.start()
        three.wait_healthy()
        producer.send("t", "2").result()
        for broker in three.brokers:
            if broker.id != victim.id:
                broker.stop()
                broker.start()
                three.wait_healthy()
    assert values(three, "t") == [0, 1, 2]


def test_the_active_controllers_disk_may_fail(three: sl.Cluster) -> None:
    command = [sys.executable, "-m", "strandline", "cluster", "status", "--json", "-b", three.bootstrap_servers]
    controller = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["controller"]
    three.disk(controller).fail(files="__cluster_metadata-0/*")
    # Refused, or taken by the next controller.
    with contextlib.suppress(sl.errors.KafkaStorageError):
        three.create_topic("t", replication_factor=2)
    three.brokers[controller].wait_down()
    three.wait_healthy()
    three.create_topic("u", replication_factor=2)


@pytest.mark.parametrize("whose", ["leader", "follower"])
def test_a_broker_whose_disk_cannot_be_read_ends_and_nothing_is_lost(three: sl.Cluster, whose: str) -> None:
    three.create_topic("t", replication_factor=3, min_insync_replicas=2)
    leads = three.wait_leader("t")
    victim = three.brokers[leads if whose == "leader" else (leads + 1) % 3]
    with three.producer(acks="all") as producer:
        for number in range(20):
            producer.send("t", str(number)).result()
        # Nobody reads what a follower has before it leads, or is started again.
        three.disk(victim.id).fail(reads=True, writes=whose == "follower")
        assert values(three, "t") == list(range(20))
        if whose == "follower":
            producer.send("t", "20").result()
        victim.wait_down()
        assert victim.state == "died"
        assert "Input/output error" in (victim.reason or "")
        with pytest.raises((OSError, sl.KafkaError)):
            victim.start()
        three.disk(victim.id).heal()
        victim.start()
        three.wait_healthy()
        producer.send("t", "21").result()
    assert values(three, "t") == [*range(20), *([20] if whose == "follower" else []), 21]


def test_what_one_that_is_alone_cannot_read_is_asked_for_again(isolation: Isolation) -> None:
    with sl.Cluster(isolation=isolation) as cluster:
        [alone] = cluster.brokers
        cluster.create_topic("t")
        with cluster.producer() as producer:
            producer.send("t", "0").result()
            cluster.disk(alone.id).fail(files="t-0/*.log", times=3, reads=True, writes=False)
            assert values(cluster, "t") == [0]
            producer.send("t", "1").result()
        assert alone.state == "running"
        assert values(cluster, "t") == [0, 1]


def test_who_is_alone_refuses_what_it_cannot_write_and_goes_on(isolation: Isolation) -> None:
    with sl.Cluster(isolation=isolation) as cluster:
        [alone] = cluster.brokers
        disk = cluster.disk(alone.id)
        cluster.create_topic("t")
        with cluster.producer(retries=0, enable_idempotence=False) as producer:
            producer.send("t", "0").result()
            for break_it in (disk.fill, disk.fail):
                break_it()
                with pytest.raises(sl.errors.KafkaStorageError):
                    producer.send("t", "lost").result()
                assert alone.state == "running"
                assert values(cluster, "t") == [0]
                disk.heal()
            producer.send("t", "1").result()
        alone.kill()
        alone.start()
        assert values(cluster, "t") == [0, 1]


def test_what_makes_no_sense_is_refused() -> None:
    with sl.Cluster() as cluster:
        [alone] = cluster.brokers
        disk = cluster.disk(alone.id)
        with pytest.raises(sl.KafkaError, match="there is no broker 7: there are"):
            cluster.disk(7)
        with pytest.raises(ValueError, match="times is 0"):
            disk.fail(times=0)
        with pytest.raises(ValueError, match="nothing would fail"):
            disk.fail(writes=False)
        alone.stop()
        with pytest.raises(RuntimeError, match="does not run"):
            disk.fail(times=1)
        assert repr(disk) == f"<Disk of broker {alone.id}>"
        disk.fill()
        with pytest.raises(sl.errors.KafkaStorageError, match="No space left on device"):
            alone.start()
        disk.heal()
        alone.start()
        with pytest.raises(TimeoutError, match=f"broker {alone.id} still runs"):
            alone.wait_down(timeout=0.01)
