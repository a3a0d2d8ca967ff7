"""kafka-python: a client of its own making, all Python."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import create, fill


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the name of its error."""
    try:
        return call()
    except KafkaError as error:
        return type(error).__name__


def settle(consumers: list[KafkaConsumer], shares: list[int], seconds: float = 60) -> None:
    """Poll, each consumer in a thread of its own, until each has its share."""
    deadline = time.monotonic() + seconds

    def now() -> list[int]:
        return [len(consumer.assignment()) for consumer in consumers]

    def poll(consumer: KafkaConsumer) -> None:
        # A poll that ends while it joins would join anew and begin the rebalance again: give it time.
        while now() != shares and time.monotonic() < deadline:
            consumer.poll(timeout_ms=1000)

    with ThreadPoolExecutor(len(consumers)) as pool:
        list(pool.map(poll, consumers))
    assert now() == shares, f"the group did not settle: {now()} instead of {shares}"


@side_by_side
def test_every_codec_there_and_back(bootstrap: str, _tools: Tools) -> Transcript:
    found = {}
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        for idempotent in (False, True):
            topic = create(bootstrap, f"kp-{codec}-{idempotent}")
            producer = KafkaProducer(
                bootstrap_servers=bootstrap, compression_type=codec, enable_idempotence=idempotent, linger_ms=20
            )
            sent = [
                producer.send(topic, key=b"%d" % n, value=b"value %d " % n * 20, headers=[("h", b"%d" % n)])
                for n in range(50)
            ]
            offsets = [future.get(20).offset for future in sent]
            producer.close()
            consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", check_crcs=True)
            messages = [next(consumer) for _ in range(50)]
            consumer.close()
            whole = all(
                m.value == b"value %d " % n * 20 and m.headers[0][1] == b"%d" % n for n, m in enumerate(messages)
            )
            found[topic] = [offsets == list(range(50)), [m.offset for m in messages] == offsets, whole]
    return found


@side_by_side
def test_offsets_and_times(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "kp-times", 2)
    fill(bootstrap, topic, 20)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    one, two = TopicPartition(topic, 0), TopicPartition(topic, 1)
    times = consumer.offsets_for_times({one: 1_600_000_004_500, two: 5})
    found: dict[str, object] = {
        "beginning": sorted([p.partition, o] for p, o in consumer.beginning_offsets([one, two]).items()),
        "end": sorted([p.partition, o] for p, o in consumer.end_offsets([one, two]).items()),
        "times": sorted([p.partition, t and [t.offset, t.timestamp, t.leader_epoch]] for p, t in times.items()),
        "partitions": sorted(consumer.partitions_for_topic(topic) or []),
    }
    consumer.assign([one])
    consumer.seek(one, 15)
    found["after a seek"] = [[m.offset, m.timestamp, m.timestamp_type, m.key.decode()] for m in (next(consumer),)]
    consumer.seek_to_end(one)
    found["end position"] = consumer.position(one)
    consumer.close()
    return found


@side_by_side
def test_a_group_of_three(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "kp-group", 6)
    fill(bootstrap, topic, 10)

    def join() -> KafkaConsumer:
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id="kp-group",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            heartbeat_interval_ms=300,
        )
        # It must know the topic before it joins, or it may lead the group and share out nothing.
        assert consumer.partitions_for_topic(topic) == set(range(6))
        consumer.subscribe([topic])
        return consumer

    consumers = [join()]
    settle(consumers, [6])
    consumers.append(join())
    settle(consumers, [3, 3])
    consumers.append(join())
    settle(consumers, [2, 2, 2])
    consumers[0].close()
    settle(consumers[1:], [3, 3])
    owner = next(c for c in consumers[1:] if TopicPartition(topic, 0) in c.assignment())
    owner.seek(TopicPartition(topic, 0), 6)
    read = [next(owner).offset for _ in range(2)]
    owner.commit()
    committed = owner.committed(TopicPartition(topic, 0))
    for consumer in consumers[1:]:
        consumer.close()
    return [read, committed]


@side_by_side
def test_the_admin_client(bootstrap: str, _tools: Tools) -> Transcript:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id="kp-admin", enable_auto_commit=False)
    found: dict[str, object] = {
        "create": outcome(lambda: admin.create_topics([NewTopic("kp-admin", 2, 1)]) and "done"),
        "again": outcome(lambda: admin.create_topics([NewTopic("kp-admin", 2, 1)]) and "done"),
        "listed": "kp-admin" in admin.list_topics(),
    }
    fill(bootstrap, "kp-admin", 5)
    consumer.assign([TopicPartition("kp-admin", 0)])
    consumer.seek(TopicPartition("kp-admin", 0), 3)
    consumer.commit()
    consumer.close()
    told = admin.describe_topics(["kp-admin"])
    found["described"] = [[t["name"], len(t["partitions"])] for t in told]
    found["delete"] = outcome(lambda: admin.delete_topics(["kp-admin"]) and "done")
    found["delete again"] = outcome(lambda: admin.delete_topics(["kp-admin"]) and "done")
    admin.close()
    return found


@side_by_side
def test_what_a_producer_is_refused(bootstrap: str, _tools: Tools) -> Transcript:
    small = create(bootstrap, "kp-small", max_message_bytes="1000")
    compacted = create(bootstrap, "kp-compacted", cleanup_policy="compact")

    def send(topic: str, **record: Any) -> Any:
        # One for each: after a batch that was refused, this client's producer refuses what follows.
        producer = KafkaProducer(bootstrap_servers=bootstrap, max_block_ms=5000)
        try:
            return outcome(lambda: producer.send(topic, **record).get(10).offset)
        finally:
            producer.close(timeout=5)

    return {
        "too large": send(small, value=b"x" * 2000),
        "no key": send(compacted, value=b"x"),
        "from tomorrow": send(small, value=b"x", timestamp_ms=int(time.time() * 1000) + 86_400_000),
        "good": send(small, value=b"x"),
    }
