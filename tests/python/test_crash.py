"""Kill -9 under load, again and again: nothing that was acknowledged is lost, nothing doubled, order kept.

The load is librdkafka's (confluent-kafka): one idempotent producer with acks=all, which lives through every crash and
takes what it has in flight to the next broker on the same port.
"""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers import Missing, read_line, strandline_binary, tail
from support.load import PARTITIONS, Load, read_all

confluent_kafka = pytest.importorskip("confluent_kafka")
admin = pytest.importorskip("confluent_kafka.admin")

SEED = int(os.environ.get("STRANDLINE_CRASH_SEED", "20"))
ROUNDS = int(os.environ.get("STRANDLINE_CRASH_ROUNDS", "50"))
PATIENCE = 30.0


class Serving:
    """`strandline serve` on a data dir, ready."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        try:
            binary = strandline_binary()
        except Missing as missing:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(missing))
        self.data_dir = folder / "data"
        self.log = folder / "strandline.log"
        command = [str(binary), "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", str(self.data_dir)]
        # Small segments, so that crashes meet rolls too.
        command += ["--override", "log.segment.bytes=1048576"]
        self.logged_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        line = read_line(self.process, PATIENCE).decode(errors="replace")
        address = re.search(r"127\.0\.0\.1:(\d+)", line)
        if address is None:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"no address but {line!r}:\n{tail(self.log)}")
        self.port = int(address[1])
        self.bootstrap = f"127.0.0.1:{self.port}"

    def logged(self) -> str:
        """What this run of the broker logged."""
        return self.log.read_bytes()[self.logged_before :].decode(errors="replace")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> int:
        """End it by SIGTERM and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[Serving]]:
    """The brokers of a test, which are all gone when it ends."""
    started: list[Serving] = []
    yield started
    for broker in started:
        if broker.process.poll() is None:
            broker.kill()


def create(broker: Serving, topic: str) -> None:
    client = admin.AdminClient({"bootstrap.servers": broker.bootstrap})
    client.create_topics([admin.NewTopic(topic, PARTITIONS, 1)])[topic].result(PATIENCE)


def test_what_was_acknowledged_survives_kill_9_once_and_in_order(tmp_path: Path, brokers: list[Serving]) -> None:
    dice = random.Random(SEED)
    broker = Serving(tmp_path)
    brokers.append(broker)
    create(broker, "tide")
    load = Load(broker.bootstrap, "tide", dice)
    began = time.monotonic()
    for _ in range(ROUNDS):
        load.run_until(load.count + dice.choice([1, 10, 100, 1000, 3000]) + dice.randrange(50))
        broker.kill()
        broker = Serving(tmp_path, broker.port)
        brokers.append(broker)
    took = time.monotonic() - began
    assert load.producer.flush(PATIENCE) == 0
    assert not load.failed
    assert load.count == load.sent

    found = read_all(broker.bootstrap, "tide")
    for partition, records in enumerate(found):
        numbers = [number for _, number in records]
        assert len(set(numbers)) == len(numbers), f"partition {partition} has records twice"
        assert numbers == sorted(numbers), f"partition {partition} is out of order"
        assert {number: offset for offset, number in records} == load.acknowledged[partition]
    print(f"{ROUNDS} crashes, {load.sent} records, {took / ROUNDS:.2f} s a round")
    assert broker.stop() == 0


def test_a_second_broker_on_a_data_dir_is_refused_and_told_the_first(tmp_path: Path, brokers: list[Serving]) -> None:
    broker = Serving(tmp_path)
    brokers.append(broker)
    command = [str(strandline_binary()), "serve", "--listen", "127.0.0.1:0", "--data-dir", str(broker.data_dir)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode != 0
    assert not second.stdout
    assert re.search(rf"\b{broker.process.pid}\b", second.stderr), second.stderr
    assert str(broker.data_dir) in second.stderr
    # The first is none the worse for it.
    create(broker, "tide")
    broker.kill()
    # And with the first gone, whatever way it went, the dir is free.
    third = Serving(tmp_path)
    brokers.append(third)
    assert third.stop() == 0


def test_a_broker_that_was_asked_to_end_ends_clean_and_starts_without_recovery(
    tmp_path: Path, brokers: list[Serving]
) -> None:
    dice = random.Random(SEED)
    broker = Serving(tmp_path)
    brokers.append(broker)
    create(broker, "tide")
    load = Load(broker.bootstrap, "tide", dice)
    load.run_until(2000)
    load.producer.flush(PATIENCE)
    assert broker.stop() == 0
    marker = broker.data_dir / ".kafka_cleanshutdown"
    assert marker.exists()

    again = Serving(tmp_path, broker.port)
    brokers.append(again)
    assert not marker.exists(), "it is only true until the next start"
    assert sum(map(len, read_all(again.bootstrap, "tide"))) == load.sent
    assert "not clean" not in again.logged(), again.logged()

    # A crash, for comparison: there the next start does recover.
    again.kill()
    crashed = Serving(tmp_path, broker.port)
    brokers.append(crashed)
    assert sum(map(len, read_all(crashed.bootstrap, "tide"))) == load.sent
    assert "not clean: logs are recovered" in crashed.logged()
    assert crashed.stop() == 0
