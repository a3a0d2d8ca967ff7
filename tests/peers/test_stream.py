"""Topics that are followed: what `sl.connect(...).topic(...).stream(...)` hands out from either broker."""

from confluent_kafka import Consumer, TopicPartition

import strandline as sl
from support.brokers import Broker
from support.compare import Transcript, side_by_side
from support.scans import CODECS, produce, told, transact
from support.tools import Tools
from support.topics import at, create, fill, wake_groups


def read(stream: sl.Stream, count: int) -> list[dict[str, object]]:
    """So many rows, by partition: how they lie between partitions is chance."""
    rows: list[dict[str, object]] = []
    while len(rows) < count:
        rows += next(stream).to_pylist()
    return sorted(rows, key=lambda row: (row["partition"], row["offset"]))


@side_by_side
def test_every_codec_and_every_kind_of_record(bootstrap: str, _tools: Tools) -> Transcript:
    found = []
    client = sl.connect(bootstrap)
    for codec in CODECS:
        topic = client.topic(create(bootstrap, f"stream-{codec}", 3))
        with topic.stream(max_wait=0, batch_rows=25) as stream:
            produce(bootstrap, topic.name, codec, 90, partitions=3)
            rows = read(stream, 90)
        assert rows == topic.scan().to_pyarrow().to_pylist()
        found.append([str(stream.schema), [told(list(row.values())) for row in rows[:12]]])
    client.close()
    return found


@side_by_side
def test_a_group_goes_on_where_it_was(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "stream-group", 2)
    for partition in range(2):
        fill(bootstrap, topic, 20, partition)
    wake_groups(bootstrap)

    def committed() -> list[int]:
        consumer = Consumer({**at(bootstrap), "group.id": "stream-group"})
        offsets = consumer.committed([TopicPartition(topic, partition) for partition in range(2)], timeout=20)
        consumer.close()
        return [found.offset for found in offsets]

    client = sl.connect(bootstrap)
    options = {"value": "utf8", "columns": ["partition", "offset", "value"], "group_id": "stream-group", "max_wait": 0}
    seen = [committed()]
    with client.topic(topic).stream("earliest", **options) as stream:
        seen.append(read(stream, 40))
        stream.commit()
        seen.append(committed())
        fill(bootstrap, topic, 5)
        seen.append(read(stream, 5))
    # What was handed out last was not asked to be committed.
    seen.append(committed())
    with client.topic(topic).stream("latest", **options) as stream:
        seen.append(read(stream, 5))
        while stream.poll(timeout=0.1) is not None:
            pass
    seen.append(committed())
    client.close()
    return seen


@side_by_side
def test_what_is_gone_is_told(bootstrap: str, _tools: Tools) -> Transcript:
    topic = create(bootstrap, "stream-gone")
    fill(bootstrap, topic, 20)
    client = sl.connect(bootstrap, metadata_max_age_ms=100)
    found: list[object] = []
    with client.topic(topic).stream(5, columns=["offset"], max_wait=0) as stream:
        while stream.poll(timeout=0.05) is not None:
            pass
        client.topic(topic).delete()
        try:
            next(stream)
        except sl.KafkaError as error:
            found.append([type(error).__name__, str(error)])
    client.close()
    return found


def test_read_committed_hands_out_what_was_committed(kafka: Broker) -> None:
    """Our broker serves no transactions yet, so Apache Kafka plays alone."""
    topic = create(kafka.bootstrap, "stream-transactions")
    transact(kafka.bootstrap, topic)
    client = sl.connect(kafka.bootstrap)
    options = {"columns": ["value"], "value": "utf8", "max_wait": 0, "isolation": "read_committed"}
    found: list[str] = []
    with client.topic(topic).stream("earliest", **options) as stream:
        while len(found) < 5:
            found += next(stream)["value"].to_pylist()
        assert stream.poll(timeout=0.2) is None
    assert found == ["commit 0", "commit 1", "commit 2", "plain 0", "plain 1"]
    client.close()
