"""Three brokers as processes, killed, stopped and frozen in turn under load: what was acknowledged is on all of them.

The load is librdkafka's: one idempotent producer with acks=all, which is told of no error. `STRANDLINE_CHAOS_ROUNDS`
says how often something happens (50 by hand, fewer in CI), `STRANDLINE_CHAOS_SEED` what. `tests/peers/test_chaos.py`
does the same to Apache Kafka.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers import Missing

pytest.importorskip("confluent_kafka")

from support import chaos
from support.nodes import Nodes


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Three brokers that notice quickly who hangs."""
    try:
        nodes = Nodes(tmp_path, chaos.SETTINGS)
    except Missing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    yield nodes
    nodes.kill()


def test_whatever_happens_to_one_broker_nothing_is_lost_and_nobody_is_told(nodes: Nodes) -> None:
    chaos.create(nodes)
    load = chaos.play(nodes, chaos.PROCESS, chaos.rounds(8), random.Random(chaos.SEED), nodes.all)
    chaos.check(nodes, load)


def test_brokers_are_restarted_one_after_the_other_and_nobody_is_told(nodes: Nodes) -> None:
    chaos.create(nodes)
    load = chaos.roll(nodes, chaos.rounds(1), random.Random(chaos.SEED))
    chaos.check(nodes, load)
