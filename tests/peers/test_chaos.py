"""What Apache Kafka survives: the faults of `tests/python/test_chaos.py`, by the same script, on its brokers."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import chaos
from support.brokers import Missing
from support.compare import absent
from support.nodes import Kafka, Nodes


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three brokers of Apache Kafka's that notice quickly who hangs."""
    try:
        nodes = Nodes(tmp_path, chaos.SETTINGS, kind=Kafka)
    except Missing as missing:
        absent(missing)
        raise
    yield nodes
    nodes.kill()


def test_kafka_survives_what_ours_survives(nodes: Nodes) -> None:
    chaos.create(nodes)
    load = chaos.play(nodes, chaos.PROCESS, chaos.rounds(3), random.Random(chaos.SEED), nodes.all)
    chaos.check(nodes, load)


@chaos.by_hand
def test_brokers_are_restarted_one_after_the_other_and_nobody_is_told(nodes: Nodes) -> None:
    chaos.create(nodes)
    load = chaos.roll(nodes, chaos.rounds(1), random.Random(chaos.SEED))
    chaos.check(nodes, load)
