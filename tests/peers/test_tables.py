"""Our own client's tables against both brokers: sent, scanned and copied, and read by librdkafka as what they are."""

import pyarrow as pa

import strandline as sl
from support.compare import Transcript, side_by_side
from support.tools import Tools
from support.topics import create

FIRST = 1_600_000_000_000


@side_by_side
def test_a_table_is_sent_scanned_and_copied(bootstrap: str, _tools: Tools) -> Transcript:
    count = 20_000
    create(bootstrap, "rows", 3)
    create(bootstrap, "copy", 3)
    kinds = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    table = pa.table(
        {
            "id": pa.array([None if n % 11 == 0 else n for n in range(count)], pa.int64()),
            "text": [None if n % 7 == 0 else f"value {n}" for n in range(count)],
            "at": pa.array([FIRST + n for n in range(count)], pa.timestamp("ms", "UTC")),
            "h": pa.array([[{"key": "n", "value": str(n).encode()}] * (n % 3) for n in range(count)], kinds),
            "p": pa.array([n % 3 for n in range(count)], pa.int16()),
        }
    )
    client = sl.connect(bootstrap)
    told: list[object] = []
    with client.producer(compression_type="zstd") as producer:
        sent = producer.send_table("rows", table, key="id", value="text", partition="p", timestamp="at", headers="h")
        told.append([sent.rows, {str(p): list(part) for p, part in sent.partitions.items()}, len(sent.failed)])
        scan = client.topic("rows").scan()
        copied = producer.send_table(
            "copy", scan, key="key", value="value", partition="partition", timestamp="timestamp", headers="headers"
        )
        told.append([copied.rows, {str(p): list(part) for p, part in copied.partitions.items()}, len(copied.failed)])
    rows = client.topic("rows").scan(key="int64", value="utf8").to_pyarrow()
    assert rows.to_pydict() == client.topic("copy").scan(key="int64", value="utf8").to_pyarrow().to_pydict()
    order = rows.sort_by([("timestamp", "ascending")])
    assert order["key"].to_pylist() == table["id"].to_pylist()
    assert order["value"].to_pylist() == table["text"].to_pylist()
    assert order["timestamp"].to_pylist() == table["at"].to_pylist()
    assert order["headers"].to_pylist() == table["h"].to_pylist()
    assert order["partition"].to_pylist() == table["p"].to_pylist()
    return told


@side_by_side
def test_what_a_broker_refuses_is_told_row_by_row(bootstrap: str, _tools: Tools) -> Transcript:
    create(bootstrap, "narrow", 1, max_message_bytes="2000")
    table = pa.table({"v": [b"x" * (5000 if n % 10 == 3 else 10) for n in range(100)]})
    client = sl.connect(bootstrap)
    with client.producer() as producer:
        sent = producer.send_table("narrow", table, value="v")
    return [sent.rows, [[row, error.name] for row, error in sent.failed], list(sent.partitions[0])]
