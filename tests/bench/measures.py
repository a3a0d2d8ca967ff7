"""What is measured, each on a broker of its own or on one that was loaded before."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic
from process import cpu_seconds, resident_mib

from support import wire
from support.brokers import Broker
from support.topics import at, create

LOAD = Path(__file__).with_name("load.py")
PYTHON = Path(__file__).with_name("python_client.py")
TABLES = Path(__file__).with_name("tables.py")
ASYNC = Path(__file__).with_name("async_client.py")
RECORD = 1024

Figures = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """How much is measured with."""

    produced: int  # records of 1 KiB, after as many again / 4 to warm up
    small_batches: int  # records of 1 KiB in batches of 16 KiB
    seconds: int  # of records at 1,000 a second
    partitions: int
    log: int  # records of 1 KiB in the log that is recovered
    connections: int
    starts: int
    small: int  # records of 100 bytes that a Python client sends and reads
    repeats: int  # how often it does so; the best counts, for whatever else the machine does only slows it down
    counted: int  # records that are counted without being read
    tests: int  # that a pytest run has
    awaited: int  # sends that are awaited together


FULL = Sizes(2_000_000, 500_000, 20, 10_000, 4_000_000, 5_000, 3, 1_000_000, 3, 10_000_000, 50, 100_000)
QUICK = Sizes(100_000, 50_000, 3, 500, 100_000, 200, 1, 100_000, 1, 1_000_000, 5, 10_000)

# Starts a broker of one kind on the data in a folder, which is made where it is not there.
Start = Callable[[Path], Broker]


@contextlib.contextmanager
def running(start: Start, folder: Path) -> Iterator[Broker]:
    """A broker that is ended at the end."""
    broker = start(folder)
    try:
        yield broker
    finally:
        broker.kill()


def told(script: Path, *arguments: object) -> Figures:
    """Run a script and take the figures that it tells in its last line."""
    command = [sys.executable, str(script), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{script.name} {arguments[0]}: {ran.stderr.strip() or ran.stdout}")
    figures: Figures = json.loads(ran.stdout.splitlines()[-1])
    return figures


def load(command: str, broker: Broker, topic: str, *numbers: int) -> Figures:
    """Run `load.py` and take what it tells."""
    return told(LOAD, command, broker.bootstrap, topic, *numbers)


def loaded(command: str, broker: Broker, topic: str, count: int, *numbers: int) -> Figures:
    """Run `load.py` and add what it cost the broker."""
    # Else the system still writes what the step before produced, and the more so the quicker that was.
    os.sync()
    before = cpu_seconds(broker.process.pid)
    figures = load(command, broker, topic, count, *numbers)
    gigabytes = count * RECORD / 1e9
    figures["cpu_per_gb"] = (cpu_seconds(broker.process.pid) - before) / gigabytes
    return figures


def median(runs: Iterable[Figures]) -> Figures:
    """Of several runs the one whose time is in the middle."""
    sorted_runs = sorted(runs, key=lambda run: run["seconds"])
    return sorted_runs[len(sorted_runs) // 2]


def throughput(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """Producing with large batches and small ones, consuming, latency, idle connections: one broker, warmed up."""
    with running(start, folder) as broker:
        create(broker.bootstrap, "warm")
        load("produce", broker, "warm", max(sizes.produced // 4, 1), RECORD, 1_000_000)
        load("consume", broker, "warm", max(sizes.produced // 4, 1))
        create(broker.bootstrap, "large")
        produced = loaded("produce", broker, "large", sizes.produced, RECORD, 1_000_000)
        create(broker.bootstrap, "small")
        small = loaded("produce", broker, "small", sizes.small_batches, RECORD, 16 << 10)
        consumed = median(loaded("consume", broker, "large", sizes.produced) for _ in range(3))
        ages = latency(broker, sizes.seconds)
        return {
            "produce cpu": produced["cpu_per_gb"],
            "produce rate": produced["mb_per_second"],
            "small cpu": small["cpu_per_gb"],
            "small rate": small["mb_per_second"],
            "consume cpu": consumed["cpu_per_gb"],
            "consume rate": consumed["mb_per_second"],
            "consume client": consumed["client_cores"],
            "p50": ages["p50_ms"],
            "p99": ages["p99_ms"],
        }


def latency(broker: Broker, seconds: int) -> Figures:
    """From `produce()` in one process to `poll()` in another, at 1,000 records a second."""
    create(broker.bootstrap, "ticks")
    # As before a load.
    os.sync()
    arguments = [sys.executable, str(LOAD), "listen", broker.bootstrap, "ticks", str(seconds * 1000)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        load("tick", broker, "ticks", seconds, 1000)
        last, _ = listener.communicate(timeout=60)
    figures: Figures = json.loads(last)
    return figures


def first_answer(broker: Broker) -> None:
    """Wait until the broker answers ApiVersions."""
    while True:
        try:
            reply = wire.ask(broker.bootstrap, wire.request(wire.API_VERSIONS, 0))
        except OSError:
            reply = "closed"
        if isinstance(reply, bytes):
            return
        time.sleep(0.001)


def starting(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """From the start of the process to its first answer on a data dir that it knows, and its memory while idle."""
    with running(start, folder) as broker:
        first_answer(broker)
        broker.stop()
    times = []
    for _ in range(sizes.starts):
        before = time.monotonic()
        with running(start, folder) as broker:
            first_answer(broker)
            times.append(time.monotonic() - before)
            time.sleep(3)
            resident = resident_mib(broker.process.pid)
            broker.stop()
    return {"start": sorted(times)[len(times) // 2] * 1000, "resident": resident}


def answers_for(broker: Broker, topics: dict[str, int]) -> None:
    """Wait until every partition tells its latest offset."""
    deadline = time.monotonic() + 300
    for topic, partitions in topics.items():
        one = (wire.i32(n) + wire.i32(-1) + wire.i64(-1) for n in range(partitions))
        body = wire.i32(-1) + wire.i8(0) + wire.array([wire.string(topic) + wire.array(one)])
        while True:
            try:
                reply = wire.ask(broker.bootstrap, wire.request(wire.LIST_OFFSETS, 5, body), seconds=60)
            except OSError:
                reply = "closed"
            if isinstance(reply, bytes):
                reader = wire.Reader(reply)
                reader.take(12)
                reader.string()
                rows = [(reader.i32(), reader.i16(), reader.take(20)) for _ in range(reader.i32())]
                if all(error == 0 for _, error, _ in rows):
                    break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic} does not answer for all of its {partitions} partitions")
            time.sleep(0.005)


def restarts(
    start: Start, folder: Path, broker: Broker, topics: dict[str, int], *, clean: bool
) -> tuple[Broker, float]:
    """End the broker, start it again, and tell how many seconds it took until every partition answers."""
    if clean:
        broker.stop(120)
    else:
        broker.kill()
    before = time.monotonic()
    again = start(folder)
    answers_for(again, topics)
    return again, time.monotonic() - before


def partitions(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """Creating many partitions, and starting with them."""
    topics = {f"many-{n}": sizes.partitions // 10 for n in range(10)}
    broker = start(folder)
    try:
        admin = AdminClient(at(broker.bootstrap))
        before = time.monotonic()
        # A request for each topic: Kafka's controller refuses more than 10,000 changes at once.
        patience = {"operation_timeout": 120, "request_timeout": 120}
        asked = [admin.create_topics([NewTopic(name, count, 1)], **patience) for name, count in topics.items()]
        for future in (future for answers in asked for future in answers.values()):
            future.result(120)
        answers_for(broker, topics)
        created = time.monotonic() - before
        broker, clean = restarts(start, folder, broker, topics, clean=True)
        broker, killed = restarts(start, folder, broker, topics, clean=False)
        return {"create": created, "clean": clean, "killed": killed}
    finally:
        broker.kill()


def recovery(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """Starting after a kill with a large log."""
    broker = start(folder)
    try:
        create(broker.bootstrap, "log")
        load("produce", broker, "log", sizes.log, RECORD, 1_000_000)
        broker, killed = restarts(start, folder, broker, {"log": 1}, clean=False)
        return {"recovery": killed}
    finally:
        broker.kill()


def connections(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """The memory that idle connections take, each of which has asked once."""
    with running(start, folder) as broker:
        time.sleep(2)
        before = resident_mib(broker.process.pid)
        request = wire.request(wire.API_VERSIONS, 0)
        frame = wire.i32(len(request)) + request
        with contextlib.ExitStack() as stack:
            for _ in range(sizes.connections):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", broker.port), timeout=30))
                client.sendall(frame)
                assert client.recv(4, socket.MSG_WAITALL)
                client.recv(65536)
            time.sleep(2)
            return {"connections": resident_mib(broker.process.pid) - before}


def python(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """What our Python client and confluent-kafka reach in turn, with this broker and with one in their own process."""
    best: Figures = {}

    def measure(place: str, bootstrap: str) -> None:
        for _ in range(sizes.repeats):
            for client in ("confluent", "strandline"):
                for what, rate in told(PYTHON, client, bootstrap, sizes.small).items():
                    key = f"python {what} {place} {client}"
                    best[key] = max(rate / 1000, best.get(key, 0))

    with running(start, folder) as broker:
        measure("served", broker.bootstrap)
    if broker.name == "strandline":
        measure("inside", "-")
    return best


def tables(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """Topics as tables: over TCP with this broker, and with a cluster in the client's own process."""
    count = sizes.small
    figures: Figures = {}

    def note(found: Figures, name: str, client: str, size: int = 0) -> None:
        for what, figure in found.items():
            figures[f"{name} {what}{f' {size}' if size else ''} {client}"] = figure

    with running(start, folder) as broker:
        for size in (100, RECORD):
            told(TABLES, "load", broker.bootstrap, f"table-{size}", count, size)
            for client in ("confluent", "kafkarrow", "strandline"):
                note(told(TABLES, "read", client, broker.bootstrap, f"table-{size}", count, size), "tcp", client, size)
    if broker.name == "strandline":
        for size in (100, RECORD):
            inside = told(TABLES, "inside", count, size)
            figures[f"inside arrow {size} confluent"] = inside.pop("confluent")
            note(inside, "inside", "strandline", size)
        for client in ("confluent", "strandline"):
            note(told(TABLES, "send", client, count, 100), "table", client)
        for found in (
            told(TABLES, "json", sizes.small),
            told(TABLES, "count", sizes.counted),
            told(TABLES, "fixture", sizes.tests),
        ):
            note(found, "table", "strandline")
    return figures


def awaited(start: Start, folder: Path, sizes: Sizes) -> Figures:
    """Sends that are awaited together, by our asyncio client and by aiokafka in turn."""
    best: Figures = {}

    def measure(place: str, bootstrap: str) -> None:
        for _ in range(sizes.repeats):
            for client in ("aiokafka", "strandline"):
                for loop in ("asyncio", "uvloop"):
                    rate = told(ASYNC, client, bootstrap, sizes.awaited, loop)["send"]
                    key = f"{loop} {place} {client}"
                    best[key] = max(rate / 1000, best.get(key, 0))

    with running(start, folder) as broker:
        measure("served", broker.bootstrap)
    if broker.name == "strandline":
        measure("inside", "-")
    return best


MEASURES: dict[str, Callable[[Start, Path, Sizes], Figures]] = {
    "starting": starting,
    "throughput": throughput,
    "connections": connections,
    "partitions": partitions,
    "recovery": recovery,
    "python": python,
    "tables": tables,
    "async": awaited,
}
