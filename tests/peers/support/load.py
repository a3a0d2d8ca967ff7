"""A load that never rests, by librdkafka's idempotent producer, and what became of it."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import confluent_kafka

PARTITIONS = 4
PATIENCE = 60.0

# For each partition: where each record is that was acknowledged; `None` where the producer was not told where.
Acknowledged = list[dict[int, int | None]]


class Load:
    """A producer that never rests, and what became of its records."""

    def __init__(self, bootstrap: str, topic: str, dice: random.Random, **settings: object) -> None:
        self.topic = topic
        self.dice = dice
        self.sent = 0
        self.acknowledged: Acknowledged = [{} for _ in range(PARTITIONS)]
        self.failed: list[str] = []
        # For each partition: when a record was acknowledged last, and the longest time without that since `begin_gaps`.
        self.last = [time.monotonic()] * PARTITIONS
        self.longest = [0.0] * PARTITIONS
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
                "retry.backoff.max.ms": 50,
                "log_level": 0,
                **settings,
            }
        )

    def delivered(self, error: object, message: confluent_kafka.Message) -> None:
        """Called by the producer for each record."""
        if error is not None:
            self.failed.append(str(error))
            return
        partition, now = message.partition(), time.monotonic()
        self.acknowledged[partition][number_of(message)] = message.offset()
        self.longest[partition] = max(self.longest[partition], now - self.last[partition])
        self.last[partition] = now

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

    def begin_gaps(self) -> None:
        """Forget how long partitions were without an acknowledgement."""
        self.longest = [0.0] * PARTITIONS

    @property
    def gap(self) -> float:
        """The longest time that a partition was without an acknowledgement, in seconds; it may still be."""
        now = time.monotonic()
        return max(self.longest + [now - last for last in self.last])

    def turn(self, most: int = 1000) -> None:
        """Give the producer what it has room for, and hear what became of what it has."""
        for _ in range(min(most, 1000 - len(self.producer))):
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
    """A member of a group that reads along, and what it was given.

    It is given each record once, in its place. Where its partitions are assigned to it anew it may begin before what it
    has read, but not before what it knows to be committed.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str], **settings: object) -> None:
        # For each partition of each topic, the number that lies at each offset.
        self.found = {(topic, partition): dict[int, int]() for topic in topics for partition in range(PARTITIONS)}
        self.expected = dict.fromkeys(self.found, 0)
        self.committed = dict.fromkeys(self.found, 0)
        self.anew: set[tuple[str, int]] = set()
        self.read_again = 0
        self.failed: list[str] = []
        self.wanted: int | None = None
        self.closed = False
        self.consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "reads-along",
                "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": 100,
                "reconnect.backoff.ms": 5,
                "reconnect.backoff.max.ms": 50,
                "on_commit": self._on_commit,
                "log_level": 0,
                **settings,
            }
        )
        self.consumer.subscribe(list(topics), on_assign=self._on_assign)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _on_assign(self, _: object, assigned: list[confluent_kafka.TopicPartition]) -> None:
        self.anew.update((partition.topic, partition.partition) for partition in assigned)

    def _on_commit(self, error: object, committed: list[confluent_kafka.TopicPartition]) -> None:
        for partition in committed if error is None else []:
            if partition.error is None and partition.offset >= 0:
                self.committed[partition.topic, partition.partition] = partition.offset

    def _read(self) -> None:
        while not self.failed and (self.wanted is None or self.count < self.wanted):
            for message in self.consumer.consume(1000, timeout=0.1):
                if message.error() is not None:
                    self.failed.append(f"the reader was told: {message.error()}")
                else:
                    self._take((message.topic(), message.partition()), message.offset(), number_of(message))

    def _take(self, place: tuple[str, int], offset: int, number: int) -> None:
        expected = self.expected[place]
        least = self.committed[place] if place in self.anew else expected
        self.anew.discard(place)
        if not least <= offset <= expected:
            self.failed.append(f"{place}: the reader was given {offset}, and has read until {expected}, from {least}")
        if self.found[place].setdefault(offset, number) != number:
            self.failed.append(f"{place}: record {number} lies where {self.found[place][offset]} was read: at {offset}")
        self.read_again += max(0, expected - offset)
        self.expected[place] = offset + 1

    @property
    def count(self) -> int:
        """How many records it was given."""
        return sum(map(len, self.found.values()))

    def place(self) -> str:
        """Where it is by its own account, for those who wait for it in vain."""
        places = self.consumer.position(self.consumer.assignment())
        return ", ".join(f"{at.topic}-{at.partition} at {at.offset}" for at in places) or "it has no partitions"

    def end(self, acknowledged: dict[str, Acknowledged], patience: float) -> None:
        """Wait until it has read what was acknowledged, and nothing else."""
        self.wanted = sum(len(partition) for topic in acknowledged.values() for partition in topic)
        self.thread.join(patience)
        assert not self.failed, self.failed[:3]
        assert not self.thread.is_alive(), f"the reader did not come to the end: {self.count} of {self.wanted}"
        self.consumer.close()
        self.closed = True
        for (topic, partition), found in self.found.items():
            assert_same(f"{topic}-{partition}", acknowledged[topic][partition], found.items())

    def kill(self) -> None:
        """End it, where a test failed, while its cluster is there to leave: whoever frees it later waits for that.

        It would be waited for as long as its session lasts, in any thread that happens to collect garbage: in the
        reader's of the next test.
        """
        self.wanted = 0
        self.thread.join(PATIENCE)
        if not self.closed:
            self.consumer.close()


def number_of(message: confluent_kafka.Message) -> int:
    """Which record it is."""
    return int(message.value().split()[0])


def assert_same(partition: str, acknowledged: dict[int, int | None], found: Iterable[tuple[int, int]]) -> None:
    """Hold what was acknowledged of a partition against offset and number of all that was found in it.

    A producer need not know where a record is: where a leader went before it answered, librdkafka takes its last batch
    for acknowledged as soon as the next leader takes the one behind it. Such a record must be there once all the same.
    """
    read = set(found)
    where = {number: offset for offset, number in read}
    told = {(where.get(number) if offset is None else offset, number) for number, offset in acknowledged.items()}
    missed, more = sorted(told - read, key=str), sorted(read - told)
    counts = f"{len(missed)} acknowledged that were not found so, {len(more)} found that were not acknowledged so"
    assert missed == more == [], f"{partition}: {counts}: {missed[:5]}, {more[:5]}"


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
                found[message.partition()].append((message.offset(), number_of(message)))
            else:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                ended += 1
    consumer.close()
    return found
