"""confluent-kafka, which is librdkafka: producing, consuming, and what it tells of a cluster."""

import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import at, create, fill

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FIRST = 1_600_000_000_000


def told(message: Message) -> list[object]:
    """A message without what differs from run to run."""
    error = message.error()
    if error is not None:
        return ["error", error.name()]
    key, value = message.key(), message.value()
    return [
        message.topic(),
        message.partition(),
        message.offset(),
        None if key is None else key.decode(),
        None if value is None else value.decode() if len(value) < 80 else len(value),
        [[name, None if data is None else data.decode()] for name, data in message.headers() or []],
    ]


def read(bootstrap: str, topic: str, count: int, **settings: object) -> list[Message]:
    """The first `count` messages of partition 0."""
    base = {**at(bootstrap), "group.id": "nobody", "enable.auto.commit": False}
    consumer = Consumer({**base, "auto.offset.reset": "earliest", **settings})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    messages: list[Message] = []
    deadline = time.monotonic() + 20
    while len(messages) < count and time.monotonic() < deadline:
        messages += consumer.consume(count - len(messages), 0.5)
    consumer.close()
    return messages


def failure(error: KafkaException) -> list[object]:
    """What a failure says."""
    return [error.args[0].name(), error.args[0].str()]


@side_by_side
def test_every_codec_there_and_back(bootstrap: str, _tools: Tools) -> Transcript:
    found = {}
    for codec in CODECS:
        for idempotent in (False, True):
            topic = create(bootstrap, f"cf-{codec}-{idempotent}")
            producer = Producer(
                {
                    **at(bootstrap),
                    "compression.type": codec,
                    "enable.idempotence": idempotent,
                    "linger.ms": 20,
                }
            )
            delivered: list[object] = []

            def on_delivery(error: object, message: Message, into: list[object] = delivered) -> None:
                into.append([str(error) if error else None, message.partition(), message.offset()])

            for n in range(200):
                producer.produce(topic, key=f"key {n}", value=f"value {n} " * 20, on_delivery=on_delivery)
            producer.flush(20)
            messages = read(bootstrap, topic, 200, **{"check.crcs": True})
            whole = [m.value() == (f"value {n} " * 20).encode() for n, m in enumerate(messages)]
            found[topic] = [delivered[0], delivered[-1], len(delivered), all(whole), len(messages), told(messages[-1])]
    return found


@side_by_side
def test_a_topic_that_wants_a_codec_of_its_own(bootstrap: str, _tools: Tools) -> Transcript:
    found = {}
    for codec in ("uncompressed", "gzip", "snappy", "lz4", "zstd"):
        topic = create(bootstrap, f"cf-own-{codec}", compression_type=codec)
        producer = Producer({**at(bootstrap), "compression.type": "lz4", "linger.ms": 20})
        for n in range(20):
            producer.produce(topic, key=f"{n}", value="x" * 100, headers=[("h", str(n).encode())], timestamp=FIRST + n)
        producer.flush(20)
        messages = read(bootstrap, topic, 20)
        found[codec] = [[told(m), m.timestamp()] for m in (messages[0], messages[-1])]
    return found


@side_by_side
def test_keys_values_and_headers_of_every_kind(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "cf-kinds")
    producer = Producer(at(bootstrap))
    producer.produce(topic)
    producer.produce(topic, key=b"", value=b"")
    producer.produce(topic, key=b"only a key")
    producer.produce(topic, value="only a välue")
    producer.produce(topic, value="x" * 100_000)
    producer.produce(topic, "v", headers=[("twice", b"1"), ("twice", b"2"), ("null", None), ("", b"")])
    producer.flush(20)
    return [told(message) for message in read(bootstrap, topic, 6)]


@side_by_side
def test_timestamps_of_both_types(bootstrap: str, _tools: Tools) -> Transcript:
    found = {}
    for kind in ("CreateTime", "LogAppendTime"):
        topic = create(bootstrap, f"cf-{kind}", message_timestamp_type=kind)
        fill(bootstrap, topic, 5)
        messages = read(bootstrap, topic, 5)
        recent = [abs(m.timestamp()[1] - time.time() * 1000) < 60_000 for m in messages]
        found[kind] = [
            [m.timestamp()[0], "now" if r else m.timestamp()[1]] for m, r in zip(messages, recent, strict=True)
        ]
    return found


@side_by_side
def test_offsets_for_times_and_watermarks(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "cf-times", 2)
    fill(bootstrap, topic, 100)
    consumer = Consumer({**at(bootstrap), "group.id": "nobody"})
    found: dict[str, object] = {"marks": [consumer.get_watermark_offsets(TopicPartition(topic, n)) for n in (0, 1)]}
    for name, timestamp in {"start": 0, "first": FIRST, "between": FIRST + 50_500, "late": FIRST + 10**9}.items():
        asked = [TopicPartition(topic, n, timestamp) for n in (0, 1)]
        found[name] = [[p.partition, p.offset, str(p.error)] for p in consumer.offsets_for_times(asked, timeout=10)]
    try:
        consumer.get_watermark_offsets(TopicPartition(topic, 7), timeout=5)
    except KafkaException as error:
        found["unknown partition"] = error.args[0].name()
    consumer.close()
    return found


@side_by_side
def test_what_metadata_tells(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "cf-metadata", 3)
    producer = Producer({**at(bootstrap), "allow.auto.create.topics": False})
    metadata = producer.list_topics(timeout=10)
    one = producer.list_topics(topic, timeout=10).topics[topic]
    unknown = producer.list_topics("cf-no-such-topic", timeout=10).topics["cf-no-such-topic"]
    return {
        "brokers": len(metadata.brokers),
        "controller": metadata.controller_id in metadata.brokers,
        "cluster id": len(metadata.cluster_id),
        "listed": topic in metadata.topics,
        "partitions": [[p.id, p.leader, p.replicas, p.isrs, str(p.error)] for p in one.partitions.values()],
        "unknown": [str(unknown.error), len(unknown.partitions)],
    }


@side_by_side
def test_topics_make_themselves_when_produced_to(bootstrap: str, _tools: Tools) -> Transcript:
    delivered: list[object] = []
    producer = Producer(at(bootstrap))
    producer.produce(
        "cf-by-itself", "v", on_delivery=lambda e, m: delivered.append([str(e), m.partition(), m.offset()])
    )
    producer.flush(20)
    partitions = len(producer.list_topics("cf-by-itself", timeout=10).topics["cf-by-itself"].partitions)
    return [delivered, partitions, [told(m) for m in read(bootstrap, "cf-by-itself", 1)]]


@side_by_side
def test_what_a_producer_is_refused(bootstrap: str, _tools: Tools) -> Transcript:
    delivered: dict[str, object] = {}

    def produce(name: str, topic: str, settings: dict[str, object] | None = None, **record: object) -> None:
        producer = Producer({**at(bootstrap), "message.timeout.ms": 8000, **(settings or {})})

        def on_delivery(error: object, message: Message) -> None:
            delivered[name] = [error.name() if error else None, message.offset()]  # type: ignore[attr-defined]

        producer.produce(topic, on_delivery=on_delivery, **record)
        producer.flush(20)

    small = create(bootstrap, "cf-small", max_message_bytes="1000")
    compacted = create(bootstrap, "cf-compacted", cleanup_policy="compact")
    plain = create(bootstrap, "cf-plain")
    produce("too large", small, value="x" * 2000)
    produce("small enough", small, value="x" * 500)
    produce("too large without idempotence", small, {"enable.idempotence": False}, value="x" * 2000)
    produce("no key where keys are compacted", compacted, value="x")
    produce("a tombstone", compacted, key="k")
    produce("from tomorrow", plain, value="x", timestamp=int(time.time() * 1000) + 86_400_000)
    produce("to no partition", plain, value="x", partition=9)
    produce("to a name that is none", "no/such/name", value="x")
    produce("acks 0", plain, {"acks": 0}, value="x")
    produce("acks 1", plain, {"acks": 1}, value="x")
    # Without acks there is no offset, and where a record lands then is not known either.
    return delivered


@side_by_side
def test_a_consumer_starts_where_it_is_told(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "cf-start")
    fill(bootstrap, topic, 20)
    found: dict[str, object] = {}
    cases = {"middle": (7, "error"), "past, earliest": (500, "earliest"), "past, error": (500, "error")}
    for name, (offset, reset) in cases.items():
        consumer = Consumer({**at(bootstrap), "group.id": "nobody", "auto.offset.reset": reset})
        consumer.assign([TopicPartition(topic, 0, offset)])
        message = consumer.poll(10)
        found[name] = None if message is None else told(message)
        consumer.close()
    consumer = Consumer({**at(bootstrap), "group.id": "nobody", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 18)])
    found["to the end"] = [told(message) for message in consumer.consume(3, 10)]
    consumer.seek(TopicPartition(topic, 0, 3))
    found["after a seek"] = [told(message) for message in consumer.consume(1, 10)]
    found["position"] = [p.offset for p in consumer.position([TopicPartition(topic, 0)])]
    consumer.close()
    return found


@side_by_side
def test_small_fetches_bring_all(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "cf-fetch", segment_bytes="1048576")
    producer = Producer({**at(bootstrap), "batch.size": 4000, "linger.ms": 1})
    for n in range(3000):
        producer.produce(topic, key=f"{n}", value="x" * 1000)
        producer.poll(0)
    producer.flush(20)
    messages = read(
        bootstrap, topic, 3000, **{"fetch.message.max.bytes": 2000, "fetch.max.bytes": 2000, "message.max.bytes": 2000}
    )
    return [len(messages), all(m.offset() == n and m.key() == f"{n}".encode() for n, m in enumerate(messages))]
