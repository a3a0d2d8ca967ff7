"""Three brokers as processes, killed, stopped and frozen in turn under load: what was acknowledged is on all of them.

The load is librdkafka's: one idempotent producer with acks=all, which is told of no error. `STRANDLINE_CHAOS_ROUNDS`
says how often something happens (50 by hand, fewer in CI), `STRANDLINE_CHAOS_SEED` what.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import strandline as sl
from support.brokers import Missing

pytest.importorskip("confluent_kafka")

from support.load import PARTITIONS, Load, read_all
from support.nodes import Node, Nodes

SEED = int(os.environ.get("STRANDLINE_CHAOS_SEED", "20"))
ROUNDS = int(os.environ.get("STRANDLINE_CHAOS_ROUNDS", "8"))
SESSION_MS = 1500
TOPIC = "load"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three brokers that notice quickly who hangs."""
    settings = {"broker.session.timeout.ms": str(SESSION_MS), "broker.heartbeat.interval.ms": "300"}
    try:
        nodes = Nodes(tmp_path, {**settings, "replica.lag.time.max.ms": "2000", "log.segment.bytes": "1048576"})
    except Missing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    yield nodes
    nodes.kill()


def until_in_sync(client: sl.Client) -> None:
    """Wait until all three are in sync again."""
    consumer = client.admin()
    while True:
        partitions = consumer.describe_topics([TOPIC])[0].partitions
        if all(partition.leader is not None and len(partition.isr) == 3 for partition in partitions):
            return


def hurt(node: Node, how: str, load: Load) -> None:
    """Do something to a broker, and let the load go on without it."""
    if how == "kill":
        node.kill()
    elif how == "stop":
        node.stop()
    else:
        node.pause()
    load.run_until(load.count + 2000)
    if how == "freeze":
        node.resume()
    else:
        node.start()


def test_whatever_happens_to_one_broker_nothing_is_lost_and_nobody_is_told(nodes: Nodes) -> None:
    dice = random.Random(SEED)
    client = sl.connect(nodes.bootstrap)
    client.admin().create_topic(TOPIC, partitions=PARTITIONS, replication_factor=3, min_insync_replicas=2)
    # A broker that is frozen keeps what was sent to it: by default the producer waits a minute before it asks others.
    load = Load(nodes.bootstrap, TOPIC, dice, **{"socket.timeout.ms": 4000})
    load.run_until(2000)
    for _ in range(ROUNDS):
        node, how = dice.choice(nodes.all), dice.choice(["kill", "kill", "stop", "freeze"])
        print(f"{how} broker {node.number}, {load.count} acknowledged")
        hurt(node, how, load)
        until_in_sync(client)
        load.run_until(load.count + 1000)
    load.producer.flush(60)
    assert not load.failed

    # As a reader has it: each once, at the offset that was acknowledged, in the order in which it was sent.
    for partition, found in enumerate(read_all(nodes.bootstrap, TOPIC)):
        numbers = [number for _, number in found]
        assert numbers == sorted(set(numbers)), f"partition {partition} has records twice, or out of order"
        assert {number: offset for offset, number in found} == load.acknowledged[partition]

    # As each broker has it on its disk.
    until_in_sync(client)
    held = []
    for node in nodes.all:
        node.stop()
        table = sl.open_log(node.data_dir).topic(TOPIC).scan().to_pyarrow().select(["partition", "offset", "value"])
        held.append(table.sort_by([("partition", "ascending"), ("offset", "ascending")]))
    assert all(table.num_rows == load.count for table in held), [table.num_rows for table in held]
    assert held[0].equals(held[1])
    assert held[0].equals(held[2])
