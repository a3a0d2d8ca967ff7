"""What drives a broker in the benchmark: librdkafka in a process of its own. Prints one line of JSON.

load.py produce BOOTSTRAP TOPIC COUNT SIZE BATCH_BYTES
load.py flood BOOTSTRAP TOPIC SIZE BATCH_BYTES [MB_PER_SECOND], until its stdin ends
load.py consume BOOTSTRAP TOPIC COUNT
load.py tick BOOTSTRAP TOPIC SECONDS RATE
load.py listen BOOTSTRAP TOPIC COUNT
"""

import json
import select
import struct
import sys
import time
from collections.abc import Callable, Iterator

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, Producer, TopicPartition

QUIET = {"log_level": 0}


def sent(bootstrap: str, topic: str, size: int, batch: int, goes_on: Callable[[int], bool]) -> dict[str, float]:
    """Produce records of `size` bytes as fast as they are taken, until `goes_on` has seen how many are enough."""
    failed = [0]

    def on_delivery(error: object, _message: object) -> None:
        failed[0] += error is not None

    producer = Producer(
        {
            **QUIET,
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": False,
            "batch.size": batch,
            "linger.ms": 5,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 512 << 10,
            "delivery.report.only.error": True,
        }
    )
    producer.list_topics(topic, timeout=10)
    # The same list again and again: to make one costs more than all else that is done here for a small record.
    step = [{"value": bytes([n & 255]) * size} for n in range(1000)]
    start, used, count = time.monotonic(), time.process_time(), 0
    while goes_on(count):
        count += len(step)
        waiting = step
        while waiting:
            taken = producer.produce_batch(topic, waiting, partition=0, on_delivery=on_delivery)
            refused = taken < len(waiting)
            waiting = [message for message in waiting if message.pop("_error", None) is not None] if refused else []
            producer.poll(0.001 if waiting else 0)
    left = producer.flush(600)
    seconds = time.monotonic() - start
    if left or failed[0]:
        raise SystemExit(f"{left} records were not delivered, {failed[0]} failed")
    return {
        "seconds": seconds,
        "mb_per_second": count * size / 1e6 / seconds,
        "client_cores": (time.process_time() - used) / seconds,
    }


def produce(bootstrap: str, topic: str, count: int, size: int, batch: int) -> dict[str, float]:
    """Produce `count` records, or a few more to make the last thousand full."""
    return sent(bootstrap, topic, size, batch, lambda so_far: so_far < count)


def flood(bootstrap: str, topic: str, size: int, batch: int, most: int | None = None) -> dict[str, float]:
    """Produce until stdin ends, so many MB/s at most; says on stderr that it begins."""
    print("begins", file=sys.stderr, flush=True)
    begun = 0.0

    def goes_on(so_far: int) -> bool:
        nonlocal begun
        # Not before the producer is there: what it might have sent meanwhile is not to be made up for.
        begun = begun or time.monotonic()
        early = so_far * size / 1e6 / most - (time.monotonic() - begun) if most else 0
        time.sleep(max(early, 0))
        return not select.select([sys.stdin], [], [], 0)[0]

    return sent(bootstrap, topic, size, batch, goes_on)


def messages(bootstrap: str, topic: str, offset: int, **settings: object) -> Iterator[list[object]]:
    """The records of partition 0, from `offset` on, a list at a time."""
    base = {**QUIET, "bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False}
    consumer = Consumer({**base, **settings})
    consumer.assign([TopicPartition(topic, 0, offset)])
    while True:
        found = consumer.consume(10_000, 0.05)
        yield found


def consume(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """Read the first `count` records."""
    seen = size = 0
    start = first = time.monotonic()
    used = time.process_time()
    # Else it rests for a second whenever 64 MB wait to be read: the quicker the broker, the more often.
    room = {"queued.min.messages": 1_000_000, "queued.max.messages.kbytes": 1 << 20, "fetch.queue.backoff.ms": 1}
    fast = {**room, "fetch.message.max.bytes": 8 << 20, "fetch.wait.max.ms": 10}
    for found in messages(bootstrap, topic, OFFSET_BEGINNING, **fast):
        if found and not seen:
            first, used = time.monotonic(), time.process_time()
        for message in found:
            size += len(message.value())  # type: ignore[attr-defined]
        seen += len(found)
        if seen >= count:
            break
        if time.monotonic() - start > 600:
            raise SystemExit(f"only {seen} of {count} records came")
    seconds = time.monotonic() - first
    return {
        "seconds": seconds,
        "mb_per_second": size / 1e6 / seconds,
        "client_cores": (time.process_time() - used) / seconds,
    }


def tick(bootstrap: str, topic: str, seconds: int, rate: int) -> dict[str, float]:
    """Produce `rate` records a second without linger, each with the moment it was handed over."""
    producer = Producer(
        {**QUIET, "bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": False, "linger.ms": 0}
    )
    producer.list_topics(topic, timeout=10)
    start = time.monotonic()
    for n in range(seconds * rate):
        wait = start + n / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        producer.produce(topic, struct.pack("<q", time.monotonic_ns()) + bytes(92), partition=0)
        producer.poll(0)
    producer.flush(60)
    return {"seconds": time.monotonic() - start}


def listen(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """Read what `tick` sends, and tell how old each record was; the first fifth warms up."""
    base = {**QUIET, "bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False}
    consumer = Consumer({**base, "fetch.min.bytes": 1, "fetch.wait.max.ms": 500, "auto.offset.reset": "latest"})
    consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
    consumer.poll(1)
    print("ready", flush=True)
    ages = []
    while len(ages) < count:
        message = consumer.poll(20)
        now = time.monotonic_ns()
        if message is None or message.error():
            raise SystemExit(f"only {len(ages)} of {count} records came: {message and message.error()}")
        ages.append((now - struct.unpack_from("<q", message.value())[0]) / 1e6)
    warm = sorted(ages[len(ages) // 5 :])
    return {"p50_ms": warm[len(warm) // 2], "p99_ms": warm[len(warm) * 99 // 100], "max_ms": warm[-1]}


if __name__ == "__main__":
    command, bootstrap, topic, *numbers = sys.argv[1:]
    calls = {"produce": produce, "flood": flood, "consume": consume, "tick": tick, "listen": listen}
    print(json.dumps(calls[command](bootstrap, topic, *map(int, numbers))))
