"""Topics and records that a scenario finds there when it begins."""

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def create(bootstrap: str, name: str, partitions: int = 1, **config: str) -> str:
    """Create a topic; config keys are spelled with underscores. Returns the name."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    settings = {key.replace("_", "."): value for key, value in config.items()}
    for future in admin.create_topics([NewTopic(name, partitions, 1, config=settings)]).values():
        future.result(30)
    return name


def fill(bootstrap: str, topic: str, count: int, partition: int = 0, first_timestamp: int = 1_600_000_000_000) -> None:
    """Produce records `k0`/`v0`, `k1`/`v1` ..., a second apart, each batch of its own making."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for n in range(count):
        timestamp = first_timestamp + 1000 * n
        producer.produce(topic, key=f"k{n}", value=f"v{n}", partition=partition, timestamp=timestamp)
    assert producer.flush(30) == 0


def wake_groups(bootstrap: str) -> None:
    """Have the broker make what its groups need: `__consumer_offsets`."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "nobody"})
    consumer.committed([TopicPartition("nothing", 0)], timeout=20)
    consumer.close()
