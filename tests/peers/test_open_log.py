"""Apache Kafka's data dir, read without a broker: the tables are those that its broker gave, and nothing is changed."""

import datetime as dt
import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import strandline as sl
from support.brokers import Broker, Missing, start_kafka
from support.compare import absent
from support.scans import CODECS, FIRST, OPEN, produce, transact
from support.topics import at, create, fill


def listing(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every name in a folder with its size, the time it was last written, and what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        held = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns, held)
    return found


def furnish(kafka: Broker) -> list[str]:
    """Topics with every codec, several segments, transactions, and one whose first records are deleted."""
    topics = []
    for codec in CODECS:
        topics.append(create(kafka.bootstrap, f"dir-{codec}", 2, retention_ms="-1"))
        produce(kafka.bootstrap, topics[-1], codec, 60, partitions=2)
    topics.append(create(kafka.bootstrap, "dir-segments", segment_bytes="1048576", retention_ms="-1"))
    producer = Producer({**at(kafka.bootstrap), "batch.size": 16_384, "linger.ms": 1})
    for n in range(4_000):
        producer.produce(topics[-1], bytes(1_000), f"k{n}", timestamp=FIRST + n * 1_000)
    assert producer.flush(60) == 0
    topics.append(create(kafka.bootstrap, "dir-transactions", retention_ms="-1"))
    transact(kafka.bootstrap, topics[-1])
    topics.append(create(kafka.bootstrap, "dir-cut", retention_ms="-1"))
    fill(kafka.bootstrap, topics[-1], 20)
    admin = AdminClient(at(kafka.bootstrap))
    for future in admin.delete_records([TopicPartition("dir-cut", 0, 8)]).values():
        future.result(20)
    return topics


def tables(topic: sl.Topic | sl.DataDirTopic) -> list[object]:
    """All that a topic gives, by each way in."""
    found: list[object] = []
    for isolation in ("read_uncommitted", "read_committed"):
        scan = topic.scan(isolation=isolation)
        found += [scan.ranges, scan.count(), pa.table(scan)]
    for seconds in (0, 7, 1_500, 3_999, 5_000):
        start = dt.datetime.fromtimestamp(FIRST / 1000 + seconds, dt.timezone.utc)
        scan = topic.scan(start=start, limit=3, columns=["partition", "offset", "timestamp", "key"])
        found += [scan.ranges, scan.to_pyarrow()]
    scan = topic.scan(start=2_345, end=2_350, columns=["offset", "key"])
    found += [scan.ranges, scan.to_pyarrow()]
    return found


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_what_kafka_wrote_is_read_as_its_broker_gave_it(end: str, folder: Path) -> None:
    try:
        kafka = start_kafka(folder / f"dir-{end}")
    except Missing as missing:
        absent(missing)
    try:
        topics = furnish(kafka)
        client = sl.connect(kafka.bootstrap)
        given = {name: tables(client.topic(name)) for name in topics}
        client.close()
        with pytest.raises(sl.errors.KafkaStorageError, match=f"in use by the broker of process {kafka.process.pid},"):
            sl.open_log(kafka.data_dir)
    finally:
        OPEN.clear()
        kafka.stop() if end == "stopped" else kafka.kill()
    assert len(list((kafka.data_dir / "dir-segments-0").glob("*.log"))) >= 3
    before = listing(kafka.data_dir)
    data = sl.open_log(kafka.data_dir)
    assert set(topics) <= set(data.topics())
    for name in topics:
        if (end, name) == ("killed", "dir-cut"):
            # Where deleted records end is written down once a minute: a broker that is killed before forgets it.
            continue
        topic = data.topic(name)
        assert (name, topic.notes) == (name, [])
        assert tables(topic) == given[name], name
    assert "closed cleanly" in repr(data)
    assert ("not closed cleanly" in repr(data)) == (end == "killed")
    assert listing(kafka.data_dir) == before
