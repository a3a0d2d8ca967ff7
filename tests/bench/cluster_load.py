"""Three brokers of each kind under the same load: what replication costs."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, PartitionMetadata
from measures import LOAD, TABLES, Figures, Sizes, told
from process import cpu_seconds, resident_mib

from support.brokers import SERVER_JVM
from support.nodes import Kafka, Node, Nodes, Ours

FIRST = Path(__file__).with_name("cluster_first.py")
QUIET = {"log_level": 0}
PATIENCE = 60.0


@dataclass(frozen=True)
class Three:
    """Three brokers that run, of either kind."""

    bootstrap: str
    pids: Callable[[], dict[int, int]]
    signal: Callable[[int, str], None]

    def cpu(self) -> float:
        """What all of them have used."""
        return sum(cpu_seconds(pid) for pid in self.pids().values())


class KafkaAsShipped(Kafka):
    """Apache Kafka as its own start script runs it, with a heap of 1 GiB."""

    jvm = ("-Xmx1G", *SERVER_JVM)


@contextlib.contextmanager
def running(kind: type[Node], folder: Path) -> Iterator[Three]:
    """Three brokers of one kind, that are ended at the end."""
    nodes = Nodes(folder, kind=kind)

    def pids() -> dict[int, int]:
        return {node.number: node.process.pid for node in nodes.all if node.process is not None}

    def signal(node: int, name: str) -> None:
        subprocess.run(["kill", f"-{name}", str(pids()[node])], check=True)

    try:
        yield Three(nodes.bootstrap, pids, signal)
    finally:
        nodes.kill()


KINDS: dict[str, type[Node]] = {"kafka": KafkaAsShipped, "strandline": Ours}


def create(three: Three, topic: str, partitions: int = 1) -> None:
    """Make a topic of three replicas, and wait until all know it."""
    admin = AdminClient({**QUIET, "bootstrap.servers": three.bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 3)], operation_timeout=PATIENCE)[topic].result(PATIENCE)
    while topic not in admin.list_topics(timeout=PATIENCE).topics:
        time.sleep(0.01)


def leader(three: Three, topic: str) -> int:
    """Who leads its first partition."""
    return int(parts(three.bootstrap, topic)[0].leader)


def parts(bootstrap: str, topic: str) -> dict[int, PartitionMetadata]:
    """What a topic's partitions are told to be."""
    admin = AdminClient({**QUIET, "bootstrap.servers": bootstrap})
    return admin.list_topics(topic, timeout=PATIENCE).topics[topic].partitions


def first_record(three: Three) -> None:
    """Produce one record to all replicas, and read it back."""
    create(three, "first")
    producer = Producer({**QUIET, "bootstrap.servers": three.bootstrap, "acks": "all"})
    producer.produce("first", b"v", partition=0)
    assert producer.flush(PATIENCE) == 0
    consumer = Consumer({**QUIET, "bootstrap.servers": three.bootstrap, "group.id": "bench"})
    consumer.assign([TopicPartition("first", 0, OFFSET_BEGINNING)])
    message = consumer.poll(PATIENCE)
    assert message is not None
    assert message.error() is None
    consumer.close()


def starting(kind: str, folder: Path) -> Figures:
    """From nothing to a replicated record that was read back, and what memory the three take then."""
    if kind == "strandline":
        return told(FIRST, "three")
    started = time.monotonic()
    with running(KINDS[kind], folder) as three:
        first_record(three)
        seconds = time.monotonic() - started
        return {"three start": seconds * 1e3, "three resident": sum(map(resident_mib, three.pids().values()))}


def produced(three: Three, topic: str, count: int, size: int, client: Path, *batch: int) -> Figures:
    """Produce with acks=all, and tell what it cost all brokers together."""
    create(three, topic)
    # Else the system still writes what the step before produced.
    os.sync()
    before = three.cpu()
    figures = told(client, "produce", three.bootstrap, topic, count, size, *batch)
    cpu = (three.cpu() - before) / (count * size / 1e9)
    return {"cpu": cpu, "rate": figures["mb_per_second"], "client": figures["client_cores"]}


def latency(three: Three, seconds: int) -> Figures:
    """From `produce()` in one process to `poll()` in another, at 1,000 records a second."""
    create(three, "ticks")
    # As before a load.
    os.sync()
    arguments = [sys.executable, str(LOAD), "listen", three.bootstrap, "ticks", str(seconds * 1000)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        told(LOAD, "tick", three.bootstrap, "ticks", seconds, 1000)
        last, _ = listener.communicate(timeout=120)
    figures: Figures = json.loads(last)
    return figures


def loaded(kind: str, three: Three, sizes: Sizes) -> Figures:
    """What producing costs all brokers, and how old a record is when it is read."""
    produced(three, "warm", sizes.produced // 16, 1024, LOAD, 1_000_000)
    figures: Figures = {}
    # Of small records so many that the first second does not make the figure.
    for name, count, size, client, *batch in (
        ("1 KiB", sizes.produced // 4, 1024, LOAD, 1_000_000),
        ("16 KiB batches", sizes.small_batches // 8, 1024, LOAD, 16 << 10),
        ("100 B", sizes.produced * 2, 100, LOAD, 1_000_000),
        ("table", sizes.produced * 2, 100, TABLES),
    ):
        told_of = produced(three, name.replace(" ", "-"), count, size, client, *batch)
        figures |= {f"three {name} {figure}": value for figure, value in told_of.items()}
    if kind == "strandline":
        # Three of Kafka's on two cores fall behind this rate: they would be waited for without an end.
        ages = latency(three, sizes.seconds)
        figures |= {"three p50": ages["p50_ms"], "three p99": ages["p99_ms"]}
    return figures
