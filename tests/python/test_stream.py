"""Topics that are followed: batches as records arrive, alone and as a member of a group."""

import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

import strandline as sl

GROUPS = itertools.count()


@pytest.fixture
def producer(cluster: sl.Cluster) -> Iterator[sl.Producer]:
    with cluster.producer() as producer:
        yield producer


@pytest.fixture
def group() -> str:
    return f"stream-{next(GROUPS)}"


def send(producer: sl.Producer, topic: sl.Topic, *values: str, partition: int | None = None) -> None:
    for value in values:
        producer.send(topic.name, value, partition=partition)
    producer.flush()


def values(batch: pa.RecordBatch | None) -> list[str]:
    assert batch is not None
    found: list[str] = batch["value"].to_pylist()
    return found


def follow(topic: sl.Topic, **options: object) -> sl.Stream:
    """A stream of values that hands out what is there."""
    return topic.stream(**{"value": "utf8", "max_wait": 0, **options})


def committed(cluster: sl.Cluster, group: str) -> dict[int, int]:
    return {name.partition: at.offset for name, at in cluster.admin().list_offsets(group).items()}


def test_batches_come_as_records_do(topic: sl.Topic, producer: sl.Producer) -> None:
    send(producer, topic, "before")
    with follow(topic, columns=["offset", "value"]) as stream:
        for number in range(3):
            send(producer, topic, str(number))
            assert next(stream).to_pylist() == [{"offset": number + 1, "value": str(number)}]
        assert stream.poll(timeout=0) is None
        assert stream.assignment() == [(topic.name, 0)]


@pytest.mark.parametrize("binary", ["auto", "view", "large", "small"])
def test_rows_are_those_of_a_scan(cluster: sl.Cluster, topic: sl.Topic, binary: str) -> None:
    with cluster.producer(compression_type="zstd") as producer:
        for n in range(500):
            headers = {"n": str(n).encode()} if n % 3 else None
            value = f"a value that is longer than a view holds by itself {n}" if n % 7 else None
            producer.send(topic.name, value, key=f"k{n}" if n % 5 else b"", headers=headers)
    options = {"key": "utf8", "binary": binary}
    scan = topic.scan(**options)
    with topic.stream("earliest", max_wait=0, **options) as stream:
        assert stream.schema.names == stream.columns == scan.columns
        batches = []
        while sum(batch.num_rows for batch in batches) < 500:
            batches.append(next(stream))
    assert {batch.schema for batch in batches} == {stream.schema}
    if binary in ("auto", "large", "small"):
        assert stream.schema == scan.schema
    assert [row for batch in batches for row in batch.to_pylist()] == scan.to_pyarrow().to_pylist()


def test_rows_and_time_bound_a_batch(topic: sl.Topic, producer: sl.Producer) -> None:
    send(producer, topic, *map(str, range(10)))
    # Nobody waits a day: a full batch does not, and neither does one whose reader will not.
    with follow(topic, start="earliest", batch_rows=4, max_wait=86_400) as stream:
        assert [values(next(stream)) for _ in range(2)] == [["0", "1", "2", "3"], ["4", "5", "6", "7"]]
        assert values(stream.poll(timeout=0.5)) == ["8", "9"]


def test_partitions_keep_their_order(new_topic: Callable[..., sl.Topic], producer: sl.Producer) -> None:
    topic = new_topic(partitions=3)
    for n in range(300):
        producer.send(topic.name, str(n), partition=n % 3)
    producer.flush()
    found: dict[int, list[int]] = {0: [], 1: [], 2: []}
    with follow(topic, start="earliest", batch_rows=50) as stream:
        while sum(map(len, found.values())) < 300:
            batch = next(stream)
            assert batch.num_rows <= 50
            for row in batch.to_pylist():
                found[row["partition"]].append(int(row["value"]))
    assert found == {p: list(range(p, 300, 3)) for p in range(3)}


def test_it_starts_where_it_is_told_and_reads_what_it_is_told(
    new_topic: Callable[..., sl.Topic], producer: sl.Producer
) -> None:
    topic = new_topic(partitions=2)
    for partition in range(2):
        send(producer, topic, *(f"{partition}-{n}" for n in range(5)), partition=partition)
    for start, partitions, expected in [
        ({0: 3, 1: 4}, None, {"0-3", "0-4", "1-4"}),
        (3, [1], {"1-3", "1-4"}),
        ("2000-01-01", [0], {f"0-{n}" for n in range(5)}),
    ]:
        found: set[str] = set()
        with follow(topic, start=start, partitions=partitions) as stream:
            while found != expected:
                found |= set(values(next(stream)))
                assert found <= expected


def test_json_takes_its_fields_from_what_the_topic_has(topic: sl.Topic, producer: sl.Producer) -> None:
    with pytest.raises(ValueError, match="no record is a JSON object to tell its fields"):
        topic.stream(value="json")
    send(producer, topic, '{"carrier": "UA", "delay": 2.5}')
    with topic.stream(value="json", columns=["offset", "value"], max_wait=0) as stream:
        send(producer, topic, '{"carrier": "AA", "delay": 1}')
        assert next(stream).to_pylist() == [{"offset": 1, "carrier": "AA", "delay": 1.0}]


def test_what_cannot_be_decoded_is_told_and_not_skipped(
    cluster: sl.Cluster, topic: sl.Topic, producer: sl.Producer, group: str
) -> None:
    producer.send(topic.name, b"\xff").result()
    with follow(topic, start="earliest", group_id=group) as stream:
        for _ in range(2):
            with pytest.raises(
                sl.errors.InvalidRecordError, match=r"the value of the record at offset 0 .* is not utf8"
            ):
                next(stream)
    assert committed(cluster, group) == {}
    with follow(topic, start="earliest", errors="null") as stream:
        assert values(next(stream)) == [None]


def test_what_was_handed_out_is_committed_when_more_is_asked_for(
    cluster: sl.Cluster, topic: sl.Topic, producer: sl.Producer, group: str
) -> None:
    send(producer, topic, *"abcdef")
    with follow(topic, start="earliest", group_id=group, batch_rows=2) as stream:
        assert values(next(stream)) == ["a", "b"]
        assert committed(cluster, group) == {}
        assert values(next(stream)) == ["c", "d"]
        assert committed(cluster, group) == {0: 2}
        # It fails in the middle of the second batch.
    with follow(topic, start="latest", group_id=group, batch_rows=3) as stream:
        assert values(next(stream)) == ["c", "d", "e"]
        stream.commit()
        assert committed(cluster, group) == {0: 5}
        assert values(next(stream)) == ["f"]
    assert committed(cluster, group) == {0: 5}
    with follow(topic, group_id=group, commit=False) as stream:
        assert values(next(stream)) == ["f"]
        assert stream.poll(timeout=0) is None
        assert committed(cluster, group) == {0: 5}
        stream.commit()
    assert committed(cluster, group) == {0: 6}


def test_a_group_without_a_commit_begins_where_the_call_was(
    new_topic: Callable[..., sl.Topic], producer: sl.Producer, group: str
) -> None:
    topic = new_topic(partitions=2)
    for partition in range(2):
        send(producer, topic, "before", partition=partition)
    with follow(topic, group_id=group) as stream:
        # It joins with the first poll; what came in between is not lost.
        for partition in range(2):
            send(producer, topic, f"after {partition}", partition=partition)
        found: list[str] = []
        while len(found) < 2:
            found += values(next(stream))
        assert sorted(found) == ["after 0", "after 1"]


def test_members_share_the_partitions_and_nothing_is_lost(
    cluster: sl.Cluster, new_topic: Callable[..., sl.Topic], producer: sl.Producer, group: str
) -> None:
    topic = new_topic(partitions=4)
    sent = 0

    def more() -> None:
        nonlocal sent
        for partition in range(4):
            send(producer, topic, *map(str, range(sent, sent + 20)), partition=partition)
            sent += 20

    found: set[int] = set()
    more()
    with follow(topic, start="earliest", group_id=group, batch_rows=7) as first:
        found |= set(map(int, values(next(first))))
        with follow(topic, start="earliest", group_id=group, batch_rows=7) as second:
            streams = [first, second]
            while {len(stream.assignment()) for stream in streams} != {2}:
                for stream in streams:
                    found |= set(map(int, values(batch))) if (batch := stream.poll(timeout=0.05)) else set()
            more()
            while len(found) < sent:
                for stream in streams:
                    found |= set(map(int, values(batch))) if (batch := stream.poll(timeout=0.05)) else set()
            [told] = cluster.admin().describe_groups([group])
            assert sorted(len(member.assignment) for member in told.members) == [2, 2]
        more()
        while len(found) < sent:
            found |= set(map(int, values(next(first))))
    assert found == set(range(sent))


def test_partitions_that_are_added_are_read_from_their_start(
    cluster: sl.Cluster, topic: sl.Topic, producer: sl.Producer
) -> None:
    client = sl.connect(cluster.bootstrap_servers, metadata_max_age_ms=50)
    with follow(client.topic(topic.name)) as stream, follow(client.topic(topic.name), partitions=[0]) as one:
        cluster.admin().create_partitions(topic.name, 3)
        cluster.producer().send(topic.name, "new", partition=2).result()
        assert values(next(stream)) == ["new"]
        assert [name.partition for name in stream.assignment()] == [0, 1, 2]
        assert one.poll(timeout=0.2) is None
        assert len(one.assignment()) == 1


def test_a_topic_that_is_deleted_is_told(cluster: sl.Cluster, topic: sl.Topic, group: str) -> None:
    client = sl.connect(cluster.bootstrap_servers, metadata_max_age_ms=50)
    with follow(client.topic(topic.name)) as stream, follow(client.topic(topic.name)) as anew:
        assert stream.poll(timeout=0.1) is None
        assert anew.poll(timeout=0.1) is None
        topic.delete()
        with pytest.raises(sl.errors.UnknownTopicOrPartitionError, match="which was followed, is deleted"):
            next(stream)
        cluster.create_topic(topic.name)
        with pytest.raises(sl.errors.UnknownTopicOrPartitionError, match="which was followed, is deleted"):
            next(anew)


def test_what_retention_took_first_is_told(cluster: sl.Cluster, topic: sl.Topic, producer: sl.Producer) -> None:
    # More than is fetched ahead.
    for _ in range(60):
        producer.send(topic.name, b"x" * 100_000)
    producer.flush()
    with topic.stream("earliest", max_wait=0) as stream:
        cluster.admin().delete_records({(topic.name, 0): 59})
        with pytest.raises(sl.errors.OffsetOutOfRangeError, match=rf"records \d+ to 59 of {topic.name}-0 are gone"):
            list(stream)


def test_a_member_goes_on_with_what_retention_left(
    cluster: sl.Cluster, topic: sl.Topic, producer: sl.Producer, group: str
) -> None:
    send(producer, topic, *"abcd")
    cluster.admin().alter_offsets(group, {(topic.name, 0): 1})
    cluster.admin().delete_records({(topic.name, 0): 3})
    with follow(topic, group_id=group) as stream:
        assert values(next(stream)) == ["d"]


def test_closing_ends_an_iteration_and_says_so_otherwise(cluster: sl.Cluster, topic: sl.Topic) -> None:
    stream = follow(topic)
    batches: list[pa.RecordBatch] = []
    reading = threading.Thread(target=lambda: batches.extend(stream))
    reading.start()
    while stream._native.assignment() is not None:
        # It does not wait yet.
        pass
    with pytest.raises(sl.errors.InvalidRequestError, match="another thread is reading this stream"):
        stream.poll(timeout=0)
    stream.close()
    reading.join(20)
    assert (reading.is_alive(), batches, list(stream)) == (False, [], [])
    stream.close()
    for use in (stream.poll, stream.commit):
        with pytest.raises(sl.errors.ClosedError, match="the stream is closed"):
            use()
    assert repr(stream).startswith(f"<Stream of '{topic.name}': closed; partition, offset")


def test_a_cluster_that_is_closed_under_it_is_told() -> None:
    with sl.Cluster() as cluster:
        stream = cluster.create_topic("t").stream()
        ended: list[BaseException] = []

        def read() -> None:
            try:
                next(stream)
            except sl.KafkaError as error:
                ended.append(error)

        reading = threading.Thread(target=read)
        reading.start()
        while stream._native.assignment() is not None:
            pass
    reading.join(20)
    assert [type(error) for error in ended] == [sl.errors.ClosedError]
    with pytest.raises(sl.errors.ClosedError):
        next(stream)


def test_one_that_is_dropped_leaves_its_group(cluster: sl.Cluster, topic: sl.Topic, group: str) -> None:
    stream = follow(topic, group_id=group)
    while not stream.assignment():
        assert stream.poll(timeout=0.05) is None
    assert len(cluster.admin().describe_groups([group])[0].members) == 1
    del stream
    gc.collect()
    # The next member gets the partition without waiting for a session to end.
    with follow(topic, group_id=group) as stream:
        while not stream.assignment():
            stream.poll(timeout=0.05)
        assert len(cluster.admin().describe_groups([group])[0].members) == 1


def test_nothing_is_left_of_those_that_were_closed(topic: sl.Topic) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    topic.latest_offsets()
    before = files()
    for _ in range(60):
        with follow(topic) as stream:
            assert stream.poll(timeout=0) is None
    # The broker, which is in this process, sees the connections end a moment later.
    deadline = time.monotonic() + 20
    while files() > before + 5 and time.monotonic() < deadline:
        os.sched_yield()
    assert files() <= before + 5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_wait": -1}, "max_wait is -1: it must be seconds, at least 0"),
        ({"partitions": [0], "group_id": "g"}, 'partitions are given, and the group "g" shares them out'),
        ({"partitions": [7]}, "has no partition 7"),
        ({"start": "soon"}, "start is 'soon'"),
        ({"batch_rows": 0}, "batch_rows is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(topic: sl.Topic, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        topic.stream(**options)


def test_a_commit_needs_a_group(topic: sl.Topic, producer: sl.Producer) -> None:
    send(producer, topic, "v")
    with follow(topic, start="earliest") as stream:
        assert values(next(stream)) == ["v"]
        with pytest.raises(sl.errors.InvalidRequestError, match=r"group\.id is not set"):
            stream.commit()
        assert repr(stream) == f"<Stream of '{topic.name}': partition, offset, timestamp, key, value, headers>"
