"""Our clients against Apache Kafka with three brokers: topics of six partitions, each on two of them."""

import asyncio
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pytest

import strandline as sl
from support.three import KafkaCluster
from support.topics import create
from support.workers import read_by_workers, three_workers

PARTITIONS = 6


@pytest.fixture
def client(three: KafkaCluster) -> Iterator[sl.Client]:
    with sl.connect(three.bootstrap) as client:
        yield client


def send(client: sl.Client, three: KafkaCluster, name: str, rows: int, width: int = 20) -> sl.Topic:
    """A topic with so many rows, sent as a table, row after row to the next partition."""
    topic = client.topic(create(three.bootstrap, name, PARTITIONS, replicas=2))
    table = pl.DataFrame({"n": range(rows)}).with_columns(
        p=pl.col("n") % PARTITIONS, v=pl.col("n").cast(pl.String).str.pad_start(width, ".")
    )
    with client.producer() as producer:
        sent = producer.send_table(name, table, key="n", value="v", partition="p")
    assert (sent.rows, len(sent.failed), sent.partitions.keys()) == (rows, 0, set(range(PARTITIONS)))
    return topic


def numbers(*tables: pa.Table | pa.RecordBatch) -> list[int]:
    return sorted(n for table in tables for n in table["key"].to_pylist())


def test_leaders_are_on_all_of_them(client: sl.Client, three: KafkaCluster) -> None:
    topic = client.topic(create(three.bootstrap, "three-leaders", PARTITIONS, replicas=2))
    described = topic.describe()
    assert {partition.leader for partition in described.partitions} == {1, 2, 3}
    assert {len(partition.replicas) for partition in described.partitions} == {2}
    assert "6 partitions, 0 records, 0 bytes, replication 2, in sync" in repr(topic)


def test_a_table_is_sent_scanned_split_and_followed(client: sl.Client, three: KafkaCluster) -> None:
    topic = send(client, three, "three-tables", 30_000)
    scan = topic.scan(key="int64", value="utf8")
    table = scan.to_pyarrow()
    assert numbers(table) == list(range(30_000))
    assert [value.lstrip(".") for value in table["value"].to_pylist()] == [str(n) for n in table["key"].to_pylist()]
    assert scan.count() == sum(span.records for span in topic.records_over_time()) == 30_000
    with three_workers() as workers:
        processes, tables = read_by_workers(workers, scan.splits(9))
    assert len(processes) == 3
    assert pa.concat_tables(tables).to_pylist() == table.to_pylist()
    with topic.stream("earliest", key="int64", group_id="three", max_wait=0) as stream:
        batches = []
        while sum(batch.num_rows for batch in batches) < 30_000:
            batches.append(next(stream))
        stream.commit()
    assert numbers(*batches) == list(range(30_000))
    group = client.group("three")
    places = {name.partition: (*lag, lag.records) for name, lag in group.lag().items()}
    assert places == dict.fromkeys(range(PARTITIONS), (5_000, 5_000, 0))


def test_a_broker_stops_in_the_middle_of_a_scan_and_a_stream(client: sl.Client, three: KafkaCluster) -> None:
    # More than is fetched ahead of the first partition alone.
    topic = send(client, three, "three-stopped", 60_000, width=1_000)
    batches = topic.scan(key="int64", batch_rows=1_000).to_batches()
    read = [next(batches)]
    with topic.stream("earliest", key="int64", batch_rows=1_000, max_wait=0) as stream:
        followed = [next(stream)]
        last = topic.describe().partitions[-1].leader
        assert last is not None
        three.stop_cleanly(last)
        try:
            read += batches
            assert numbers(*read) == list(range(60_000))
            # Those that were sent meanwhile come as well.
            with client.producer() as producer:
                late = pl.DataFrame({"n": range(60_000, 60_060), "p": [n % PARTITIONS for n in range(60)], "v": "late"})
                assert producer.send_table(topic.name, late, key="n", value="v", partition="p").rows == 60
            while sum(batch.num_rows for batch in followed) < 60_060:
                followed.append(next(stream))
            assert numbers(*followed) == list(range(60_060))
            assert last not in {partition.leader for partition in topic.describe().partitions}
        finally:
            three.start(last)


def test_what_is_awaited_survives_a_broker_that_stops(three: KafkaCluster) -> None:
    topic = create(three.bootstrap, "three-awaited", PARTITIONS, replicas=2)

    async def play() -> None:
        async with sl.connect(three.bootstrap) as client, client.async_admin() as admin:
            [described] = await admin.describe_topics([topic])
            assert {partition.leader for partition in described.partitions} == {1, 2, 3}
            last = described.partitions[-1].leader
            assert last is not None
            async with (
                client.async_producer(acks="all", enable_idempotence=True) as producer,
                client.async_consumer(topic, group_id="awaited", auto_offset_reset="earliest") as consumer,
            ):
                sends = [producer.send(topic, str(n), partition=n % PARTITIONS) for n in range(3_000)]
                await asyncio.gather(*sends)
                stopping = asyncio.create_task(asyncio.to_thread(three.stop_cleanly, last))
                try:
                    sends = [producer.send(topic, str(n), partition=n % PARTITIONS) for n in range(3_000, 6_000)]
                    await asyncio.gather(*sends)
                    read: dict[int, list[int]] = {}
                    while sum(map(len, read.values())) < 6_000:
                        for message in await consumer.poll(timeout=30):
                            read.setdefault(message.partition, []).append(int(message.value or b""))
                    assert read == {p: list(range(p, 6_000, PARTITIONS)) for p in range(PARTITIONS)}
                    await consumer.commit()
                finally:
                    await stopping
                    await asyncio.to_thread(three.start, last)
            committed = await admin.list_offsets("awaited")
            assert {name.partition: place.offset for name, place in committed.items()} == dict.fromkeys(
                range(PARTITIONS), 1_000
            )

    asyncio.run(play())
