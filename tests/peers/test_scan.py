"""Topics as tables over a socket: what `sl.connect(...).topic(...).scan(...)` reads from either broker."""

import datetime as dt
import json

import pyarrow as pa
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import strandline as sl
from support.brokers import Broker
from support.compare import Transcript, side_by_side
from support.scans import CODECS, FIRST, produce, rows, told, transact
from support.tools import Tools
from support.topics import at, create, fill, wake_groups


@side_by_side
def test_every_codec_and_every_kind_of_record(bootstrap: str, _tools: Tools) -> Transcript:
    found = {}
    client = sl.connect(bootstrap)
    for codec in CODECS:
        topic = create(bootstrap, f"scan-{codec}", 2)
        produce(bootstrap, topic, codec, 60, partitions=2)
        scan = client.topic(topic).scan()
        views = pa.table(scan).to_pylist()
        assert views == scan.to_pyarrow().to_pylist()
        found[codec] = [str(scan.schema), scan.count(), repr(scan), rows(scan)]
    found["all"] = [found[codec][-1] == found["none"][-1] for codec in CODECS]
    client.close()
    return found


@side_by_side
def test_bounds_are_looked_up_alike(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "scan-bounds", 3)
    produce(bootstrap, topic, "lz4", 90, partitions=3)
    # Times that fall back, as producers on several machines make them.
    fill(bootstrap, topic, 10, partition=1, first_timestamp=FIRST)
    wake_groups(bootstrap)
    consumer = Consumer({**at(bootstrap), "group.id": "scan-group"})
    consumer.commit(offsets=[TopicPartition(topic, 0, 7), TopicPartition(topic, 2, 30)], asynchronous=False)
    consumer.close()
    client = sl.connect(bootstrap)
    moment = dt.datetime.fromtimestamp(FIRST / 1000 + 30, dt.timezone.utc)
    starts: list[object] = [
        "earliest",
        "latest",
        0,
        25,
        10_000,
        {1: 35},
        [5, 6, 7],
        moment,
        moment.isoformat(),
        moment + dt.timedelta(milliseconds=1),
        dt.date(2000, 1, 1),
        dt.date(2030, 1, 1),
        "1d",
        sl.committed("scan-group"),
        sl.committed("nobody"),
    ]
    found = [[told(client.topic(topic).scan(start=start).ranges) for start in starts]]
    found.append([told(client.topic(topic).scan(end=end).ranges) for end in starts])
    between = client.topic(topic).scan(start=moment, end=moment + dt.timedelta(seconds=9), columns=["offset", "key"])
    found.append([rows(between), between.count()])
    parts = client.topic(topic).scan(columns=["partition", "offset"]).splits(4)
    found.append([[told(part.ranges), rows(part)] for part in parts])
    found.append(rows(client.topic(topic).scan(start=3, limit=4, partitions=[2, 0], batch_rows=3)))
    client.close()
    return found


@side_by_side
def test_values_are_decoded_alike(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "scan-json")
    values = [{"carrier": "UA", "delay": 2.5, "stops": ["EWR", "IAH"]}, {"carrier": "AA", "at": {"gate": 7}}, {}]
    producer = Producer({**at(bootstrap), "compression.type": "zstd", "linger.ms": 50})
    for n, value in enumerate(values):
        producer.produce(topic, json.dumps(value), (n).to_bytes(8, "big"), timestamp=FIRST)
    producer.produce(topic, b'{"carrier": ', b"short", timestamp=FIRST)
    producer.produce(topic, None, None, timestamp=FIRST)
    assert producer.flush(30) == 0
    client = sl.connect(bootstrap)
    scanned = client.topic(topic)
    inferred = scanned.scan(value="json", errors="column", columns=["offset", "value"])
    schema = pa.schema([("delay", pa.decimal128(10, 2)), ("carrier", pa.string())])
    typed = scanned.scan(key="int64", value="json", schema=schema, errors="null", columns=["key", "value"])
    found = [str(inferred.schema), rows(inferred), str(typed.schema), rows(typed)]
    for wrong in ({"key": "int64"}, {"value": "json", "schema": schema}):
        try:
            scanned.scan(**wrong).to_pyarrow()
        except sl.KafkaError as error:
            found.append([type(error).__name__, str(error)])
    client.close()
    return found


@side_by_side
def test_what_is_gone_is_told(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "scan-gone")
    fill(bootstrap, topic, 20)
    client = sl.connect(bootstrap)
    before = client.topic(topic).scan(columns=["offset", "value"])
    admin = AdminClient(at(bootstrap))
    for future in admin.delete_records([TopicPartition(topic, 0, 8)]).values():
        future.result(20)
    found = []
    for read in (before.to_pyarrow, before.count):
        try:
            read()
        except sl.KafkaError as error:
            found.append([type(error).__name__, str(error)])
    after = client.topic(topic).scan(columns=["offset", "value"])
    found += [told(after.ranges), rows(after), after.count(), told(client.topic(topic).scan(start=2, end=10).ranges)]
    try:
        client.topic("scan-nowhere").scan()
    except sl.KafkaError as error:
        found.append([type(error).__name__, str(error)])
    client.close()
    return found


def test_read_committed_leaves_out_what_is_open_or_was_aborted(kafka: Broker) -> None:
    """Our broker serves no transactions yet, so Apache Kafka plays alone."""
    topic = create(kafka.bootstrap, "scan-transactions")
    transact(kafka.bootstrap, topic)
    client = sl.connect(kafka.bootstrap)
    scans = {
        isolation: client.topic(topic).scan(columns=["value"], value="utf8", isolation=isolation)
        for isolation in ("read_uncommitted", "read_committed")
    }
    values = {isolation: scan.to_pyarrow().column(0).to_pylist() for isolation, scan in scans.items()}
    assert {isolation: scan.count() for isolation, scan in scans.items()} == {
        isolation: len(found) for isolation, found in values.items()
    }
    told = [f"{end} {n}" for end in ("commit", "abort", "open") for n in range(3)] + [f"plain {n}" for n in range(3)]
    assert sorted(values["read_uncommitted"]) == sorted(told)
    assert values["read_committed"] == ["commit 0", "commit 1", "commit 2", "plain 0", "plain 1"]
    client.close()
