"""A Kafka-compatible event streaming system in one wheel.

A real broker in this process, or a client of any Kafka cluster:

>>> import strandline as sl
>>> with sl.Cluster() as cluster:
...     topic = cluster.create_topic("flights", partitions=4)
...     with cluster.producer(acks="all") as producer:
...         _ = producer.send("flights", key=b"UA", value=b"EWR-IAH")
...     for message in cluster.consumer("flights", auto_offset_reset="earliest", stop_at_end=True):
...         print(message.key, message.value)
b'UA' b'EWR-IAH'

`async_producer`, `async_consumer` and `async_admin` give the same for asyncio:

>>> import asyncio
>>> async def main():
...     async with sl.Cluster() as cluster, cluster.async_producer() as producer:
...         await asyncio.gather(*[producer.send("flights", carrier) for carrier in ("UA", "AA")])
...         async with cluster.async_consumer("flights", auto_offset_reset="earliest", stop_at_end=True) as consumer:
...             return [message.value async for message in consumer]
>>> asyncio.run(main())
[b'UA', b'AA']

`connect("kafka.example:9092")` gives the same producer, consumer, topic and admin for a cluster that runs elsewhere,
and `open_log("/var/lib/kafka")` the topics in the data dir of a broker that has stopped.
Kafka's configuration keys are keywords with underscores; Kafka's errors are exceptions, in `strandline.errors`; the
answers of the admin client are named tuples, in `strandline.types`.

The broker, its log and the clients are Rust, in the extension module ``strandline._strandline``; this package is what
Python sees of them.
"""

from strandline import errors, types
from strandline._strandline import (
    Admin,
    AsyncAdmin,
    AsyncConsumer,
    AsyncDelivery,
    AsyncProducer,
    Broker,
    Client,
    Clock,
    Cluster,
    Consumer,
    DataDir,
    DataDirTopic,
    Delivery,
    Disk,
    Message,
    Network,
    Producer,
    RecordMetadata,
    RequestFault,
    Topic,
    __version__,
    connect,
    open_log,
)
from strandline.errors import KafkaError
from strandline.group import Group
from strandline.scan import Scan, committed
from strandline.stream import Stream
from strandline.types import TopicPartition

__all__ = [
    "Admin",
    "AsyncAdmin",
    "AsyncConsumer",
    "AsyncDelivery",
    "AsyncProducer",
    "Broker",
    "Client",
    "Clock",
    "Cluster",
    "Consumer",
    "DataDir",
    "DataDirTopic",
    "Delivery",
    "Disk",
    "Group",
    "KafkaError",
    "Message",
    "Network",
    "Producer",
    "RecordMetadata",
    "RequestFault",
    "Scan",
    "Stream",
    "Topic",
    "TopicPartition",
    "__version__",
    "committed",
    "connect",
    "errors",
    "open_log",
    "types",
]
