"""The log cleaner: of the same records, written by the same client, the same ones survive."""

import re
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from support.brokers import Broker
from support.compare import Stage, Transcript
from support.topics import at, create
from test_files import TIME, compare, dump, files_of

Row = tuple[str, str | None, int]


def send(broker: Broker, topic: str, batches: list[list[tuple[str, str | None]]], start: int, **settings: str) -> None:
    """Produce each list as a batch of its own, two seconds of record time apart."""
    for n, pairs in enumerate(batches):
        producer = Producer({**at(broker.bootstrap), "linger.ms": 1000, **settings})
        for key, value in pairs:
            producer.produce(topic, key=key, value=value, partition=0, timestamp=start + 2000 * n)
        assert producer.flush(30) == 0


def rows(broker: Broker, topic: str) -> list[Row]:
    """All records of partition 0: key, value and offset."""
    consumer = Consumer({**at(broker.bootstrap), "group.id": "rows", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Row] = []
    while True:
        message = consumer.poll(30)
        assert message is not None, "the partition has no end"
        if error := message.error():
            assert error.code() == KafkaError._PARTITION_EOF, error
            consumer.close()
            return found
        value = message.value()
        found.append((message.key().decode(), value if value is None else value.decode(), message.offset()))


def wait_for(broker: Broker, topic: str, cleaned: Callable[[list[Row]], bool]) -> list[Row]:
    """Read the topic again and again until the cleaner has been there."""
    deadline = time.monotonic() + 60
    while not cleaned(found := rows(broker, topic)):
        assert time.monotonic() < deadline, f"{broker.name} did not compact {topic}: {found}"
    return found


def cleaned_to(broker: Broker, topic: str) -> list[str]:
    """The lines of `cleaner-offset-checkpoint` on a topic."""
    deadline = time.monotonic() + 60
    while not (told := re.findall(rf"^{topic} .*$", (broker.data_dir / CHECKPOINT).read_text(), re.M)):
        assert time.monotonic() < deadline, f"{broker.name} wrote nothing down of {topic}"
    return told


CHECKPOINT = "cleaner-offset-checkpoint"
LOG = [[(f"k{m}", f"v{n}.{m}") for m in range(n % 7, 40, 1 + n % 5)] for n in range(30)]
SETTINGS = {"cleanup_policy": "compact", "segment_ms": "1000", "min_cleanable_dirty_ratio": "0.01"}


def test_the_same_records_survive(stage: Stage) -> None:
    told: list[Transcript] = []
    for broker in stage.brokers:
        transcript: list[object] = []
        for codec in ("none", "zstd"):
            topic = f"compacted-{codec}"
            create(broker.bootstrap, topic, **SETTINGS)
            send(broker, topic, LOG, TIME, **{"compression.type": codec})
            # Only the segment that grows, the last batch, may hold a key that was written before.
            before = sum(len(batch) for batch in LOG[:-1])

            def once(found: list[Row], before: int = before) -> bool:
                keys = [key for key, _, offset in found if offset < before]
                return len(keys) == len(set(keys))

            transcript += wait_for(broker, topic, once)
            transcript += cleaned_to(broker, topic)
            dumped = dump(
                stage.tools, *files_of(broker, topic, ".log"), options=("--print-data-log", "--deep-iteration")
            )
            # How the client spread its records over batches is its own affair.
            transcript += [line for line in dumped if "| offset:" in line]
            for index in files_of(broker, topic, ".index", ".timeindex"):
                if int(index.stem) < before:
                    dump(stage.tools, index, options=("--index-sanity-check",))
        told.append(transcript)
    compare(stage, told)


def test_tombstones_go_a_while_after_what_they_delete(stage: Stage) -> None:
    told: list[Transcript] = []
    for broker in stage.brokers:
        topic = create(broker.bootstrap, "compacted-tombs", delete_retention_ms="0", **SETTINGS)
        start: list[list[tuple[str, str | None]]] = [
            [("gone", "1"), ("stays", "1")],
            [("gone", None), ("stays", "2")],
            [("other", "1")],
        ]
        send(broker, topic, start, TIME)
        first = wait_for(broker, topic, lambda found: ("gone", "1", 0) not in found)
        # The run that first meets a tombstone keeps it whatever its time; the next one may take it away.
        send(broker, topic, [[("more", "1")], [("other", "2")]], TIME + 10_000)
        second = wait_for(broker, topic, lambda found: all(key != "gone" for key, _, _ in found))
        told.append([first, second])
        dump(stage.tools, *files_of(broker, topic, ".log"), options=("--print-data-log", "--deep-iteration"))
    compare(stage, told)
