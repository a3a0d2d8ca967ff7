"""Three brokers as processes, killed, stopped and frozen in turn under traffic: all hold what was acknowledged.

Ours and Apache Kafka's by the same script, and nobody is told of an error. `STRANDLINE_CHAOS_ROUNDS` says how often
something happens (50 by hand, fewer in CI), `STRANDLINE_CHAOS_SEED` what.
"""

import random
from pathlib import Path

import pytest

from support import chaos
from support.load import assert_same
from support.nodes import Node, Ours
from support.traffic import traffic

pytestmark = pytest.mark.alone


def test_the_check_takes_a_record_whose_place_nobody_told_and_nothing_else() -> None:
    assert_same("load-0", {1: 0, 2: None, 3: 2}, [(0, 1), (1, 2), (2, 3)])
    for wrong in (
        [(0, 1), (2, 3)],
        [(0, 1), (1, 2)],
        [(0, 1), (1, 2), (3, 3)],
        [(0, 1), (1, 2), (2, 3), (3, 2)],
        [(0, 1), (1, 2), (2, 3), (3, 4)],
    ):
        with pytest.raises(AssertionError, match=r"^load-0: \d acknowledged"):
            assert_same("load-0", {1: 0, 2: None, 3: 2}, wrong)


@chaos.both
def test_whatever_happens_to_one_broker_nothing_is_lost_and_nobody_is_told(tmp_path: Path, kind: type[Node]) -> None:
    dice = random.Random(chaos.SEED)
    with chaos.running(tmp_path, kind) as nodes:
        chaos.create(nodes)
        with traffic(nodes, tmp_path, dice) as going:
            chaos.play(nodes, going, chaos.PROCESS, chaos.rounds(6 if kind is Ours else 3), dice)
        chaos.check(nodes, going)


@chaos.ours
def test_brokers_are_restarted_one_after_the_other_and_nobody_is_told(tmp_path: Path, kind: type[Node]) -> None:
    with chaos.running(tmp_path, kind) as nodes:
        chaos.create(nodes)
        with traffic(nodes, tmp_path, random.Random(chaos.SEED)) as going:
            chaos.roll(nodes, going, chaos.rounds(1))
        chaos.check(nodes, going)
