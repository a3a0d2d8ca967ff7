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

confluent_kafka = pytest.importorskip("confluent_kafka")
admin = pytest.importorskip("confluent_kafka.admin")

SEED = int(os.environ.get("STRANDLINE_CRASH_SEED", "20"))
ROUNDS = int(os.environ.get("STRANDLINE_CRASH_ROUNDS", "50"))
PARTITIONS = 4
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


class Load:
    """A producer that never rests, and what became of its records."""

    def __init__(self, bootstrap: str, topic: str, dice: random.Random) -> None:
        self.topic = topic
        self.dice = dice
        self.sent = 0
        # For each partition: where each record is that was acknowledged.
        self.acknowledged: list[dict[int, int]] = [{} for _ in range(PARTITIONS)]
        self.failed: list[str] = []
        self.producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 1,
                "batch.num.messages": 200,
                "message.timeout.ms": 120_000,
                "reconnect.backoff.ms": 5,
                "reconnect.backoff.max.ms": 50,
                "retry.backoff.ms": 10,
                "log_level": 0,
            }
        )

    def delivered(self, error: object, message: object) -> None:
        """Called by the producer for each record."""
        if error is not None:
            self.failed.append(str(error))
            return
        number = int(message.value().split()[0])  # type: ignore[attr-defined]
        self.acknowledged[message.partition()][number] = message.offset()  # type: ignore[attr-defined]

    @property
    def count(self) -> int:
        """How many records were acknowledged."""
        return sum(map(len, self.acknowledged))

    def run_until(self, count: int) -> None:
        """Produce until `count` records were acknowledged, with many more under way."""
        deadline = time.monotonic() + PATIENCE
        while self.count < count and not self.failed:
            assert time.monotonic() < deadline, f"{self.count} of {count} were acknowledged in {PATIENCE} s"
            for _ in range(max(0, 1000 - len(self.producer))):
                value = b"%d %s" % (self.sent, b"x" * self.dice.randrange(300))
                self.producer.produce(self.topic, value, partition=self.sent % PARTITIONS, on_delivery=self.delivered)
                self.sent += 1
            self.producer.poll(0.01)
        assert not self.failed, self.failed[:3]


def read_all(broker: Serving, topic: str) -> list[list[tuple[int, int]]]:
    """For each partition, offset and number of all its records."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "reader", "enable.partition.eof": True, "log_level": 0}
    )
    partitions = [confluent_kafka.TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
    consumer.assign(partitions)
    found: list[list[tuple[int, int]]] = [[] for _ in partitions]
    ended = 0
    deadline = time.monotonic() + PATIENCE
    while ended < PARTITIONS:
        assert time.monotonic() < deadline, "the reader did not come to the end"
        for message in consumer.consume(1000, timeout=1):
            if message.error() is None:
                found[message.partition()].append((message.offset(), int(message.value().split()[0])))
            else:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                ended += 1
    consumer.close()
    return found


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

    found = read_all(broker, "tide")
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
    assert sum(map(len, read_all(again, "tide"))) == load.sent
    assert "not clean" not in again.logged(), again.logged()

    # A crash, for comparison: there the next start does recover.
    again.kill()
    crashed = Serving(tmp_path, broker.port)
    brokers.append(crashed)
    assert sum(map(len, read_all(crashed, "tide"))) == load.sent
    assert "not clean: logs are recovered" in crashed.logged()
    assert crashed.stop() == 0
