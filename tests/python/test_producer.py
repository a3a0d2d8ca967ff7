"""Sending: what is taken, what is refused, and what becomes of it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import strandline as sl


def read(cluster: sl.Cluster, topic: sl.Topic) -> list[sl.Message]:
    """All that a topic holds."""
    with cluster.consumer(topic.name, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        return list(consumer)


def test_a_record_comes_back_as_it_was_sent(cluster: sl.Cluster, topic: sl.Topic) -> None:
    headers = [("a", b"1"), ("b", None), ("a", b"\x00")]
    with cluster.producer() as producer:
        sent = producer.send(topic.name, b"\x00value", key=b"k\xff", timestamp=1_357_034_400_123, headers=headers)
        metadata = sent.result(timeout=30)
    assert metadata == sl.RecordMetadata(topic.name, 0, 0, 1_357_034_400_123)
    [message] = read(cluster, topic)
    assert (message.topic, message.partition, message.offset) == (topic.name, 0, 0)
    assert (message.key, message.value, message.headers) == (b"k\xff", b"\x00value", headers)
    assert message.timestamp == 1_357_034_400_123
    assert message.datetime == datetime(2013, 1, 1, 10, 0, 0, 123_000, tzinfo=timezone.utc)
    assert message.leader_epoch == 0
    assert topic.name in repr(message)


def test_keys_and_values_are_bytes_text_buffers_or_nothing(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.producer() as producer:
        producer.send(topic.name, "grüß", key="k")
        producer.send(topic.name, bytearray(b"array"), key=memoryview(b"xview")[1:])
        producer.send(topic.name)
        producer.send(topic.name, b"")
        for wrong in (5, 1.5, [1, 2], object()):
            with pytest.raises(TypeError, match="it must be bytes"):
                producer.send(topic.name, wrong)  # type: ignore[arg-type]
    assert [(message.key, message.value) for message in read(cluster, topic)] == [
        (b"k", "grüß".encode()),
        (b"view", b"array"),
        (None, None),
        (None, b""),
    ]


def test_a_timestamp_may_be_a_number_a_datetime_or_text(cluster: sl.Cluster, topic: sl.Topic) -> None:
    moment = datetime(2013, 1, 1, 5, 0, tzinfo=timezone(timedelta(hours=-5)))
    with cluster.producer() as producer:
        for timestamp in (
            1_357_034_400_000,
            moment,
            "2013-01-01T10:00:00Z",
            "2013-01-01T10:00",
            "2013-01-01T05:00-05:00",
        ):
            producer.send(topic.name, b"v", timestamp=timestamp)
        with pytest.raises(TypeError, match="milliseconds"):
            producer.send(topic.name, b"v", timestamp=1.5)  # type: ignore[arg-type]
    assert {message.timestamp for message in read(cluster, topic)} == {1_357_034_400_000}


def test_a_key_always_goes_to_its_partition(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=4)
    with cluster.producer() as producer:
        sent = [producer.send(topic.name, b"v", key=key) for key in ("UA", "AA", "B6") for _ in range(20)]
    partitions = [delivery.result().partition for delivery in sent]
    assert all(len(set(partitions[at : at + 20])) == 1 for at in (0, 20, 40))


def test_a_partition_that_is_not_there_is_refused(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.producer() as producer, pytest.raises(sl.KafkaError, match="no partition 7"):
        producer.send(topic.name, b"v", partition=7)


def test_a_record_that_is_too_large_is_refused(cluster: sl.Cluster, topic: sl.Topic) -> None:
    told = pytest.raises(sl.errors.MessageTooLargeError, match=r"max\.request\.size allows 1048576")
    with cluster.producer() as producer, told:
        producer.send(topic.name, bytes(2_000_000))


def test_a_time_before_1970_is_refused(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.producer() as producer, pytest.raises(ValueError, match="timestamp is -5: it must be at least 0"):
        producer.send(topic.name, b"v", timestamp=-5)


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        (5, "headers is int"),
        ("ab", "one of the headers is str"),
        ([("alone",)], "one of the headers is tuple"),
        ([(b"bytes", b"")], "a header's key is bytes"),
        ({"number": 5}, "a header's value is int"),
    ],
)
def test_wrong_headers_are_named(cluster: sl.Cluster, topic: sl.Topic, headers: Any, sentence: str) -> None:
    with cluster.producer() as producer, pytest.raises(TypeError, match=sentence):
        producer.send(topic.name, b"v", headers=headers)


def test_a_wait_that_ran_out_says_how_long_it_was(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.producer(linger_ms=60_000) as producer:
        sent = producer.send(topic.name, b"v")
        with pytest.raises(TimeoutError, match="the delivery is not done after 2ms"):
            sent.result(timeout=0.002)


def test_a_full_buffer_raises_once_it_has_waited(topic: sl.Topic) -> None:
    # Nobody answers at this address, but the topic's name is known only to a cluster: the wait is for metadata.
    with sl.connect("127.0.0.1:1").producer(max_block_ms=100) as producer, pytest.raises(sl.KafkaError):
        producer.send(topic.name, b"v")


def test_flush_waits_until_everything_is_written(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.producer(linger_ms=60_000, delivery_timeout_ms=120_000) as producer:
        sent = [producer.send(topic.name, b"v") for _ in range(10)]
        assert not any(delivery.done() for delivery in sent)
        with pytest.raises(TimeoutError):
            sent[0].result(timeout=0)
        producer.flush(timeout=30)
        assert all(delivery.done() for delivery in sent)
        assert [delivery.result().offset for delivery in sent] == list(range(10))


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acks_decide_what_a_delivery_knows(cluster: sl.Cluster, topic: sl.Topic, acks: object) -> None:
    with cluster.producer(acks=acks, enable_idempotence=acks == "all") as producer:
        offset = producer.send(topic.name, b"v").result(timeout=30).offset
    assert offset == (None if acks == 0 else 0)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_each_codec_brings_back_what_was_sent(cluster: sl.Cluster, topic: sl.Topic, codec: str) -> None:
    with cluster.producer(compression_type=codec, linger_ms=50) as producer:
        for number in range(1000):
            producer.send(topic.name, f"value {number}")
    assert [message.value for message in read(cluster, topic)] == [f"value {number}".encode() for number in range(1000)]


def test_what_was_sent_is_written_though_the_producer_was_dropped(cluster: sl.Cluster, topic: sl.Topic) -> None:
    sent = [cluster.producer(linger_ms=50).send(topic.name, b"v") for _ in range(3)]
    assert {delivery.result(timeout=30).topic for delivery in sent} == {topic.name}


def test_a_closed_producer_says_so(cluster: sl.Cluster, topic: sl.Topic) -> None:
    producer = cluster.producer()
    producer.close()
    producer.close()
    assert "closed" in repr(producer)
    with pytest.raises(sl.errors.ClosedError):
        producer.send(topic.name, b"v")


def test_threads_share_a_producer(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with cluster.producer() as producer:

        def send(thread: int) -> None:
            for number in range(2000):
                producer.send(topic.name, f"{thread}:{number}")

        threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    values = [message.value.decode().split(":") for message in read(cluster, topic) if message.value]
    assert len(values) == 8000
    for thread in range(4):
        assert [int(number) for owner, number in values if owner == str(thread)] == list(range(2000))


def test_deliveries_can_be_awaited(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=3)

    async def send() -> list[sl.RecordMetadata]:
        with cluster.producer(linger_ms=1) as producer:
            first = await producer.send(topic.name, b"v", partition=0)
            rest = await asyncio.gather(*(producer.send(topic.name, b"v", partition=n % 3) for n in range(5000)))
            again = producer.send(topic.name, b"v", partition=0)
            again.result()
            return [first, *rest, await again]

    metadata = asyncio.run(send())
    assert len({(known.partition, known.offset) for known in metadata}) == 5002


def test_an_awaited_failure_is_raised(cluster: sl.Cluster, topic: sl.Topic) -> None:
    async def send() -> None:
        producer = cluster.producer(linger_ms=60_000)
        sent = producer.send(topic.name, b"v")
        waiting = asyncio.ensure_future(wait(sent))
        await asyncio.sleep(0)
        producer.close(timeout=0)
        await waiting

    async def wait(sent: sl.Delivery) -> sl.RecordMetadata:
        return await sent

    # Closing sends what is there; without time for it the delivery fails, and either is told.
    with contextlib.suppress(sl.errors.ClosedError):
        asyncio.run(asyncio.wait_for(send(), 30))


def test_partitions_can_be_asked_for(cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(partitions=5)
    with cluster.producer() as producer:
        assert producer.partitions_for(topic.name) == [0, 1, 2, 3, 4]
