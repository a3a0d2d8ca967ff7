"""Scans that travel: cut into parts, pickled, and read by other processes, which get the same rows."""

import copy
import multiprocessing
import operator
import pickle
import pickletools
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

import strandline as sl
from support.workers import read_by_workers, three_workers


@pytest.fixture(scope="module")
def flights(cluster: sl.Cluster) -> sl.Topic:
    """Three partitions of uneven length, with JSON values."""
    topic = cluster.create_topic("splits-flights", partitions=3)
    with cluster.producer(compression_type="zstd", linger_ms=1) as producer:
        for n in range(600):
            partition = 0 if n < 30 else 1 + n % 2
            value = f'{{"carrier": "c{n % 7}", "delay": {n / 2}}}'
            producer.send("splits-flights", value, key=f"k{n}", partition=partition)
    return topic


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Another process, that shares nothing with this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def rows(parts: list[sl.Scan], pool: ProcessPoolExecutor) -> list[dict[str, object]]:
    """What another process reads of them."""
    tables = pool.map(operator.methodcaller("to_pyarrow"), parts)
    return [row for table in tables for row in table.to_pylist()]


SCHEMA = pa.schema([("delay", pa.decimal128(10, 1)), ("carrier", pa.string())])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": {0: 7, 2: 9}, "end": 250, "columns": {"at": "timestamp", "id": "key"}, "key": "utf8"},
        {"value": "json", "columns": ["offset", "value"], "isolation": "read_committed", "partitions": [2, 1]},
        {"value": "json", "schema": SCHEMA, "errors": "column", "binary": "small", "batch_rows": 10},
        {"limit": 11, "binary": "view", "errors": "null"},
    ],
)
@pytest.mark.parametrize("kind", ["in this process", "over a socket"])
def test_a_scan_is_read_alike_in_another_process(
    cluster: sl.Cluster, flights: sl.Topic, elsewhere: ProcessPoolExecutor, kind: str, options: dict[str, object]
) -> None:
    if kind == "over a socket":
        flights = sl.connect(cluster.bootstrap_servers, client_id="split").topic(flights.name)
    scan = flights.scan(**options)
    expected = scan.to_pyarrow()
    assert rows([scan], elsewhere) == expected.to_pylist()
    again = pickle.loads(pickle.dumps(scan))
    assert (repr(again), again.ranges, again.schema) == (repr(scan), scan.ranges, scan.schema)
    assert [batch.num_rows for batch in again.to_batches()] == [batch.num_rows for batch in scan.to_batches()]
    assert pa.RecordBatchReader.from_stream(again).schema == pa.RecordBatchReader.from_stream(scan).schema
    # It travels on as it came.
    assert pickle.dumps(again) == pickle.dumps(scan)


def test_parts_are_about_equal_and_are_read_elsewhere(flights: sl.Topic, elsewhere: ProcessPoolExecutor) -> None:
    scan = flights.scan(value="utf8")
    expected = scan.to_pyarrow().to_pylist()
    for count in (1, 2, 4, 7):
        parts = scan.splits(count)
        sizes = [part.count() for part in parts]
        assert (len(sizes), sum(sizes)) == (count, 600)
        assert max(sizes) - min(sizes) <= 1
        assert rows(parts, elsewhere) == expected
    few = flights.scan(end=1).splits(5)
    assert [part.count() for part in few] == [1, 1, 1]
    assert [part.count() for part in flights.scan(end=0).splits(5)] == [0]
    with pytest.raises(ValueError, match="a scan with a limit cannot be split"):
        flights.scan(limit=3).splits(2)
    with pytest.raises(ValueError, match="0 parts: a scan is split into at least 1"):
        scan.splits(0)


def test_what_was_fixed_stays_fixed_on_the_way(
    cluster: sl.Cluster, new_topic: Callable[..., sl.Topic], elsewhere: ProcessPoolExecutor
) -> None:
    topic = new_topic()
    with cluster.producer() as producer:
        for n in range(10):
            producer.send(topic.name, str(n))
        producer.flush()
        scan = topic.scan(columns=["value"], value="utf8")
        producer.send(topic.name, "later").result()
    assert rows([scan], elsewhere) == [{"value": str(n)} for n in range(10)]
    cluster.admin().delete_records({(topic.name, 0): 4})
    with pytest.raises(sl.errors.OffsetOutOfRangeError, match=r"records 0 to 4 of .* are gone"):
        rows([scan], elsewhere)


def test_a_topic_that_was_made_anew_is_another(cluster: sl.Cluster) -> None:
    def fill() -> sl.Topic:
        topic = cluster.create_topic("splits-anew")
        with cluster.producer() as producer:
            producer.send(topic.name, "v").result()
        return topic

    here = fill().scan()
    client = sl.connect(cluster.bootstrap_servers)
    scans = [client.topic("splits-anew").scan(), pickle.loads(pickle.dumps(here)), pickle.loads(pickle.dumps(here))]
    assert [scan.count() for scan in scans[:2]] == [1, 1]
    cluster.topic("splits-anew").delete()
    fill()
    for scan in scans:
        with pytest.raises(sl.errors.OffsetOutOfRangeError, match="the log of splits-anew-0 is gone"):
            scan.count()


def test_a_data_dir_is_read_from_its_path(tmp_path: Path, elsewhere: ProcessPoolExecutor) -> None:
    with sl.Cluster(tmp_path) as cluster, cluster.producer() as producer:
        for n in range(6):
            producer.send("kept", str(n))
    scan = sl.open_log(tmp_path).topic("kept").scan(value="utf8", columns=["value"])
    assert rows(scan.splits(3), elsewhere) == [{"value": str(n)} for n in range(6)]


def test_what_travels_is_plain_and_holds_the_options(flights: sl.Topic, cluster: sl.Cluster) -> None:
    client = sl.connect(cluster.bootstrap_servers, client_id="told", request_timeout_ms=7_000)
    pickled = pickle.dumps(client.topic(flights.name).scan())
    told = {argument for _, argument, _ in pickletools.genops(pickled)}
    assert {cluster.bootstrap_servers, "client.id", "told", "request.timeout.ms", "7000", flights.name} <= told
    # Nothing of the rows goes along.
    assert len(pickled) < 1_000


def test_one_of_another_version_is_refused(flights: sl.Topic) -> None:
    restore, (state,) = flights.scan().__reduce__()
    with pytest.raises(ValueError, match="pickled by another version of strandline"):
        restore({**state, "format": 99})
    del state["ranges"]
    with pytest.raises(ValueError, match="this is no pickled scan: it has no ranges"):
        restore(state)


def test_a_copy_is_the_scan_itself(flights: sl.Topic) -> None:
    scan = flights.scan()
    assert copy.copy(scan) is scan
    assert copy.deepcopy([scan])[0] is scan


def test_three_workers_of_dask_read_what_one_reads(flights: sl.Topic) -> None:
    scan = flights.scan(value="json")
    with three_workers() as client:
        processes, tables = read_by_workers(client, scan.splits(7))
        mean = client.submit(lambda whole: whole.to_polars()["delay"].mean(), scan).result()
    assert len(processes) == 3
    assert pa.concat_tables(tables).to_pylist() == scan.to_pyarrow().to_pylist()
    assert mean == 149.75
