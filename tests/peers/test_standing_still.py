"""Controllers that stand still for longer than a session (SIGSTOP, a host that swaps), under traffic.

Ours and Apache Kafka's by the same script, Apache Kafka's by hand.
"""

import json
import random
import subprocess
import time
from pathlib import Path

import pytest

from support import chaos
from support.brokers import strandline_binary
from support.nodes import Node, Nodes, Ours, alive
from support.traffic import TOPICS, traffic

pytestmark = pytest.mark.alone

# For how long, in sessions: so that a session was over just before the controller wakes, and long before.
PAUSES = (1.2, 2.0)


def active_controller(nodes: Nodes) -> Node:
    """Who is asked to change the cluster."""
    command = [str(strandline_binary()), "cluster", "status", "--json", "-b", nodes.bootstrap]
    status = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout)
    return nodes.all[int(status["controller"])]


def leader_epochs(node: Node) -> dict[str, int]:
    """How many leaders each partition has had, as far as this broker was told."""
    return {
        log.name: int((log / "leader-epoch-checkpoint").read_text().splitlines()[1])
        for topic in TOPICS
        for log in node.data_dir.glob(f"{topic}-[0-9]")
    }


@chaos.ours
def test_the_only_controller_wakes_and_fences_nobody(tmp_path: Path, kind: type[Node]) -> None:
    with chaos.running(tmp_path, kind, voters=[0]) as nodes:
        controller, *brokers = nodes.all
        chaos.create(nodes, replicas=[broker.number for broker in brokers])
        with traffic(nodes, tmp_path, random.Random(chaos.SEED)) as going:
            before = [leader_epochs(broker) for broker in brokers]
            going.load.begin_gaps()
            for pause in PAUSES * chaos.rounds(1):
                controller.pause()
                going.wait(pause * chaos.SESSION)
                controller.resume()
                going.until(lambda: len(alive(controller.place.address)) == len(nodes.all), "the controller serves")
                # Whoever lost its session as the controller woke would lose what it leads soon after.
                going.wait(chaos.SESSION / 2)
                print(f"{pause} sessions: felt for {going.load.gap:.2f} s", flush=True)
            # Apache Kafka's fences some as it wakes; no client is told an error when others lead then.
            if kind is Ours:
                assert [leader_epochs(broker) for broker in brokers] == before
        chaos.check(nodes, going, brokers)


@chaos.ours
def test_a_leader_that_is_the_active_controller_hangs_and_is_replaced(tmp_path: Path, kind: type[Node]) -> None:
    # Others take its office late here, and do not give it another session of their own then.
    session, patience = 3.0, 1.5
    settings = {
        "broker.session.timeout.ms": str(int(session * 1000)),
        "controller.quorum.fetch.timeout.ms": str(int(patience * 1000)),
        "controller.quorum.election.timeout.ms": "300",
    }
    with chaos.running(tmp_path, kind, settings) as nodes:
        chaos.create(nodes)
        with traffic(nodes, tmp_path, random.Random(chaos.SEED)) as going:
            for _ in range(chaos.rounds(1)):
                victim = active_controller(nodes)
                going.until(lambda: chaos.are_led_as_preferred(nodes), "preferred leaders lead")
                victim.pause()
                paused = time.monotonic()
                chaos.until_without(nodes, victim, going)
                took = time.monotonic() - paused
                victim.resume()
                going.until(lambda: chaos.are_in_sync(nodes), "it is in sync again")
                going.until_read()
                # After one session, not two: the tests of `src/controller/sessions.rs` move the clock and hold that.
                print(f"others led after {took:.2f} s", flush=True)
        chaos.check(nodes, going)
