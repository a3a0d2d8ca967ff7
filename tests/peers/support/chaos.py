"""Faults in turn, under a load that is told of none of them; and the checker that reads every log afterwards.

The cluster may be ours or Apache Kafka's: what Kafka survives, ours must survive. `STRANDLINE_CHAOS_ROUNDS` says how
often something happens, `STRANDLINE_CHAOS_SEED` what.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic, TopicMetadata

import strandline as sl

from .load import PARTITIONS, PATIENCE, Load, Reader, read_all
from .nodes import Node, Nodes

SEED = int(os.environ.get("STRANDLINE_CHAOS_SEED", "20"))
TOPIC = "load"
# They notice quickly who hangs or is cut off, and roll their logs often.
SETTINGS = {
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "300",
    "replica.lag.time.max.ms": "2000",
    "log.segment.bytes": "1048576",
    "log.retention.check.interval.ms": "3600000",
}
# Who is frozen or cut off keeps what was sent to it: by default the producer waits a minute before it asks others.
IMPATIENT = {"socket.timeout.ms": 4000}

Fault = Callable[[Nodes, Node, Load], AbstractContextManager[None]]


# What takes too long for CI.
by_hand = pytest.mark.skipif("STRANDLINE_CHAOS_ROUNDS" not in os.environ, reason="by hand: STRANDLINE_CHAOS_ROUNDS=3")


def rounds(few: int) -> int:
    """How often something happens: what the environment says, or `few`."""
    return int(os.environ.get("STRANDLINE_CHAOS_ROUNDS", few))


@contextmanager
def killed(nodes: Nodes, node: Node, load: Load) -> Iterator[None]:
    """Kill -9, and a start later."""
    node.kill()
    yield
    nodes.start(node)


@contextmanager
def stopped(nodes: Nodes, node: Node, load: Load) -> Iterator[None]:
    """SIGTERM, and a start later."""
    node.stop()
    yield
    nodes.start(node)


@contextmanager
def frozen(nodes: Nodes, node: Node, load: Load) -> Iterator[None]:
    """SIGSTOP until its cluster goes on without it."""
    node.pause()
    others = [other for other in nodes.all if other is not node]
    load.run_until_true(lambda: all(is_without(other, node) for other in others), f"{node.number} is out")
    yield
    node.resume()


# What may happen to a process.
PROCESS: dict[str, Fault] = {"kill": killed, "stop": stopped, "freeze": frozen}


def seen_by(node: Node, topic: str = TOPIC) -> TopicMetadata | None:
    """The topic as one broker has it."""
    try:
        metadata = AdminClient({"bootstrap.servers": node.place.address, "log_level": 0}).list_topics(topic, timeout=2)
    except KafkaException:
        return None
    found = metadata.topics[topic]
    return found if found.error is None and len(found.partitions) == PARTITIONS else None


def is_without(seer: Node, node: Node) -> bool:
    """Whether a broker sees another lead nothing and be in sync nowhere."""
    topic = seen_by(seer)
    return topic is not None and all(
        node.number not in (partition.leader, *partition.isrs) and partition.leader >= 0
        for partition in topic.partitions.values()
    )


def are_in_sync(nodes: Nodes, topic: str = TOPIC) -> bool:
    """Whether every broker sees all replicas of all partitions in sync."""
    seen = [seen_by(node, topic) for node in nodes.all]
    return all(
        found is not None
        and all(
            partition.leader >= 0 and len(partition.isrs) == len(partition.replicas)
            for partition in found.partitions.values()
        )
        for found in seen
    )


def until_in_sync(nodes: Nodes, topic: str = TOPIC) -> None:
    """Wait until all is well again."""
    deadline = time.monotonic() + PATIENCE
    while not are_in_sync(nodes, topic):
        assert time.monotonic() < deadline, f"{topic} does not heal: {[seen_by(node, topic) for node in nodes.all]}"
        time.sleep(0.02)


def create(nodes: Nodes, topic: str = TOPIC, replicas: Sequence[int] | None = None) -> None:
    """Make a topic of which each record is on three brokers, and acknowledged by at least two."""
    placed = replicas or [node.number for node in nodes.all]
    turned = [[placed[(first + n) % len(placed)] for n in range(len(placed))] for first in range(PARTITIONS)]
    new = NewTopic(topic, PARTITIONS, replica_assignment=turned, config={"min.insync.replicas": "2"})
    admin = AdminClient({"bootstrap.servers": nodes.bootstrap, "log_level": 0})
    admin.create_topics([new])[topic].result(PATIENCE)
    until_in_sync(nodes, topic)


def roll(nodes: Nodes, count: int, dice: random.Random) -> Load:
    """Restart all brokers, one after the other, so many times, under load and a reader that no error reaches."""
    load = Load(nodes.bootstrap, TOPIC, dice)
    load.run_until(1000)
    reader = Reader(nodes.bootstrap, TOPIC)
    for _ in range(count):
        for node in nodes.all:
            node.stop()
            load.run_until(load.count + 1000)
            nodes.start(node)
            load.run_until_true(lambda: are_in_sync(nodes), f"all are in sync after {node.number} was restarted")
    load.end()
    reader.end(load.acknowledged)
    return load


def play(nodes: Nodes, faults: dict[str, Fault], count: int, dice: random.Random, victims: Sequence[Node]) -> Load:
    """Let so many faults happen to brokers, one after the other, each under load and each healed before the next."""
    load = Load(nodes.bootstrap, TOPIC, dice, **IMPATIENT)
    load.run_until(2000)
    deck: list[str] = []
    for _ in range(count):
        # Each happens before one happens again.
        if not deck:
            deck = dice.sample(sorted(faults), len(faults))
        node, how = dice.choice(victims), deck.pop()
        print(f"{how} broker {node.number}, {load.count} acknowledged", flush=True)
        with faults[how](nodes, node, load):
            load.run_until(load.count + 2000)
        load.run_until_true(lambda: are_in_sync(nodes), f"all are in sync after {how}")
        load.run_until(load.count + 1000)
    load.end()
    return load


def check(nodes: Nodes, load: Load, holders: Sequence[Node] | None = None) -> None:
    """Hold what was acknowledged against what a reader gets, and what every broker has on its disk."""
    # As a reader has it: each once, at the offset that was acknowledged, in the order in which it was sent.
    for partition, found in enumerate(read_all(nodes.bootstrap, load.topic)):
        numbers = [number for _, number in found]
        assert numbers == sorted(set(numbers)), f"partition {partition} has records twice, or out of order"
        assert {number: offset for offset, number in found} == load.acknowledged[partition]
    # As each broker has it on its disk; that of one that was killed is read as it lies there.
    until_in_sync(nodes, load.topic)
    nodes.kill()
    held = []
    for node in holders or nodes.all:
        table = (
            sl.open_log(node.data_dir).topic(load.topic).scan().to_pyarrow().select(["partition", "offset", "value"])
        )
        held.append(table.sort_by([("partition", "ascending"), ("offset", "ascending")]))
    assert [table.num_rows for table in held] == [load.count] * len(held)
    assert all(table.equals(held[0]) for table in held)
