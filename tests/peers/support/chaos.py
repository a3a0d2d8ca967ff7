"""Faults in turn, under traffic that is told of none of them; and the checker that reads every log afterwards.

The cluster may be ours or Apache Kafka's: what Kafka survives, ours must survive. `STRANDLINE_CHAOS_ROUNDS` says how
often something happens, `STRANDLINE_CHAOS_SEED` what. Of each round it is told for how long it was felt: the longest
time that a partition was without an acknowledgement.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ElectionType, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic, TopicMetadata

import strandline as sl

from .compare import present
from .load import PARTITIONS, PATIENCE, assert_same, read_all
from .nodes import Kafka, Node, Nodes, Ours
from .traffic import TOPICS, Traffic

SEED = int(os.environ.get("STRANDLINE_CHAOS_SEED", "20"))
# How long who is silent is thought to live.
SESSION = 1.5
# They notice quickly who hangs or is cut off, and roll their logs often.
SETTINGS = {
    "broker.session.timeout.ms": str(int(SESSION * 1000)),
    "broker.heartbeat.interval.ms": "300",
    "replica.lag.time.max.ms": "2000",
    "log.segment.bytes": "1048576",
    "log.retention.check.interval.ms": "3600000",
    "group.initial.rebalance.delay.ms": "0",
}

Fault = Callable[[Nodes, Node, Traffic], AbstractContextManager[None]]

# What takes too long for CI.
by_hand = pytest.mark.skipif("STRANDLINE_CHAOS_ROUNDS" not in os.environ, reason="by hand: STRANDLINE_CHAOS_ROUNDS=3")
# Against whom a test is played: both, or in CI ours alone.
both = pytest.mark.parametrize("kind", [Ours, Kafka], ids=["strandline", "kafka"])
ours = pytest.mark.parametrize(
    "kind", [pytest.param(Ours, id="strandline"), pytest.param(Kafka, id="kafka", marks=by_hand)]
)


def rounds(few: int) -> int:
    """How often something happens: what the environment says, or `few`."""
    return int(os.environ.get("STRANDLINE_CHAOS_ROUNDS", few))


@contextmanager
def running(folder: Path, kind: type[Node], settings: dict[str, str] | None = None, **options: Any) -> Iterator[Nodes]:
    """Brokers that notice quickly who is gone, until the test ends."""
    nodes = present(lambda: Nodes(folder, {**SETTINGS, **(settings or {})}, kind=kind, **options))
    try:
        yield nodes
    finally:
        nodes.kill()


@contextmanager
def killed(nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
    """Kill -9, and a start later."""
    node.kill()
    yield
    nodes.start(node)


@contextmanager
def stopped(nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
    """SIGTERM, and a start later."""
    node.stop()
    yield
    nodes.start(node)


@contextmanager
def frozen(nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
    """SIGSTOP until its cluster goes on without it."""
    node.pause()
    until_without(nodes, node, traffic)
    yield
    node.resume()


# What may happen to a process.
PROCESS: dict[str, Fault] = {"kill": killed, "stop": stopped, "freeze": frozen}


def admin(bootstrap: str) -> AdminClient:
    """A client that says nothing of brokers that are not there."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def seen_by(node: Node) -> dict[str, TopicMetadata] | None:
    """The topics as one broker has them, if it has all of them."""
    try:
        metadata = admin(node.place.address).list_topics(timeout=2)
    except KafkaException:
        return None
    found = {topic: metadata.topics[topic] for topic in TOPICS if topic in metadata.topics}
    whole = all(topic.error is None and len(topic.partitions) == PARTITIONS for topic in found.values())
    return found if whole and len(found) == len(TOPICS) else None


def all_see(nodes: Sequence[Node], holds: Callable[[Any], bool]) -> bool:
    """Whether something holds for all partitions as each of these brokers has them."""
    return all(
        seen is not None and all(holds(part) for topic in seen.values() for part in topic.partitions.values())
        for seen in map(seen_by, nodes)
    )


def is_without(seer: Node, node: Node) -> bool:
    """Whether a broker sees another lead nothing and be in sync nowhere."""
    return all_see([seer], lambda part: part.leader >= 0 and node.number not in (part.leader, *part.isrs))


def until_without(nodes: Nodes, node: Node, traffic: Traffic) -> None:
    """Wait until all others go on without a broker."""
    others = [other for other in nodes.all if other is not node]
    gone = lambda: all(is_without(other, node) for other in others)  # noqa: E731
    traffic.until(gone, f"the others go on without {node.number}")


def are_in_sync(nodes: Nodes) -> bool:
    """Whether every broker sees all replicas of all partitions in sync."""
    return all_see(nodes.all, lambda part: part.leader >= 0 and len(part.isrs) == len(part.replicas))


def until_in_sync(nodes: Nodes) -> None:
    """Wait until all is well again."""
    deadline = time.monotonic() + PATIENCE
    while not are_in_sync(nodes):
        assert time.monotonic() < deadline, f"it does not heal: {[seen_by(node) for node in nodes.all]}"
        time.sleep(0.02)


def are_led_as_preferred(nodes: Nodes) -> bool:
    """Whether the first replica leads each partition; those that do not are asked to."""
    client = admin(nodes.bootstrap)
    try:
        client.elect_leaders(ElectionType.PREFERRED).result(PATIENCE)
    except KafkaException:
        return False
    return all_see(nodes.all, lambda part: part.leader == part.replicas[0])


def create(nodes: Nodes, replicas: Sequence[int] | None = None) -> None:
    """Make the topics: each record is on all these brokers, and acknowledged by at least two; each leads something."""
    placed = replicas or [node.number for node in nodes.all]
    turned = [[placed[(first + n) % len(placed)] for n in range(len(placed))] for first in range(PARTITIONS)]
    new = [
        NewTopic(topic, PARTITIONS, replica_assignment=turned, config={"min.insync.replicas": "2"}) for topic in TOPICS
    ]
    # It takes its wishes with it when it goes.
    client = admin(nodes.bootstrap)
    for future in client.create_topics(new).values():
        future.result(PATIENCE)
    until_in_sync(nodes)


def roll(nodes: Nodes, traffic: Traffic, count: int) -> None:
    """Restart all brokers, one after the other, so many times; the reader is not even given a record twice."""
    for _ in range(count):
        for node in nodes.all:
            traffic.load.begin_gaps()
            node.stop()
            traffic.until_more(1000)
            nodes.start(node)
            traffic.until(lambda: are_in_sync(nodes), f"all are in sync after {node.number} was restarted")
            traffic.until_read()
            print(f"restarted broker {node.number}: felt for {traffic.load.gap:.2f} s", flush=True)
    assert traffic.reader.read_again == 0


def play(
    nodes: Nodes,
    traffic: Traffic,
    faults: dict[str, Fault],
    count: int,
    dice: random.Random,
    victims: Sequence[Node] | None = None,
) -> None:
    """Let so many faults happen to brokers that lead something, one after the other, each healed before the next."""
    deck: list[str] = []
    for _ in range(count):
        # Each happens before one happens again.
        if not deck:
            deck = dice.sample(sorted(faults), len(faults))
        node, how = dice.choice(victims or nodes.all), deck.pop()
        traffic.until(lambda: are_led_as_preferred(nodes), "preferred leaders lead")
        traffic.load.begin_gaps()
        print(f"{time.strftime('%H:%M:%S')} {how}, broker {node.number}; {traffic.progress()}", flush=True)
        with faults[how](nodes, node, traffic):
            traffic.until_more(1000)
        traffic.until(lambda: are_in_sync(nodes), f"all are in sync after {how}")
        traffic.until_more(500)
        traffic.until_read()
        print(f"{how}, broker {node.number}: felt for {traffic.load.gap:.2f} s", flush=True)


def check(nodes: Nodes, traffic: Traffic, holders: Sequence[Node] | None = None) -> None:
    """Hold what was acknowledged against what a reader gets, and what every broker has on its disk."""
    # As a reader has it: each once, at the offset that was acknowledged, in the order in which it was sent.
    for topic, acknowledged in traffic.acknowledged.items():
        for partition, found in enumerate(read_all(nodes.bootstrap, topic)):
            numbers = [number for _, number in found]
            assert numbers == sorted(set(numbers)), f"{topic}-{partition} has records twice, or out of order"
            assert_same(f"{topic}-{partition}", acknowledged[partition], found)
    # As each broker has it on its disk; that of one that was killed is read as it lies there.
    until_in_sync(nodes)
    nodes.kill()
    for topic, acknowledged in traffic.acknowledged.items():
        held = []
        for node in holders or nodes.all:
            table = sl.open_log(node.data_dir).topic(topic).scan().to_pyarrow().select(["partition", "offset", "value"])
            held.append(table.sort_by([("partition", "ascending"), ("offset", "ascending")]))
        assert [table.num_rows for table in held] == [sum(map(len, acknowledged))] * len(held), topic
        assert all(table.equals(held[0]) for table in held), f"{topic} differs from broker to broker"
