"""What a Python client reaches with small records, in a process of its own. Prints one line of JSON: records a second.

python_client.py CLIENT BOOTSTRAP COUNT [SIZE]

CLIENT is `strandline` or `confluent` (confluent-kafka, which is librdkafka), each with its own defaults but for what is
named below. BOOTSTRAP is a broker's address, or `-` for a `strandline.Cluster()` in the same process. The clock of
`send` runs until the last record is acknowledged, the clock of `iterate` from the first record to the last; a tenth of
the records goes before to warm up.
"""

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import strandline as sl

# For both: nothing is lost or doubled, and no record waits long for company.
PRODUCER = {"acks": "all", "enable.idempotence": True, "linger.ms": 5, "batch.size": 128 << 10}
# By default librdkafka rests for a second whenever 100,000 messages wait to be read.
FETCH_AHEAD = {"queued.min.messages": 1_000_000, "queued.max.messages.kbytes": 1 << 20, "fetch.queue.backoff.ms": 1}


def ours(client: sl.Client | sl.Cluster, topic: str, values: list[bytes], count: int) -> tuple[float, float]:
    """The seconds that our producer and our consumer take for `count` records."""
    with client.producer(PRODUCER) as producer:
        producer.partitions_for(topic)
        send = producer.send
        start = time.perf_counter()
        for n in range(count):
            send(topic, values[n & 255])
        producer.flush()
        sent = time.perf_counter() - start
    size = 0
    with client.consumer(topic, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        messages = iter(consumer)
        size += len(next(messages).value or b"")
        start = time.perf_counter()
        for seen, message in enumerate(messages, 2):
            size += len(message.value)  # type: ignore[arg-type]
            if seen == count:
                break
        read = time.perf_counter() - start
    assert size == count * len(values[0])
    return sent, read


def confluents(bootstrap: str, topic: str, values: list[bytes], count: int) -> tuple[float, float]:
    """The seconds that confluent-kafka takes for the same: the quickest loops that its documentation shows."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

    base = {"bootstrap.servers": bootstrap, "log_level": 0}
    producer = Producer({**base, **PRODUCER, "queue.buffering.max.messages": 1_000_000})
    producer.list_topics(topic, timeout=10)
    produce = producer.produce
    start = time.perf_counter()
    for n in range(count):
        while True:
            try:
                produce(topic, values[n & 255])
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush(120) == 0
    sent = time.perf_counter() - start
    consumer = Consumer({**base, **FETCH_AHEAD, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])

    def messages() -> Iterator[object]:
        while True:
            yield from consumer.consume(10_000, 1)

    size = 0
    for seen, message in enumerate(messages(), 1):
        if seen == 1:
            start = time.perf_counter()
        size += len(message.value())  # type: ignore[attr-defined]
        if seen == count:
            break
    read = time.perf_counter() - start
    consumer.close()
    assert size == count * len(values[0])
    return sent, read


def rates(
    run: Callable[[str, int], tuple[float, float]], create: Callable[[str], object], count: int
) -> dict[str, float]:
    """Records a second, after a tenth of them to warm up."""
    for share in (count // 10, count):
        topic = f"python-{uuid.uuid4().hex}"
        create(topic)
        sent, read = run(topic, share)
    return {"send": count / sent, "iterate": (count - 1) / read}


def main(client: str, bootstrap: str, count: int, size: int) -> dict[str, float]:
    """Measure one client."""
    values = [bytes([n]) * size for n in range(256)]
    cluster = sl.Cluster() if bootstrap == "-" else None
    ends = cluster or sl.connect(bootstrap)
    address = cluster.bootstrap_servers if cluster else bootstrap
    try:
        if client == "strandline":
            return rates(lambda topic, share: ours(ends, topic, values, share), ends.create_topic, count)
        return rates(lambda topic, share: confluents(address, topic, values, share), ends.create_topic, count)
    finally:
        if cluster:
            cluster.close()


if __name__ == "__main__":
    which, where, *numbers = sys.argv[1:]
    print(json.dumps(main(which, where, int(numbers[0]), int(numbers[1]) if numbers[1:] else 100)))
