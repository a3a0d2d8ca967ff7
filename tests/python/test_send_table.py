"""Tables as records: from each library that people use, to a broker in this process and to one behind a socket."""

import datetime as dt
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import strandline as sl
from strandline.types import SentPartition, SentTable

T0 = 1_357_000_000_000
FLIGHTS = {
    "carrier": ["UA", "AA", None, "B6"],
    "to": ["IAH", "MIA", "ORD", "BQN"],
    "delay": [11, None, -4, 850],
}
OBJECTS = [
    {"to": "IAH", "delay": 11},
    {"to": "MIA", "delay": None},
    {"to": "ORD", "delay": -4},
    {"to": "BQN", "delay": 850},
]


@pytest.fixture(params=["in this process", "over a socket"])
def producer(request: pytest.FixtureRequest, cluster: sl.Cluster) -> Iterator[sl.Producer]:
    """A producer by both ways."""
    way = cluster if request.param == "in this process" else sl.connect(cluster.bootstrap_servers)
    with way.producer() as producer:
        yield producer


def read(topic: sl.Topic, **options: object) -> list[dict[str, object]]:
    return topic.scan(**options).to_pyarrow().to_pylist()


def arrow_table() -> pa.Table:
    return pa.table(FLIGHTS)


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame({**FLIGHTS, "delay": pd.array(FLIGHTS["delay"], dtype="Int64")})


def read_by_read() -> pa.RecordBatchReader:
    table = arrow_table()

    def batches() -> Iterator[pa.RecordBatch]:
        for row in range(table.num_rows):
            yield from table.slice(row, 1).to_batches()
            yield from table.slice(0, 0).to_batches()

    return pa.RecordBatchReader.from_batches(table.schema, batches())


@pytest.mark.parametrize(
    "make",
    [
        arrow_table,
        lambda: arrow_table().to_batches()[0],
        lambda: arrow_table().to_struct_array().combine_chunks(),
        read_by_read,
        lambda: pl.DataFrame(FLIGHTS),
        lambda: pl.DataFrame(FLIGHTS, schema_overrides={"carrier": pl.Categorical, "to": pl.Categorical}),
        pandas_frame,
        lambda: duckdb.sql(
            "select * from (values ('UA','IAH',11),('AA','MIA',null),(null,'ORD',-4),('B6','BQN',850))"
            ' flights(carrier, "to", delay)'
        ),
    ],
    ids=["table", "batch", "struct", "reader", "polars", "categorical", "pandas", "duckdb"],
)
def test_each_library_s_table_becomes_the_same_records(
    make: Callable[[], object], producer: sl.Producer, topic: sl.Topic
) -> None:
    sent = producer.send_table(topic.name, make(), key="carrier")
    assert sent == SentTable(4, {0: SentPartition(4, 0, 3)}, [])
    rows = read(topic, key="utf8", value="utf8")
    assert [row["key"] for row in rows] == FLIGHTS["carrier"]
    assert [json.loads(row["value"]) for row in rows] == OBJECTS


def test_a_scan_is_copied_exactly(
    producer: sl.Producer, cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]
) -> None:
    source, target = new_topic(3), new_topic(3)
    with cluster.producer(compression_type="zstd") as first:
        for n in range(2000):
            headers = [("n", str(n).encode()), ("n", None)] if n % 3 else None
            value = None if n % 7 == 0 else b"v" * (n % 50)
            key = None if n % 5 == 0 else f"k{n}"
            first.send(source.name, value, key=key, partition=n % 3, timestamp=T0 + n, headers=headers)
    for way in (source, sl.connect(cluster.bootstrap_servers).topic(source.name)):
        target = new_topic(3)
        sent = producer.send_table(
            target.name,
            way.scan(),
            key="key",
            value="value",
            partition="partition",
            timestamp="timestamp",
            headers="headers",
        )
        assert (sent.rows, sent.failed) == (2000, [])
        assert sent.partitions == {
            0: SentPartition(667, 0, 666),
            1: SentPartition(667, 0, 666),
            2: SentPartition(666, 0, 665),
        }
        assert read(target) == read(source)


def test_numbers_are_read_back_as_they_were(producer: sl.Producer, topic: sl.Topic) -> None:
    table = pa.table({"id": pa.array([1, -2, 2**62, None]), "x": pa.array([0.5, -1e300, float("inf"), None])})
    producer.send_table(topic.name, table, key="id", value="x")
    found = topic.scan(key="int64", value="float64", columns=["key", "value"]).to_pyarrow()
    assert found.rename_columns(["id", "x"]).to_pydict() == table.to_pydict()


def test_key_and_value_may_be_objects_of_some_columns(producer: sl.Producer, topic: sl.Topic) -> None:
    moment = dt.datetime(2013, 1, 1, 10, tzinfo=dt.timezone.utc)
    table = pa.table(
        {
            "a": ["x"],
            "b": [1],
            "at": pa.array([moment], pa.timestamp("us", "Europe/Berlin")),
            "deep": [{"list": [1, None], "word": "w"}],
            "left": [b"out"],
        }
    )
    producer.send_table(topic.name, table, key=["b", "a"], value=["deep", "at"], timestamp="at")
    [row] = read(topic, key="utf8", value="utf8")
    assert row["key"] == '{"b":1,"a":"x"}'
    assert row["value"] == '{"deep":{"list":[1,null],"word":"w"},"at":"2013-01-01T10:00:00Z"}'
    assert row["timestamp"] == moment
    found = topic.scan(value="json", columns=["at", "deep"]).to_pyarrow().to_pylist()
    assert found == [{"at": "2013-01-01T10:00:00Z", "deep": {"list": [1, None], "word": "w"}}]


def test_rows_go_where_they_are_sent(producer: sl.Producer, new_topic: Callable[..., sl.Topic]) -> None:
    topic = new_topic(4)
    table = pa.table(
        {"p": pa.array([3, None, 1, 3], pa.uint8()), "key": ["a", "b", "c", "d"], "v": ["1", "2", "3", "4"]}
    )
    sent = producer.send_table(topic.name, table, key="key", value="v", partition="p")
    by_key = producer.send(topic.name, b"", key="b").result(10).partition
    expected = {row["key"]: row["partition"] for row in read(topic, key="utf8", value="utf8") if row["value"]}
    assert expected == {"a": 3, "b": by_key, "c": 1, "d": 3}
    assert sum(part.rows for part in sent.partitions.values()) == sent.rows == 4
    told = producer.send_table(topic.name, table, value="v", partition=2)
    assert list(told.partitions) == [2]


def test_many_rows_keep_their_order_in_each_partition(
    producer: sl.Producer, new_topic: Callable[..., sl.Topic]
) -> None:
    topic = new_topic(3)
    count = 100_000
    table = pa.table({"n": pa.array(range(count)), "v": pa.array([f"value {n}" for n in range(count)])})
    sent = producer.send_table(topic.name, table, key="n", value="v")
    assert (sent.rows, sent.failed) == (count, [])
    found = topic.scan(key="int64", value="utf8").to_pyarrow()
    assert found.num_rows == count
    for partition, part in sent.partitions.items():
        rows = found.filter(pc.equal(found["partition"], partition))
        numbers = rows["key"].to_pylist()
        assert numbers == sorted(numbers)
        assert len(numbers) == part.rows == part.last_offset + 1
        assert rows["value"].to_pylist() == [f"value {n}" for n in numbers]


def test_a_table_larger_than_the_buffer_is_waited_for(cluster: sl.Cluster, topic: sl.Topic) -> None:
    value = "x" * 1000
    batches = (pa.record_batch({"v": [value] * 1000}) for _ in range(20))
    reader = pa.RecordBatchReader.from_batches(pa.schema([("v", pa.string())]), batches)
    with cluster.producer(buffer_memory=200_000, linger_ms=10_000) as producer:
        sent = producer.send_table(topic.name, reader, value="v")
    assert sent.partitions == {0: SentPartition(20_000, 0, 19_999)}
    assert topic.record_count == 20_000


@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_are_no_records(producer: sl.Producer, topic: sl.Topic, rows: int) -> None:
    for table in (arrow_table(), pl.DataFrame(FLIGHTS)):
        sent = producer.send_table(topic.name, table[:rows], key="carrier")
        assert (sent.rows, sent.failed) == (rows, [])
    assert topic.record_count == 2 * rows


def test_each_row_that_fails_is_told_and_spoils_no_other(
    cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]
) -> None:
    topic = new_topic(2, max_message_bytes=4000)
    values = [b"small", b"x" * 10_000, b"too large for the topic" * 250, b"fine", b"nowhere", b"before time", b"last"]
    table = pa.table(
        {
            "v": values,
            "p": [0, 0, 0, 1, 7, 1, -1],
            "at": pa.array([T0, T0, T0, T0, T0, -1, T0]),
            "h": pa.array(
                [[], [], [], [{"key": "k", "value": b"v"}], [], [], []],
                pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])),
            ),
        }
    )
    with cluster.producer(max_request_size=8000) as producer:
        sent = producer.send_table(topic.name, table, value="v", partition="p", timestamp="at", headers="h")
    assert sent.rows == 2
    assert sent.partitions == {0: SentPartition(1, 0, 0), 1: SentPartition(1, 0, 0)}
    told = dict(sent.failed)
    assert list(told) == [1, 2, 4, 5, 6]
    assert isinstance(told[1], sl.errors.MessageTooLargeError)
    assert "max.request.size allows 8000" in str(told[1])
    assert isinstance(told[2], sl.errors.MessageTooLargeError)
    assert "has no partition 7: it has 2" in str(told[4])
    assert "timestamp is -1" in str(told[5])
    assert "partition is -1: it must be at least 0" in str(told[6])
    rows = read(topic)
    assert [(row["value"], row["headers"]) for row in rows] == [
        (b"small", []),
        (b"fine", [{"key": "k", "value": b"v"}]),
    ]


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (FLIGHTS, {"key": "carier"}, 'key: there is no column "carier": the data has carrier, to, delay'),
        (FLIGHTS, {"value": ["to", "fro"]}, 'value: there is no column "fro"'),
        (FLIGHTS, {"timestamp": "to"}, 'timestamp: column "to" is'),
        (FLIGHTS, {"headers": "to"}, 'headers: column "to" is'),
        (FLIGHTS, {"partition": "to"}, 'partition: column "to" is'),
        (FLIGHTS, {"partition": 1}, "has no partition 1: it has 1"),
        (FLIGHTS, {"partition": -1}, "partition is -1: it must be at least 0"),
        (FLIGHTS, {"partition": 2**40}, "no topic has so many"),
        (FLIGHTS, {"key": "carrier", "value": []}, "value is an empty list"),
        ({"a": [True]}, {"value": "a"}, 'cast it, or send JSON: value=["a"]'),
        ({"a": ["x"]}, {"key": "a"}, "no column is left for the value"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    producer: sl.Producer, topic: sl.Topic, data: dict[str, list[object]], options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        producer.send_table(topic.name, pa.table(data), **options)
    assert topic.record_count == 0


def test_what_is_no_table_is_refused(producer: sl.Producer, topic: sl.Topic) -> None:
    with pytest.raises(TypeError, match="data is list: it must speak Arrow"):
        producer.send_table(topic.name, [1, 2])  # type: ignore[arg-type]
    for column in (pa.chunked_array([[1]]), pa.array([1]), pl.Series([1])):
        with pytest.raises(ValueError, match="which is no table"):
            producer.send_table(topic.name, column)
    with pytest.raises(TypeError, match="key is int: it must be a column's name, a list of them, or None"):
        producer.send_table(topic.name, arrow_table(), key=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="partition is bool"):
        producer.send_table(topic.name, arrow_table(), partition=True)
    with pytest.raises(sl.errors.InvalidTopicError):
        producer.send_table("no such/name", arrow_table())


def test_data_that_breaks_off_says_where(cluster: sl.Cluster, topic: sl.Topic) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"v": ["one", "two"]})
        raise RuntimeError("the well is dry")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("v", pa.string())]), batches())
    with cluster.producer() as producer:
        with pytest.raises(ValueError, match=r"from row 2 on \(the rows before it were sent\).*the well is dry"):
            producer.send_table(topic.name, reader, value="v")
        producer.flush()
    assert topic.record_count == 2


def test_ctrl_c_ends_it_and_what_was_taken_is_sent(cluster: sl.Cluster, topic: sl.Topic) -> None:
    pulled = threading.Event()

    def batches() -> Iterator[pa.RecordBatch]:
        while True:
            pulled.set()
            yield pa.record_batch({"v": ["x" * 100] * 1000})

    def interrupt() -> None:
        pulled.wait()
        signal.raise_signal(signal.SIGINT)

    reader = pa.RecordBatchReader.from_batches(pa.schema([("v", pa.string())]), batches())
    thread = threading.Thread(target=interrupt)
    with cluster.producer() as producer:
        thread.start()
        # It strikes while Python's generator runs, or while the rows are sent.
        with pytest.raises((KeyboardInterrupt, ValueError), match=r"KeyboardInterrupt|^$"):
            producer.send_table(topic.name, reader, value="v")
        producer.flush()
        sent = topic.record_count
        producer.send_table(topic.name, pa.table({"v": ["after"]}), value="v")
    thread.join()
    assert topic.record_count == sent + 1


def test_a_producer_that_is_closed_takes_no_table(cluster: sl.Cluster, topic: sl.Topic) -> None:
    producer = cluster.producer()
    producer.close()
    with pytest.raises(sl.errors.ClosedError):
        producer.send_table(topic.name, arrow_table())
