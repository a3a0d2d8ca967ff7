"""A load that never rests, by librdkafka's idempotent producer, and what became of it."""

import random
import threading
import time
from collections.abc import Callable

import confluent_kafka

PARTITIONS = 4
PATIENCE = 60.0


class Load:
    """A producer that never rests, and what became of its records."""

    def __init__(self, bootstrap: str, topic: str, dice: random.Random, **settings: object) -> None:
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
                **settings,
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
        self.run_until_true(lambda: self.count >= count, f"{count} records are acknowledged")

    def run_until_true(self, done: Callable[[], bool], what: str) -> None:
        """Produce until something has come about, with many records under way."""
        deadline = time.monotonic() + PATIENCE
        while not self.failed and not done():
            assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}; {self.count} were acknowledged"
            self.turn()
        assert not self.failed, self.failed[:3]

    def turn(self) -> None:
        """Give the producer what it has room for, and hear what became of what it has."""
        for _ in range(max(0, 1000 - len(self.producer))):
            value = b"%d %s" % (self.sent, b"x" * self.dice.randrange(300))
            self.producer.produce(self.topic, value, partition=self.sent % PARTITIONS, on_delivery=self.delivered)
            self.sent += 1
        self.producer.poll(0.01)

    def end(self) -> None:
        """Wait until all that was sent is acknowledged."""
        self.producer.flush(PATIENCE)
        assert not self.failed, self.failed[:3]
        assert self.count == self.sent


class Reader:
    """A member of a group that reads along, and what it was given."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.found: list[list[tuple[int, int]]] = [[] for _ in range(PARTITIONS)]
        self.failed: list[str] = []
        self.wanted: int | None = None
        self.consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "reads-along",
                "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": 100,
                "log_level": 0,
            }
        )
        self.consumer.subscribe([topic])
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        while self.wanted is None or sum(map(len, self.found)) < self.wanted:
            for message in self.consumer.consume(1000, timeout=0.1):
                if message.error() is not None:
                    self.failed.append(str(message.error()))
                    return
                number = int(message.value().split()[0])
                self.found[message.partition()].append((message.offset(), number))

    def end(self, acknowledged: list[dict[int, int]]) -> None:
        """Wait until it has read what was acknowledged: each record once, in its place."""
        self.wanted = sum(map(len, acknowledged))
        self.thread.join(PATIENCE)
        assert not self.failed, self.failed
        assert not self.thread.is_alive(), "the reader did not come to the end"
        self.consumer.close()
        for found, expected in zip(self.found, acknowledged, strict=True):
            assert found == sorted((offset, number) for number, offset in expected.items())


def read_all(bootstrap: str, topic: str) -> list[list[tuple[int, int]]]:
    """For each partition, offset and number of all its records."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
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
