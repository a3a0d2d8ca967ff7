"""Topics and records that a scenario finds there when it begins."""

import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec


def at(bootstrap: str) -> dict[str, Any]:
    """The settings by which librdkafka finds a broker, and keeps its own log to itself."""
    return {"bootstrap.servers": bootstrap, "log_level": 0}


def create(bootstrap: str, name: str, partitions: int = 1, *, replicas: int = 1, **config: str) -> str:
    """Create a topic, wait until each partition is led, return its name; config keys are spelled with underscores."""
    admin = AdminClient(at(bootstrap))
    settings = {key.replace("_", "."): value for key, value in config.items()}
    for future in admin.create_topics([NewTopic(name, partitions, replicas, config=settings)]).values():
        future.result(30)
    # Apache Kafka answers once the topic is decided on; the broker learns a moment later that it leads.
    wait_for_leaders(admin, [TopicPartition(name, index) for index in range(partitions)])
    return name


def wait_for_leaders(admin: AdminClient, partitions: list[TopicPartition]) -> None:
    """Wait until a leader tells the end of each of these partitions."""
    deadline = time.monotonic() + 30
    while True:
        asked = admin.list_offsets({partition: OffsetSpec.latest() for partition in partitions}, request_timeout=20)
        try:
            for future in asked.values():
                future.result(30)
            return
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def fill(bootstrap: str, topic: str, count: int, partition: int = 0, first_timestamp: int = 1_600_000_000_000) -> None:
    """Produce records `k0`/`v0`, `k1`/`v1` ..., a second apart, each batch of its own making."""
    producer = Producer({**at(bootstrap), "linger.ms": 5})
    for n in range(count):
        timestamp = first_timestamp + 1000 * n
        producer.produce(topic, key=f"k{n}", value=f"v{n}", partition=partition, timestamp=timestamp)
    assert producer.flush(30) == 0


def wake_groups(bootstrap: str) -> None:
    """Have the broker make what its groups need: `__consumer_offsets`."""
    consumer = Consumer({**at(bootstrap), "group.id": "nobody"})
    deadline = time.monotonic() + 30
    while True:
        try:
            consumer.committed([TopicPartition("nothing", 0)], timeout=20)
            break
        except KafkaException:
            # The partition is there, and its coordinator still loads it.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    consumer.close()
