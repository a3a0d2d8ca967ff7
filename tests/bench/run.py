"""Runs Apache Kafka and our broker in turn under the same clients, which are not ours, and writes the table in README.

    run.py [--quick] [--peers kafka|strandline|both] [--only starting,throughput,...] [--write]

Figures depend on the machine; the ratios of one run are what counts. `--quick` shows in a minute that all of it works.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "peers"))

from cluster import cluster  # noqa: E402
from measures import FULL, MEASURES, QUICK, Figures, Start  # noqa: E402
from process import give_room, raise_file_limit, touch_memory  # noqa: E402

from support.brokers import SERVER_JVM, Broker, start_kafka, start_strandline  # noqa: E402

README = ROOT / "README.md"
# The measure that has three brokers of each kind.
CLUSTER = "cluster"
# Where the tables go: those of one broker, and that of three.
ONE, THREE = "bench", "bench-cluster"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    figure: str
    label: str
    unit: str
    reach: str
    more_is_better: bool = False


ROWS = [
    Row("produce cpu", "produce 1 KiB records, broker cpu", "s/GB", "<= 1.2"),
    Row("produce rate", "the same, throughput", "MB/s", ">= 1.3 x", more_is_better=True),
    Row("small cpu", "produce with 16 KiB batches, broker cpu", "s/GB", "<= 6"),
    Row("small rate", "the same, throughput", "MB/s", ">= 1.3 x", more_is_better=True),
    Row("consume cpu", "consume 1 KiB records, broker cpu", "s/GB", "<= 0.6"),
    Row("consume rate", "the same, throughput", "MB/s", ">= 1.3 x, or the client's limit", more_is_better=True),
    Row("consume client", "the same, cores that the client itself kept busy", "", "1 and more: it is the limit"),
    Row("p50", "end to end at 1,000/s, p50", "ms", "<= 0.35"),
    Row("p99", "end to end at 1,000/s, p99", "ms", "<= 1.5"),
    Row("start", "start to first answer", "ms", "<= 50"),
    Row("resident", "idle resident memory", "MiB", "<= 16"),
    Row("create", "{partitions:,} partitions: create", "s", "<= 4"),
    Row("clean", "{partitions:,} partitions: clean restart", "s", "<= 2"),
    Row("killed", "{partitions:,} partitions: restart after kill -9", "s", "<= 4"),
    Row("recovery", "restart after kill -9 with {log:.2g} GB of log", "s", "<= 2"),
    Row("connections", "{connections:,} idle connections, more memory", "MiB", "<= 60"),
]

# Three brokers, all replicas in sync.
CLUSTER_ROWS = [
    Row("three start", "from nothing to a replicated record read back (ours: in this process)", "ms", "<= 250"),
    Row("three resident", "resident memory of the three then", "MiB", "<= 60"),
    Row("three 1 KiB cpu", "produce 1 KiB records, cpu of all brokers", "s/GB", "<= 5"),
    Row("three 1 KiB rate", "the same, throughput", "MB/s", ">= 3 x", more_is_better=True),
    Row("three 16 KiB batches cpu", "produce with 16 KiB batches, cpu of all brokers", "s/GB", "<= 25"),
    Row("three 16 KiB batches rate", "the same, throughput", "MB/s", ">= 3 x", more_is_better=True),
    Row("three 100 B cpu", "produce 100 B records, cpu of all brokers", "s/GB", "<= 8"),
    Row("three 100 B rate", "the same, throughput", "MB/s", ">= 3 x", more_is_better=True),
    Row("three 100 B client", "the same, cores that the client itself kept busy", "", ""),
    Row("three table cpu", "produce 100 B records by `send_table`, cpu of all brokers", "s/GB", "<= 8"),
    Row("three table rate", "the same, throughput", "MB/s", ">= 3 x", more_is_better=True),
    Row("three table client", "the same, cores that the client itself kept busy", "", ""),
    Row("three p50", "end to end at 1,000/s, p50", "ms", "<= 0.8"),
    Row("three p99", "end to end at 1,000/s, p99", "ms", "<= 4"),
    Row("three killed", "leader killed (kill -9), default settings: longest gap between acknowledgements", "s", "<= 1"),
    Row("three killed inside", "the same in one process", "s", "<= 0.5"),
    Row(
        "three hung",
        "leader hangs (SIGSTOP), `socket.timeout.ms=1000`, metadata every 0.5 s: longest gap",
        "s",
        "<= 10: session timeout + 1",
    ),
    Row("three controller", "active controller killed: until another has made a topic", "s", "<= 1"),
    Row("three create", "{partitions:,} partitions: create, until all are led", "s", "<= 10"),
    Row("three led again", "{partitions:,} partitions, a broker killed: until all are led again", "s", "<= 3"),
    Row("three catch up", "a follower catches up {log:.2g} GB", "MB/s", ">= 400", more_is_better=True),
    Row("three catch up cpu", "the same, cpu of all programs and the system", "s/GB", ""),
    Row("three plain copy", "the same bytes copied by `cp` just before", "MB/s", "", more_is_better=True),
    Row("three live alone", "a load of 1 KiB records, as fast as it goes, while nobody is behind", "MB/s", ""),
    Row("three live cores", "the same, cores that all programs and the system keep busy", "", ""),
    Row("three live cpu", "the same, cpu of all of them", "s/GB", ""),
    Row("three live cost", "what the load loses of that while a follower catches up", "%", "<= 20"),
    Row("three catch up beside", "how fast that one catches up then", "MB/s", "", more_is_better=True),
    Row("three half cost", "what a load of half as much loses meanwhile", "%", "<= 20"),
    Row("three catch up beside half", "how fast that one catches up then", "MB/s", "", more_is_better=True),
    Row(
        "large apply",
        "simulated, 30 brokers, 100,000 partitions: the loss of a broker applied to the image",
        "ms",
        "<= 50",
    ),
    Row("large plan", "the same: planned", "ms", "<= 2,000"),
    Row("large memory", "the same: memory of a partition of three replicas", "B", "told"),
]


# What a Python client reaches, in thousands of records a second: where the broker is, and the figure.
PYTHON_ROWS = [
    ("`send()` of 100 B records, broker in the same process", "strandline", "python send inside", ">= 1,000"),
    ("iterate a consumer, broker in the same process", "strandline", "python iterate inside", ">= 1,000"),
    ("`send()`, `strandline serve`", "strandline", "python send served", ""),
    ("iterate, `strandline serve`", "strandline", "python iterate served", ""),
    ("`send()`, Apache Kafka", "kafka", "python send served", ""),
    ("iterate, Apache Kafka", "kafka", "python iterate served", ""),
]

# The same for sends that are awaited together.
ASYNC_ROWS = [
    ("{awaited:,} sends awaited together, broker in the same process", "strandline", "asyncio inside", ">= 300"),
    ("the same in uvloop", "strandline", "uvloop inside", ">= 300"),
    ("the same, `strandline serve`", "strandline", "asyncio served", ""),
    ("the same, Apache Kafka", "kafka", "asyncio served", ""),
]


# Topics as tables: where the broker is, the figure, and how many times better than what counts.
TABLE_ROWS = [
    ("cluster in this process to Arrow, 100 B, MB/s", "strandline", "inside arrow 100", ">= 1,000"),
    ("the same, 1 KiB, MB/s", "strandline", "inside arrow 1024", ">= 1,500"),
    ("the same as a stream, 100 B, MB/s", "strandline", "inside stream 100", ""),
    ("the same as a stream, 1 KiB, MB/s", "strandline", "inside stream 1024", ""),
    ("more memory of its own while it streams, 1 KiB, MiB", "strandline", "inside memory 1024", "bounded"),
    ("to pyarrow's compute layout (`to_pyarrow`: a copy), 100 B, MB/s", "strandline", "inside pyarrow 100", ""),
    ("the same, 1 KiB, MB/s", "strandline", "inside pyarrow 1024", ""),
    ("to polars, 100 B, MB/s", "strandline", "inside polars 100", ">= 70 % of Arrow"),
    ("to polars, 1 KiB, MB/s", "strandline", "inside polars 1024", ">= 70 % of Arrow"),
    ("to pandas, 100 B, MB/s", "strandline", "inside pandas 100", ">= 40 % of Arrow"),
    ("to pandas, 1 KiB, MB/s", "strandline", "inside pandas 1024", ">= 40 % of Arrow"),
    ("`strandline serve` over TCP to Arrow, 100 B, MB/s", "strandline", "tcp read 100", ">= 500"),
    ("the same, 1 KiB, MB/s", "strandline", "tcp read 1024", ">= 500"),
    ("Apache Kafka to Arrow, 100 B, MB/s", "kafka", "tcp read 100", ""),
    ("the same, 1 KiB, MB/s", "kafka", "tcp read 1024", ""),
    ("JSON of 235 B to typed columns, million rows a second of a core", "strandline", "table json", ">= 0.8"),
    ("`send_table`, 100 B, million rows/s", "strandline", "table send", ">= 3, >= 6 x"),
    ("the same with Kafka's default `batch.size`, million rows/s", "strandline", "table send defaults", ""),
    ("`count()` of {counted:,} records, ms", "strandline", "table count", "<= 50"),
    ("pytest: cluster, topic, first record read back, ms", "strandline", "table first", "<= 100"),
    ("pytest: the same in each next test, ms", "strandline", "table next", "<= 10"),
]


def kafka(folder: Path) -> Broker:
    """Apache Kafka as its own start script runs it, with a heap of 1 GiB."""
    return start_kafka(folder, jvm=["-Xmx1G", *SERVER_JVM], seconds=300)


def shown(value: float | None) -> str:
    """A figure with three digits that count."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def table(found: dict[str, Figures], sizes: dict[str, float], rows: list[Row], title: str = "") -> list[str]:
    """The table in Markdown; a ratio above 1 is in our favour."""
    lines = [f"| {title} | Apache Kafka 4.3.1 | strandline | times better | to reach |", "|---|---|---|---|---|"]
    for row in rows:
        theirs, ours = found.get("kafka", {}).get(row.figure), found.get("strandline", {}).get(row.figure)
        if theirs is None and ours is None:
            continue
        label = row.label.format(**sizes) + (f", {row.unit}" if row.unit else "")
        # A figure without a unit explains the one before it.
        better = "" if not row.unit else times(ours, theirs) if row.more_is_better else times(theirs, ours)
        lines.append(f"| {label} | {shown(theirs)} | {shown(ours)} | {better} | {row.reach} |")
    return lines if len(lines) > 2 else []


def client_table(
    found: dict[str, Figures], rows: list[tuple[str, str, str, str]], title: str, peer: str, sizes: dict[str, float]
) -> list[str]:
    """The same for our client and a peer, each against the same broker."""
    lines = []
    for label, broker, figure, reach in rows:
        theirs, ours = (
            found.get(broker, {}).get(f"{figure} {client}") for client in (peer.split("-")[0], "strandline")
        )
        if theirs is not None or ours is not None:
            told = label.format(**sizes)
            lines.append(f"| {told} | {shown(theirs)} | {shown(ours)} | {times(ours, theirs)} | {reach} |")
    heads = [f"| {title} | {peer} | strandline | times better | to reach |", "|---|---|---|---|---|"]
    return ["", *heads, *lines] if lines else []


def tables_table(found: dict[str, Figures], sizes: dict[str, float]) -> list[str]:
    """Reading and writing topics as tables, beside the others who do; better than the better of them."""
    lines = []
    for label, broker, figure, reach in TABLE_ROWS:
        names = ("confluent", "kafkarrow", "strandline")
        confluent, kafkarrow, ours = (found.get(broker, {}).get(f"{figure} {client}") for client in names)
        if ours is not None:
            theirs = max(confluent or 0, kafkarrow or 0)
            cells = (label.format(**sizes), shown(confluent), shown(kafkarrow), shown(ours), times(ours, theirs), reach)
            lines.append(f"| {' | '.join(cells)} |")
    heads = [
        "| Topics as tables | confluent-kafka loop | kafkarrow 0.1.1 | strandline | times better | to reach |",
        "|---|---|---|---|---|---|",
    ]
    return ["", *heads, *lines] if lines else []


def times(more: float | None, less: float | None) -> str:
    """How many times `less` is in `more`; nothing where one of them is unknown, or too small to tell."""
    return shown(more / less) if more and less and more > 0 and less > 0 else "-"


def machine() -> str:
    """What it ran on."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return f"On {os.cpu_count()} cores of {models[0] if models else 'an unknown kind'}, at {commit.stdout.strip()}."


def write(mark: str, lines: list[str]) -> None:
    """Put a table between its marks in README."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    before, rest = README.read_text().split(begin)
    _, after = rest.split(end)
    README.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--peers", choices=["both", "kafka", "strandline"], default="both")
    parser.add_argument("--only", default=",".join([*MEASURES, CLUSTER]), help="which measures, by comma")
    parser.add_argument("--write", action="store_true", help="write the table into README")
    chosen = parser.parse_args()
    sizes = QUICK if chosen.quick else FULL
    release = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "strandline"
    os.environ.setdefault("STRANDLINE_BIN", str(release))
    raise_file_limit()
    starts: dict[str, Start] = {"kafka": kafka, "strandline": lambda folder: start_strandline(folder, seconds=300)}
    names = list(starts) if chosen.peers == "both" else [chosen.peers]
    found: dict[str, Figures] = {name: {} for name in names}
    failed = 0
    # All but large files go at the very end: ext4 is slow to make files for minutes after it unlinked many thousands.
    folders: list[Path] = []
    for measure in chosen.only.split(","):
        for name in names:
            folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
            folders.append(folder)
            if not chosen.quick:
                touch_memory(folder / "hole")
            try:
                if measure == CLUSTER:
                    figures = cluster(name, folder, sizes)
                else:
                    figures = MEASURES[measure](starts[name], folder, sizes)
                found[name] |= figures
                print(f"{measure}, {name}: " + ", ".join(f"{k} {shown(v)}" for k, v in figures.items()), flush=True)
            except Exception as error:
                failed += 1
                print(f"{measure}, {name}: failed: {error}", file=sys.stderr, flush=True)
            give_room(folder)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    counts = {
        "partitions": sizes.partitions,
        "log": sizes.log * 1024 / 1e9,
        "connections": sizes.connections,
        "counted": sizes.counted,
        "awaited": sizes.awaited,
    }
    threads = client_table(found, PYTHON_ROWS, "Python, thousand records/s", "confluent-kafka", counts)
    loops = client_table(found, ASYNC_ROWS, "asyncio, thousand sends/s", "aiokafka", counts)
    three = table(found, counts, CLUSTER_ROWS, "three brokers, three replicas, acks=all")
    one = [*table(found, counts, ROWS), *threads, *loops, *tables_table(found, counts)]
    told = {ONE: [*one, "", machine()] if one else [], THREE: [*three, "", machine()] if three else []}
    print("\n" + "\n\n".join("\n".join(lines) for lines in told.values() if lines))
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps({"sizes": vars(sizes), "found": found}, indent=1))
    measured = set(chosen.only.split(","))
    if chosen.write and not failed:
        # A table is written as a whole.
        if measured >= set(MEASURES):
            write(ONE, told[ONE])
        if CLUSTER in measured:
            write(THREE, told[THREE])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
