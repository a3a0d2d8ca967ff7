"""Brokers that cannot reach each other, and disks that are full, under traffic, in namespaces of the test's own.

Ours and Apache Kafka's by the same script. `STRANDLINE_CHAOS_ROUNDS=50` plays as many rounds of each; in CI there are
few, and of Apache Kafka, which takes its time to start, only those of the network.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import chaos, partitions
from support.apart import Disk, Network, apart
from support.nodes import Node, Nodes, Ours, alive
from support.traffic import Traffic, traffic

pytestmark = pytest.mark.alone


@chaos.both
@apart
def test_links_are_cut_in_turn_and_nothing_is_lost_and_nobody_is_told(tmp_path: Path, kind: type[Node]) -> None:
    network, dice = Network(3), random.Random(chaos.SEED)
    with chaos.running(tmp_path, kind, places=network.places) as nodes:
        chaos.create(nodes)
        with traffic(nodes, tmp_path, dice) as going:
            count = chaos.rounds(5 if kind is Ours else 1)
            chaos.play(nodes, going, partitions.faults(network, dice), count, dice)
        chaos.check(nodes, going)


@chaos.ours
@apart
def test_a_controller_that_reaches_no_broker_stops_nobody(tmp_path: Path, kind: type[Node]) -> None:
    network, dice = Network(4), random.Random(chaos.SEED)
    away = [link for broker in (1, 2, 3) for link in partitions.both_ways(0, broker)]
    with chaos.running(tmp_path, kind, places=network.places, voters=[0]) as nodes:
        controller, *brokers = nodes.all

        def has_given_them_up() -> bool:
            return alive(controller.place.address) == {controller.number}

        @contextmanager
        def gone(nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
            with network.cut(away):
                traffic.until(has_given_them_up, "the controller has given all brokers up")
                # They go on without it.
                yield

        @contextmanager
        def gone_while_one_is_killed(nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
            with network.cut(away):
                node.kill()
                traffic.until(has_given_them_up, "the controller has given all brokers up")
            # Whoever was given up last may be the one that was killed. The one before is eligible (KIP-966), and leads.
            yield
            nodes.start(node)

        chaos.create(nodes, replicas=[broker.number for broker in brokers])
        faults: dict[str, chaos.Fault] = {"gone": gone, "gone, and one is killed": gone_while_one_is_killed}
        with traffic(nodes, tmp_path, dice) as going:
            chaos.play(nodes, going, faults, chaos.rounds(2), dice, brokers)
        chaos.check(nodes, going, brokers)


@chaos.ours
@apart
def test_disks_get_full_in_turn_and_nothing_is_lost_and_nobody_is_told(tmp_path: Path, kind: type[Node]) -> None:
    network = Network(3)
    dice = random.Random(chaos.SEED)
    disks = {number: Disk(tmp_path / f"disk-{number}") for number in range(3)}

    @contextmanager
    def full(nodes: Nodes, node: Node, traffic: Traffic) -> Iterator[None]:
        with disks[node.number].full(dice.randrange(1 << 20)):
            traffic.until(node.has_ended, f"{node.number}, whose disk is full, stops by itself")
            yield
        node.kill()
        nodes.start(node)

    data_dirs = {number: disk.at / "data" for number, disk in disks.items()}
    with chaos.running(tmp_path, kind, places=network.places, data_dirs=data_dirs) as nodes:
        chaos.create(nodes)
        with traffic(nodes, tmp_path, dice) as going:
            chaos.play(nodes, going, {"full disk": full}, chaos.rounds(2), dice)
        chaos.check(nodes, going)
