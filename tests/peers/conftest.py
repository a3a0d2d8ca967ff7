"""The stage of the side-by-side tests: both brokers and the tools, started once for the whole run.

`STRANDLINE_PEERS=kafka` (or `=strandline`) plays the scenarios against that broker alone and prints their transcripts
(with `pytest -s`), which is how a scenario is written. A peer that is not on the machine means a skip that says so, and
a failure where `CI=true`.
"""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers import Broker, Missing, start_kafka, start_strandline
from support.compare import Stage, absent
from support.three import KafkaCluster
from support.tools import Tools

# What the clients say of their connections would bury what a scenario says.
for _client in ("kafka", "aiokafka"):
    logging.getLogger(_client).setLevel(logging.CRITICAL)


def _chosen() -> str:
    chosen = os.environ.get("STRANDLINE_PEERS", "both")
    if chosen not in ("both", "kafka", "strandline"):
        raise pytest.UsageError(f"STRANDLINE_PEERS is {chosen!r}: it must be both, kafka or strandline")
    return chosen


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the brokers keep their data and logs."""
    return tmp_path_factory.mktemp("peers")


@pytest.fixture(scope="session")
def tools(folder: Path) -> Iterator[Tools]:
    """Kafka's tools and kcat."""
    tools = Tools(folder)
    yield tools
    tools.close()


def _serve(start: Callable[[Path], Broker], folder: Path) -> Iterator[Broker]:
    try:
        broker = start(folder)
    except Missing as missing:
        absent(missing)
        raise
    yield broker
    code = broker.stop()
    # A JVM that was asked to end by SIGTERM tells 143.
    assert code in (0, 143), f"{broker.name} ended with {code} after SIGTERM"


@pytest.fixture(scope="session")
def kafka(folder: Path) -> Iterator[Broker]:
    """Apache Kafka, running."""
    yield from _serve(start_kafka, folder / "kafka")


@pytest.fixture(scope="session")
def three(folder: Path) -> Iterator[KafkaCluster]:
    """Apache Kafka as a cluster of three brokers."""
    try:
        cluster = KafkaCluster(folder / "three")
    except Missing as missing:
        absent(missing)
        raise
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def strandline(folder: Path) -> Iterator[Broker]:
    """Our broker, running."""
    if _chosen() == "kafka":
        pytest.skip("STRANDLINE_PEERS=kafka leaves our broker out")
    yield from _serve(start_strandline, folder / "strandline")


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest, tools: Tools) -> Stage:
    """The brokers that `STRANDLINE_PEERS` names, both where it names none."""
    names = {"both": ("kafka", "strandline")}.get(_chosen(), (_chosen(),))
    return Stage([request.getfixturevalue(name) for name in names], tools)
