"""What topics as tables reach, each figure in a process of its own. Prints one line of JSON.

tables.py load BOOTSTRAP TOPIC COUNT SIZE        fills a topic for `read`
tables.py read CLIENT BOOTSTRAP TOPIC COUNT SIZE megabytes of values a second, from a topic to a table of pyarrow
tables.py inside COUNT SIZE                      the same and more, from a cluster in this process
tables.py send CLIENT COUNT SIZE                 million rows a second from a table to a cluster in this process
tables.py produce BOOTSTRAP TOPIC COUNT SIZE     megabytes of values a second, from a table to all replicas of a topic
tables.py json COUNT                             million rows of JSON to typed columns, a second of one core
tables.py count COUNT                            milliseconds to count the records of a topic
tables.py fixture COUNT                          milliseconds that a test waits for its topic and a record through it

CLIENT is `strandline`; `confluent`, the loop over confluent-kafka that its users write; or `kafkarrow`. A topic has one
partition; times are the best of three in one process where nothing else is said.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from python_client import FETCH_AHEAD, PRODUCER, confluents

import strandline as sl

REPEATS = 3


def best(run: Callable[[], int]) -> float:
    """The rows a second of the quickest of some runs, each of which tells how many rows it saw."""
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        rows = run()
        rates.append(rows / (time.perf_counter() - start))
    return max(rates)


def payload(count: int, size: int) -> pa.Table:
    """A table with one column of values that differ."""
    some = [random.Random(n).randbytes(size) for n in range(1000)]
    chunk = pa.array(some * max(count // 1000, 1), pa.large_binary())
    return pa.table({"value": chunk[:count]})


def load(client: sl.Client | sl.Cluster, topic: str, table: pa.Table, **options: object) -> None:
    """Fill a topic of one partition with the values of a table."""
    client.create_topic(topic, partitions=1)
    with client.producer(PRODUCER, **options) as producer:
        sent = producer.send_table(topic, table, value="value")
    assert sent.rows == table.num_rows, sent


def read_ours(bootstrap: str, topic: str) -> int:
    with sl.connect(bootstrap) as client:
        table = pa.table(client.topic(topic).scan())
    return int(table.num_rows)


def read_confluent(bootstrap: str, topic: str, count: int) -> int:
    """The usual loop: a list a column, a record batch for every ten thousand messages."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    settings = {"bootstrap.servers": bootstrap, "log_level": 0, "group.id": "bench", "enable.auto.commit": False}
    consumer = Consumer({**settings, **FETCH_AHEAD})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    batches, seen = [], 0
    while seen < count:
        messages = consumer.consume(10_000, 1)
        seen += len(messages)
        batches.append(
            pa.record_batch(
                {
                    "partition": pa.array([message.partition() for message in messages], pa.int32()),
                    "offset": pa.array([message.offset() for message in messages], pa.int64()),
                    "timestamp": pa.array([message.timestamp()[1] for message in messages], pa.timestamp("ms", "UTC")),
                    "key": pa.array([message.key() for message in messages], pa.binary()),
                    "value": pa.array([message.value() for message in messages], pa.binary()),
                }
            )
        )
    consumer.close()
    return int(pa.Table.from_batches(batches).num_rows)


def read_kafkarrow(bootstrap: str, topic: str, count: int) -> int:
    from kafkarrow import ConsumerManager, SourceTopic

    config = {"bootstrap.servers": bootstrap, "group.id": "bench", **{k: str(v) for k, v in FETCH_AHEAD.items()}}
    manager = ConsumerManager(config=config, topics=[SourceTopic.from_earliest(topic)])
    batches, seen = [], 0
    while seen < count:
        batch = manager.poll(timeout_ms=1000)
        seen += batch.num_rows
        batches.append(batch)
    return int(pa.Table.from_batches(batches).num_rows)


def read(client: str, bootstrap: str, topic: str, count: int, size: int) -> dict[str, float]:
    """Megabytes of values a second."""
    runs = {
        "strandline": lambda: read_ours(bootstrap, topic),
        "confluent": lambda: read_confluent(bootstrap, topic, count),
        "kafkarrow": lambda: read_kafkarrow(bootstrap, topic, count),
    }
    return {"read": best(runs[client]) * size / 1e6}


def own_memory() -> float:
    """The MiB that this process has of its own: mapped log files are the system's cache."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def inside(count: int, size: int) -> dict[str, float]:
    """A cluster in this process: to each kind of table, and what a stream over all of it keeps in memory."""
    with sl.Cluster() as cluster:
        load(cluster, "inside", payload(count, size))
        scan = cluster.topic("inside").scan()

        def stream() -> int:
            return sum(batch.num_rows for batch in pa.RecordBatchReader.from_stream(scan))

        # First, while nothing is kept yet; what one batch takes is there when the second is.
        highest = before = own_memory()
        for batch in pa.RecordBatchReader.from_stream(scan):
            highest = max(highest, own_memory())
            del batch
        confluent = best(lambda: read_confluent(cluster.bootstrap_servers, "inside", count))
        rates = {
            "confluent": confluent,
            "arrow": best(lambda: pa.table(scan).num_rows),
            "pyarrow": best(lambda: scan.to_pyarrow().num_rows),
            "stream": best(stream),
            "polars": best(lambda: scan.to_polars().height),
            "pandas": best(lambda: len(scan.to_pandas())),
        }
    return {**{what: rate * size / 1e6 for what, rate in rates.items()}, "memory": highest - before}


def send(client: str, count: int, size: int) -> dict[str, float]:
    """From a table to the acknowledgement of its last record."""
    with sl.Cluster() as cluster:
        if client == "confluent":
            values = [bytes([n]) * size for n in range(256)]
            rates = []
            for _ in range(REPEATS):
                topic = cluster.create_topic(f"sent-{uuid.uuid4().hex}", partitions=1)
                seconds, _ = confluents(cluster.bootstrap_servers, topic.name, values, count)
                rates.append(count / seconds)
            return {"send": max(rates) / 1e6}
        table = payload(count, size)

        def run(**options: object) -> int:
            load(cluster, f"sent-{uuid.uuid4().hex}", table, **options)
            return count

        return {"send": best(run) / 1e6, "send defaults": best(lambda: run(batch_size=16384, linger_ms=0)) / 1e6}


def produce(bootstrap: str, topic: str, count: int, size: int) -> dict[str, float]:
    """From a table to the acknowledgement of its last record by all replicas, once, and what this process used."""
    table = payload(count, size)
    with sl.connect(bootstrap) as client, client.producer(PRODUCER, batch_size=1_000_000) as producer:
        producer.send_table(topic, table[:1], value="value")
        start, used = time.perf_counter(), time.process_time()
        sent = producer.send_table(topic, table, value="value")
        seconds = time.perf_counter() - start
        cores = (time.process_time() - used) / seconds
    assert sent.rows == count, sent
    return {"mb_per_second": count * size / 1e6 / seconds, "client_cores": cores}


def typed_json(count: int) -> dict[str, float]:
    """Rows of a flight each, about 235 bytes, with the schema given."""
    fields = {
        "year": pa.int64(), "month": pa.int64(), "day": pa.int64(), "dep_time": pa.int64(), "dep_delay": pa.float64(),
        "arr_delay": pa.float64(), "carrier": pa.string(), "flight": pa.int64(), "tailnum": pa.string(),
        "origin": pa.string(), "dest": pa.string(), "air_time": pa.float64(), "distance": pa.int64(),
        "hour": pa.int64(), "minute": pa.int64(), "time_hour": pa.string(),
    }  # fmt: skip
    flight = {
        "year": 2013, "month": 1, "day": 1, "dep_time": 517, "dep_delay": 2.0, "arr_delay": 11.0, "carrier": "UA",
        "flight": 1545, "tailnum": "N14228", "origin": "EWR", "dest": "IAH", "air_time": 227.0, "distance": 1400,
        "hour": 5, "minute": 15, "time_hour": "2013-01-01T05:00:00Z",
    }  # fmt: skip
    values = [json.dumps({**flight, "flight": n, "dep_delay": n / 7}, separators=(",", ":")) for n in range(1000)]
    table = pa.table({"value": pa.array(values * (count // 1000), pa.large_string())})
    with sl.Cluster() as cluster:
        load(cluster, "json", table)
        scan = cluster.topic("json").scan(value="json", schema=pa.schema(fields.items()))
        rates = []
        for _ in range(REPEATS):
            before = resource.getrusage(resource.RUSAGE_SELF)
            rows = scan.to_pyarrow().num_rows
            after = resource.getrusage(resource.RUSAGE_SELF)
            rates.append(rows / (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))
    return {"json": max(rates) / 1e6}


def count(records: int) -> dict[str, float]:
    """All of a topic, by what its batches say."""
    with sl.Cluster() as cluster:
        part = payload(1_000_000, 20)
        for n in range(records // part.num_rows):
            if n == 0:
                load(cluster, "many", part)
            else:
                with cluster.producer(PRODUCER) as producer:
                    producer.send_table("many", part, value="value")
        rate = best(lambda: cluster.topic("many").scan().count())
    return {"count": records / rate * 1000}


FIXTURE_TESTS = """
import time
import pytest

waited = []

@pytest.mark.parametrize("n", range({tests}))
def test_a_record_comes_back(n, request):
    start = time.perf_counter()
    topic = request.getfixturevalue("kafka_topic")
    producer = request.getfixturevalue("kafka_producer")
    consumer = request.getfixturevalue("kafka_consumer")
    producer.send(topic, value=b"ebb").result()
    assert next(iter(consumer)).value == b"ebb"
    waited.append(time.perf_counter() - start)

def test_tell():
    print("waited", *waited)
"""


def fixture(tests: int) -> dict[str, float]:
    """The pytest plugin as a user runs it: the first test waits for the cluster too; the median of the others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_fixture.py").write_text(FIXTURE_TESTS.format(tests=tests))
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", folder]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    told = [line for line in ran.stdout.splitlines() if "waited " in line]
    if ran.returncode or not told:
        raise SystemExit(ran.stdout + ran.stderr)
    first, *rest = (1000 * float(seconds) for seconds in told[0].partition("waited ")[2].split())
    return {"first": first, "next": sorted(rest)[len(rest) // 2]}


def main(command: str, *arguments: str) -> dict[str, float]:
    """Measure one thing."""
    if command == "load":
        bootstrap, topic, records, size = arguments
        with sl.connect(bootstrap) as client:
            load(client, topic, payload(int(records), int(size)))
        return {}
    calls: dict[str, Callable[..., dict[str, float]]] = {
        "read": read,
        "inside": inside,
        "send": send,
        "produce": produce,
        "json": typed_json,
        "count": count,
        "fixture": fixture,
    }
    return calls[command](*(int(one) if one.isdigit() else one for one in arguments))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
