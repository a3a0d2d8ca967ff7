"""`strandline cluster` and `strandline topics reassign`, against three brokers in this process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import strandline as sl

BINARY = os.environ.get("STRANDLINE_BIN") or str(Path(sys.executable).parent / "strandline")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def three() -> Iterator[sl.Cluster]:
    with sl.Cluster(
        brokers=3, broker_session_timeout_ms=2000, broker_heartbeat_interval_ms=500, replica_lag_time_max_ms=2000
    ) as cluster:
        yield cluster


@pytest.fixture
def run(three: sl.Cluster) -> Run:
    def run(*args: str, fails: int = 0) -> str:
        """Stdout; of a command that is to fail, stderr."""
        command = [BINARY, *args, "-b", three.bootstrap_servers]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == fails, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if fails else done.stdout

    return run


def partition(three: sl.Cluster, topic: str) -> Any:
    [described] = three.admin().describe_topics([topic])
    return described.partitions[0]


def test_a_cluster_tells_how_it_is(three: sl.Cluster, run: Run) -> None:
    three.create_topic("status", partitions=2, replication_factor=3, min_insync_replicas=2)
    three.wait_healthy()
    text = run("cluster", "status")
    first, head, *rest = text.splitlines()
    assert first.startswith("Cluster ")
    assert ": 3 brokers, controller " in first
    assert head.split() == ["BROKER", "ADDRESS", "RACK", "STATE", "LEADS", "REPLICAS", "IN-SYNC"]
    assert [row.split()[3] for row in rest[:3]] == ["active"] * 3
    assert re.fullmatch(r"Quorum of 3 voters and 0 observers, epoch \d+", rest[4])
    assert rest[5].split() == ["NODE", "PART", "DIRECTORY", "LOG-END-OFFSET", "LAG"]
    assert sorted(row.split()[1] for row in rest[6:9]) == ["leader", "voter", "voter"]
    assert rest[-1] == "2 partitions of 1 topic: all in sync"

    three.brokers[2].kill()
    status = json.loads(run("cluster", "status", "--json"))
    while status["counts"]["under_replicated"] < 2:
        status = json.loads(run("cluster", "status", "--json"))
    assert [broker["state"] for broker in status["brokers"]] == ["active", "active", "fenced"]
    assert status["counts"]["at_min_isr"] == 2
    assert [row["trouble"] for row in status["troubles"]] == [["under-replicated", "at min ISR"]] * 2
    assert "2 under-replicated, 2 at min ISR" in run("cluster", "status")
    three.brokers[2].start()
    three.wait_healthy()
    three.admin().delete_topics(["status"])


def test_partitions_are_moved(three: sl.Cluster, run: Run) -> None:
    three.create_topic("moved", replication_factor=1)
    with three.producer() as producer:
        for number in range(10):
            producer.send("moved", str(number))
    [first] = partition(three, "moved").replicas
    others = [broker.id for broker in three.brokers if broker.id != first]
    target = ",".join(map(str, others))
    run("topics", "reassign", "moved", "--replicas", target, "--wait")
    assert partition(three, "moved").replicas == others
    assert run("topics", "reassign") == ""
    assert three.topic("moved").scan().count() == 10
    # As many as they were, in another order: done at once.
    run("topics", "reassign", "moved", "--partition", "0", "--replicas", ",".join(map(str, reversed(others))))
    assert partition(three, "moved").replicas == others[::-1]


def test_a_move_is_shown_and_taken_back(three: sl.Cluster, run: Run) -> None:
    three.create_topic("stuck", replication_factor=1)
    here = partition(three, "stuck").replicas
    away = next(broker for broker in three.brokers if broker.id not in here)
    away.kill()
    target = [*here, away.id]
    moving = json.loads(run("topics", "reassign", "stuck", "--replicas", ",".join(map(str, target)), "--json"))
    assert moving == {
        "topic": "stuck",
        "partition": 0,
        "replicas": target,
        "adding": [away.id],
        "removing": [],
        "target": target,
    }
    assert "moving" in run("cluster", "status")
    assert run("topics", "reassign", "stuck", "--cancel") == ""
    assert partition(three, "stuck").replicas == here
    away.start()
    three.wait_healthy()


def throttled(three: sl.Cluster, topic: str) -> dict[str, str]:
    """What throttles the topic, and what throttles brokers, with how many of them."""
    admin = three.admin()
    found: dict[str, str] = {}
    rates = 0
    for name, entry in admin.describe_configs(topic=topic).items():
        if "throttled" in name and entry.value:
            found[name] = entry.value
    for broker in three.brokers:
        rates += sum("throttled" in name for name in admin.describe_configs(broker=broker.id))
    if rates:
        found["rates"] = str(rates)
    return found


def test_a_throttled_move_is_shown_taken_back_and_done(three: sl.Cluster, run: Run) -> None:
    three.create_topic("slow", replication_factor=1)
    [here] = partition(three, "slow").replicas
    there = next(broker.id for broker in three.brokers if broker.id != here)
    with three.producer() as producer:
        # Several times what a fetch takes.
        for _ in range(8):
            producer.send("slow", bytes(500_000))
    move = ("topics", "reassign", "slow", "--replicas", str(there), "--throttle")
    assert len(run(*move, "1000").splitlines()) == 2
    set_by_it = {
        "leader.replication.throttled.replicas": f"0:{here}",
        "follower.replication.throttled.replicas": f"0:{there}",
        "rates": "4",
    }
    assert throttled(three, "slow") == set_by_it
    assert len(run("topics", "reassign", "slow", "--verify").splitlines()) == 2
    assert throttled(three, "slow") == set_by_it
    assert run("topics", "reassign", "slow", "--cancel") == ""
    assert throttled(three, "slow") == {}
    run(*move, "1000")
    # As fast as it can after all.
    assert run(*move, "100000000", "--wait") == ""
    assert partition(three, "slow").replicas == [there]
    assert throttled(three, "slow") == {}


def test_what_makes_no_sense_is_refused(three: sl.Cluster, run: Run) -> None:
    three.create_topic("refused", replication_factor=1)
    told = run("topics", "reassign", "refused", "--replicas", "0,7", fails=1)
    assert "broker 7, which has not registered" in told
    assert "UNKNOWN_TOPIC_OR_PARTITION" in run("topics", "reassign", "nowhere", "--replicas", "0", fails=1)
    assert "--replicas" in run("topics", "reassign", "refused", "--replicas", "0", "--cancel", fails=2)
    assert "--replicas" in run("topics", "reassign", "refused", "--throttle", "5", fails=2)
    assert "--throttle" in run("topics", "reassign", "refused", "--replicas", "0", "--throttle=-5", fails=2)
