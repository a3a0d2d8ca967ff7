"""Topics as tables: in this process and over a socket, in each library that people use."""

import datetime as dt
import gc
import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import strandline as sl
from strandline._bounds import narrow, of_polars, of_pyarrow

T0 = 1_357_000_000_000
LONG = "a value that is longer than a view holds by itself"


@pytest.fixture(scope="module")
def numbers(cluster: sl.Cluster) -> sl.Topic:
    """Three partitions with a hundred records each, one a second."""
    topic = cluster.create_topic("scan-numbers", partitions=3)
    with cluster.producer(compression_type="lz4", linger_ms=1) as producer:
        for n in range(300):
            headers = {"n": str(n).encode()} if n % 2 else None
            value = f"{LONG} {n}" if n % 7 else None
            producer.send(
                "scan-numbers", value, key=f"k{n}", partition=n % 3, timestamp=T0 + n // 3 * 1000, headers=headers
            )
    return topic


@pytest.fixture(params=["in this process", "over a socket"])
def either(request: pytest.FixtureRequest, cluster: sl.Cluster, numbers: sl.Topic) -> sl.Topic:
    """The same topic by both ways."""
    if request.param == "in this process":
        return numbers
    return sl.connect(cluster.bootstrap_servers).topic(numbers.name)


def test_a_table_has_every_record_with_all_that_it_says(either: sl.Topic) -> None:
    scan = either.scan(key="utf8")
    table = scan.to_pyarrow()
    assert table.schema == scan.schema
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("partition", "int32"),
        ("offset", "int64"),
        ("timestamp", "timestamp[ms, tz=UTC]"),
        ("key", "large_string"),
        ("value", "large_binary"),
        ("headers", "list<item: struct<key: string not null, value: binary> not null>"),
    ]
    rows = table.to_pylist()
    assert len(rows) == scan.count() == 300
    for row in rows:
        n = row["offset"] * 3 + row["partition"]
        assert row["key"] == f"k{n}"
        assert row["value"] == (f"{LONG} {n}".encode() if n % 7 else None)
        assert row["headers"] == ([{"key": "n", "value": str(n).encode()}] if n % 2 else [])
        assert row["timestamp"].timestamp() * 1000 == T0 + row["offset"] * 1000


def test_each_library_sees_the_same(either: sl.Topic) -> None:
    scan = either.scan(value="utf8", columns=["offset", "value"], partitions=[1])
    expected = scan.to_pyarrow().to_pydict()
    assert len(expected["offset"]) == 100
    assert scan.to_polars().to_dict(as_series=False) == expected
    assert pl.DataFrame(scan).to_dict(as_series=False) == expected
    assert scan.to_pandas().astype(object).where(lambda f: f.notna(), None).to_dict("list") == expected
    assert pa.table(scan).to_pydict() == expected
    assert scan.to_duckdb().fetchall() == list(zip(*expected.values(), strict=True))
    assert duckdb.sql("select count(*) from scan where value is not null").fetchall() == [(86,)]
    assert pa.Table.from_batches(scan.to_batches()).to_pydict() == expected


def test_bytes_lie_as_they_were_asked_for(numbers: sl.Topic) -> None:
    types = {"auto": pa.binary_view(), "view": pa.binary_view(), "large": pa.large_binary(), "small": pa.binary()}
    for binary, expected in types.items():
        scan = numbers.scan(binary=binary)
        assert pa.RecordBatchReader.from_stream(scan).schema.field("value").type == expected
        plain = pa.large_binary() if binary == "auto" else expected
        assert scan.to_pyarrow().schema.field("value").type == scan.schema.field("value").type == plain
    wanted = pa.schema([("value", pa.large_string())])
    reader = pa.RecordBatchReader.from_stream(numbers.scan(columns=["value"]), schema=wanted)
    assert reader.schema == wanted
    assert reader.read_all().num_rows == 300
    with pytest.raises(ValueError, match="cannot be read as"):
        numbers.scan(columns=["value"]).__arrow_c_stream__(
            pa.schema([("value", pa.list_(pa.int8()))]).__arrow_c_schema__()
        )


def test_start_and_end_are_offsets_times_or_words(either: sl.Topic, cluster: sl.Cluster) -> None:
    def ranges(**bounds: object) -> list[tuple[int, int]]:
        return list(either.scan(**bounds).ranges.values())

    assert ranges() == [(0, 100)] * 3
    assert ranges(start=90, end=95) == [(90, 95)] * 3
    assert ranges(start={0: 7, 2: 9}) == [(7, 100), (0, 100), (9, 100)]
    assert ranges(end=[1, 2, 3]) == [(0, 1), (0, 2), (0, 3)]
    moment = dt.datetime.fromtimestamp(T0 / 1000 + 10, dt.timezone.utc)
    assert ranges(start=moment, end=moment + dt.timedelta(seconds=5)) == [(10, 15)] * 3
    assert ranges(start=moment.isoformat()) == [(10, 100)] * 3
    assert ranges(start="2013-01-02") == [(100, 100)] * 3
    assert ranges(start=dt.date(2012, 12, 31), end="latest") == [(0, 100)] * 3
    assert ranges(start=dt.timedelta(days=1)) == ranges(start="24h") == [(100, 100)] * 3
    assert ranges(start="earliest", end="36500d") == [(0, 0)] * 3
    cluster.admin().alter_offsets("scan-group", {(either.name, 0): 40})
    assert ranges(start=sl.committed("scan-group")) == [(40, 100), (0, 100), (0, 100)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": "soon"}, "start is 'soon': it must be an offset"),
        ({"columns": ["offset", "size"]}, 'there is no column "size": a scan has partition, offset'),
        ({"columns": ["offset", "offset"]}, 'two columns are named "offset"'),
        ({"key": "text"}, 'key is "text": it must be one of binary, utf8'),
        ({"binary": "huge"}, "binary is \"huge\": it must be 'auto'"),
        ({"partitions": [7]}, "has no partition 7: it has 3"),
        ({"batch_rows": 0}, "batch_rows is 0"),
        ({"isolation": "serializable"}, 'isolation is "serializable"'),
        ({"errors": "ignore"}, 'errors is "ignore"'),
    ],
)
def test_what_makes_no_sense_is_refused(numbers: sl.Topic, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        numbers.scan(**options)


def test_a_topic_that_is_not_there_is_kafka_s_error(cluster: sl.Cluster) -> None:
    for client in (cluster, sl.connect(cluster.bootstrap_servers)):
        with pytest.raises(sl.errors.UnknownTopicOrPartitionError):
            client.topic("scan-nowhere").scan()


def test_what_cannot_be_decoded_is_raised_or_null(either: sl.Topic) -> None:
    with pytest.raises(
        sl.errors.InvalidRecordError, match="the key of the record at offset 0 of scan-numbers-0 is not int64"
    ):
        either.scan(key="int64").to_pyarrow()
    assert either.scan(key="int64", errors="null", columns=["key"]).to_pyarrow().column(0).null_count == 300


def test_columns_take_names_of_one_s_own(numbers: sl.Topic) -> None:
    scan = numbers.scan(columns={"at": "timestamp", "id": "key"}, key="utf8", limit=2)
    assert scan.columns == ["at", "id"]
    assert scan.to_polars().get_column("id").to_list() == ["k0", "k3"]
    assert scan.select(["id"]).columns == ["id"]
    with pytest.raises(ValueError, match='there is no column "key"'):
        scan.select(["key"])


def test_a_filter_bounds_what_is_read_and_is_exact(either: sl.Topic) -> None:
    scan = either.scan(key="utf8")
    table = scan.to_pyarrow()
    moment = dt.datetime.fromtimestamp(T0 / 1000 + 50, dt.timezone.utc)
    stamp = pa.scalar(moment, pa.timestamp("ms", "UTC"))
    both = [
        (pl.col("offset") > 90, pc.field("offset") > 90, [(91, 100)] * 3),
        (pl.col("timestamp") >= moment, pc.field("timestamp") >= stamp, [(50, 100)] * 3),
        (
            (pl.col("partition") == 1) & (pl.lit(5) >= pl.col("offset")),
            (pc.field("partition") == 1) & (pc.field("offset") <= 5),
            [(0, 6)],
        ),
        (
            (pl.col("offset") > 90) | (pl.col("offset") < 3),
            (pc.field("offset") > 90) | (pc.field("offset") < 3),
            [(0, 100)] * 3,
        ),
        (pl.col("key") == "k4", pc.field("key") == "k4", [(0, 100)] * 3),
        (
            (pl.col("offset") == 7) & (pl.col("key") != "k22"),
            (pc.field("offset") == 7) & (pc.field("key") != "k22"),
            None,
        ),
    ]
    for expression, filter, ranges in both:
        expected = table.filter(filter).to_pylist()
        assert (
            scan.scan_polars().filter(expression).collect().to_dicts() == pl.from_arrow(table.filter(filter)).to_dicts()
        )
        dataset = scan.dataset()
        assert dataset.to_table(filter=filter).to_pylist() == expected
        assert dataset.to_table(columns=["key"], filter=filter).to_pylist() == [{"key": row["key"]} for row in expected]
        assert dataset.count_rows(filter=filter) == len(expected)
        if ranges is not None:
            assert list(narrow(scan, of_polars(expression)).ranges.values()) == ranges
            assert list(narrow(scan, of_pyarrow(filter)).ranges.values()) == ranges
    assert scan.scan_polars().select("key").head(2).collect().to_series().to_list() == ["k0", "k3"]
    relation = scan.to_duckdb()
    assert relation.filter('"offset" > 97 and partition = 2').project("key").fetchall() == [("k296",), ("k299",)]


def test_a_scan_is_written_to_parquet(numbers: sl.Topic, tmp_path: Path) -> None:
    scan = numbers.scan()
    assert scan.write_parquet(tmp_path / "numbers.parquet", compression="zstd") == 300
    assert pq.read_table(tmp_path / "numbers.parquet").to_pylist() == scan.to_pyarrow().to_pylist()


def test_parts_have_together_what_the_whole_has(either: sl.Topic) -> None:
    scan = either.scan(columns=["partition", "offset"])
    parts = scan.splits(7)
    assert len(parts) == 7
    assert [row for part in parts for row in part.to_pyarrow().to_pylist()] == scan.to_pyarrow().to_pylist()


def test_a_snapshot_stays_what_it_was_or_says_what_is_gone(
    cluster: sl.Cluster, new_topic: Callable[..., sl.Topic]
) -> None:
    topic = new_topic()
    with cluster.producer() as producer:
        for n in range(10):
            producer.send(topic.name, f"{LONG} {n}")
        producer.flush()
        scan = topic.scan(columns=["value"], value="utf8")
        producer.send(topic.name, "later").result()
    assert scan.to_pyarrow().num_rows == scan.count() == 10
    kept = scan.to_polars()
    cluster.admin().delete_records({(topic.name, 0): 4})
    with pytest.raises(sl.errors.OffsetOutOfRangeError, match=r"records 0 to 4 of .* are gone"):
        scan.to_pyarrow()
    with pytest.raises(sl.errors.OffsetOutOfRangeError):
        scan.count()
    assert kept.to_series().to_list() == [f"{LONG} {n}" for n in range(10)]


def test_a_table_outlives_its_topic_and_its_cluster() -> None:
    with sl.Cluster() as cluster:
        with cluster.producer(batch_size=1_000_000) as producer:
            for n in range(5_000):
                producer.send("short-lived", f"{LONG} {n}")
        scan = cluster.topic("short-lived").scan(columns=["value"])
        reader = pa.RecordBatchReader.from_stream(scan)
        first = pl.DataFrame(scan)
        cluster.topic("short-lived").delete()
    gc.collect()
    assert first.to_series().to_list()[4_999] == f"{LONG} 4999".encode()
    with pytest.raises(pa.ArrowInvalid, match="the log of short-lived-0 is gone: its topic was deleted"):
        reader.read_all()


def test_memory_stays_bounded_and_batches_are_cut(numbers: sl.Topic) -> None:
    batches = [batch.num_rows for batch in numbers.scan(batch_rows=64).to_batches()]
    assert sum(batches) == 300
    assert max(batches) == 64


def test_a_scan_tells_what_it_is(numbers: sl.Topic) -> None:
    expected = "<Scan of 'scan-numbers': 300 offsets in 3 partitions; offset, key>"
    assert repr(numbers.scan(columns=["offset", "key"])) == expected


@pytest.fixture(scope="module")
def flights(cluster: sl.Cluster) -> sl.Topic:
    """JSON values, one of which is broken and one null."""
    topic = cluster.create_topic("scan-flights")
    values = ['{"carrier": "UA", "delay": 2.5, "tags": ["a"]}', '{"carrier": ', None, '{"carrier": "AA", "key": 1}']
    with cluster.producer() as producer:
        for value in values:
            producer.send("scan-flights", value, key="k")
    return topic


def test_json_becomes_columns_with_types_that_are_inferred_or_given(flights: sl.Topic) -> None:
    with pytest.raises(ValueError, match='two columns are named "key"'):
        flights.scan(value="json")
    columns = ["offset", "carrier", "delay", "tags", "value.key"]
    table = flights.scan(value="json", columns=columns, errors="null").to_pyarrow()
    assert table.to_pydict() == {
        "offset": [0, 1, 2, 3],
        "carrier": ["UA", None, None, "AA"],
        "delay": [2.5, None, None, None],
        "tags": [["a"], None, None, None],
        "key": [None, None, None, 1],
    }
    schema = pa.schema([("delay", pa.decimal128(10, 2)), ("when", pa.timestamp("ms")), ("carrier", pa.string())])
    scan = flights.scan(value="json", schema=schema, columns=["value"], errors="column")
    assert scan.columns == ["delay", "when", "carrier", "error"]
    assert [str(field.type) for field in scan.schema][:3] == ["decimal128(10, 2)", "timestamp[ms]", "string"]
    rows = scan.to_pyarrow().to_pylist()
    assert [str(row["delay"]) for row in rows] == ["2.50", "None", "None", "None"]
    assert [row["error"] and row["error"]["reason"] for row in rows] == [None, "it is cut", None, None]
    assert rows[1]["error"]["bytes"] == b'{"carrier": '


def test_json_that_is_none_is_raised(flights: sl.Topic) -> None:
    schema = pa.schema([("carrier", pa.string())])
    scan = flights.scan(value="json", schema=schema)
    with pytest.raises(
        sl.errors.InvalidRecordError, match=r"the value of the record at offset 1 .* is not json: it is cut"
    ):
        scan.to_polars()
    with pytest.raises(TypeError, match=r"schema is dict: it must be a pyarrow\.Schema"):
        flights.scan(value="json", schema={"carrier": "utf8"})
    with pytest.raises(ValueError, match='a schema is given, and value is "binary"'):
        flights.scan(schema=schema)


def test_fields_cannot_be_inferred_from_nothing(topic: sl.Topic) -> None:
    with pytest.raises(ValueError, match="no record is a JSON object to tell its fields: give a schema"):
        topic.scan(value="json")


def test_a_frame_of_pandas_is_what_pyarrow_would_make(numbers: sl.Topic, topic: sl.Topic, cluster: sl.Cluster) -> None:
    with cluster.producer() as producer:
        producer.send(topic.name, "with", headers={"h": b"1"})
        producer.send(topic.name, "without")
    for scan in (numbers.scan(key="utf8", value="utf8"), topic.scan(), topic.scan(columns={"h": "headers"})):
        theirs, ours = scan.to_pyarrow().to_pandas(), scan.to_pandas()
        assert list(ours.columns) == list(theirs.columns)
        assert list(ours.dtypes) == list(theirs.dtypes)
        for name in ours.columns:
            for mine, other in zip(ours[name], theirs[name], strict=True):
                assert (type(mine), repr(mine)) == (type(other), repr(other))
    # One empty array serves for all rows, so nobody may change it.
    assert not topic.scan(start=1).to_pandas().headers[0].flags.writeable
