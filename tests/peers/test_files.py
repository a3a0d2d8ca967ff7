"""The files on disk: Kafka's dump tool reads ours as it reads its own, and our broker takes over what Kafka wrote."""

import re
import shutil
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from support import wire
from support.brokers import Broker, Missing, start_kafka, start_strandline
from support.compare import Stage, Transcript, absent, difference, lines
from support.tools import Tools
from support.topics import at, create, fill, wake_groups
from support.wire import ask, batch, record, request

TIME = 1_600_000_000_000


def dump(tools: Tools, *files: Path, options: tuple[str, ...] = ()) -> list[str]:
    """What the dump tool tells of files, paths taken out; it must find nothing wrong."""
    ran = tools.java("dump-log", "--files", ",".join(map(str, files)), *options).ok()
    told = ran.out + ran.err
    wrong = [
        line for line in told.splitlines() if re.search(r"mismatch|corrupt|invalid|exception|could not", line, re.I)
    ]
    wrong = [line for line in wrong if "isvalid: true" not in line]
    assert not wrong, "\n".join(wrong)
    folders = {str(file.parent) for file in files}
    for folder in folders:
        told = told.replace(folder, "DIR")
    return told.splitlines()


def files_of(broker: Broker, topic: str, *suffixes: str) -> list[Path]:
    """The files of partition 0 of a topic."""
    found = sorted((broker.data_dir / f"{topic}-0").iterdir())
    return [path for path in found if path.suffix in suffixes]


def send(broker: Broker, topic: str, data: bytes) -> None:
    """Append batches made by hand, so that every byte of the log is known."""
    for _ in range(50):
        told = wire.produced(ask(broker.bootstrap, request(wire.PRODUCE, 7, wire.produce(topic, data))))
        assert isinstance(told, list), told
        # A topic is made on Apache Kafka a moment before its broker has heard of it: that is no answer yet.
        if told[0][1] != 3:
            break
    assert told[0][1] == 0, told


def compare(stage: Stage, told: list[Transcript]) -> None:
    """Fail where the brokers' transcripts differ; print the one of a broker that plays alone."""
    if len(told) == 1:
        print("\n" + "\n".join(lines(told[0])))
    elif told[0] != told[1]:
        pytest.fail(difference(told[0], told[1], *(broker.name for broker in stage.brokers)), pytrace=False)


def test_the_log_is_told_alike_to_the_byte(stage: Stage) -> None:
    told: list[Transcript] = []
    for broker in stage.brokers:
        create(broker.bootstrap, "file-log")
        send(
            broker,
            "file-log",
            batch([record(0, b"k", b"v"), record(1, None, b"w", 5)], timestamp=TIME, max_timestamp=TIME + 5),
        )
        send(broker, "file-log", batch([record(0, b"k", None)], timestamp=TIME + 1))
        for sequence in range(7):
            data = batch(
                [record(0, b"k", b"%d" % sequence)],
                timestamp=TIME,
                producer_id=4242,
                producer_epoch=3,
                sequence=sequence,
            )
            send(broker, "file-log", data)
        options = ("--print-data-log", "--deep-iteration")
        told.append(dump(stage.tools, *files_of(broker, "file-log", ".log"), options=options))
    compare(stage, told)


def test_segments_and_indexes_hold(stage: Stage) -> None:
    """Several segments with their indexes and snapshots, written by a client of the usual kind."""
    told: list[Transcript] = []
    for broker in stage.brokers:
        create(broker.bootstrap, "file-segments", segment_bytes="1048576", index_interval_bytes="4096")
        for n in range(400):
            records = [record(m, b"%d" % m, bytes(1000)) for m in range(8)]
            send(
                broker,
                "file-segments",
                batch(records, timestamp=TIME + n, producer_id=4243, producer_epoch=0, sequence=8 * n),
            )
        folder = broker.data_dir / "file-segments-0"
        logs = files_of(broker, "file-segments", ".log")
        assert len(logs) >= 3, logs
        shown = [path.name for path in logs]
        dump(stage.tools, *logs)
        closed = {path.stem for path in logs[:-1]}
        indexes = [path for path in files_of(broker, "file-segments", ".index", ".timeindex") if path.stem in closed]
        dump(stage.tools, *indexes, options=("--index-sanity-check",))
        for path in indexes:
            dump(stage.tools, path)
        snapshots = files_of(broker, "file-segments", ".snapshot")
        producers = [
            [re.sub(r"(lastTimestamp|currentTxnFirstOffset): \S+", r"\1", line) for line in dump(stage.tools, path)]
            for path in snapshots
        ]
        epochs = (folder / "leader-epoch-checkpoint").read_text().split()
        told.append([shown, [path.name for path in snapshots], producers, epochs])
    compare(stage, told)


def test_groups_are_kept_in_kafkas_record_format(stage: Stage) -> None:
    told: list[Transcript] = []
    for broker in stage.brokers:
        topic = create(broker.bootstrap, "file-groups", 2)
        settings = {**at(broker.bootstrap), "group.id": "file-groups", "enable.auto.commit": False}
        consumer = Consumer({**settings, "client.id": "teller", "partition.assignment.strategy": "range"})
        consumer.subscribe([topic])
        while not consumer.assignment():
            consumer.poll(0.1)
        consumer.commit(offsets=[TopicPartition(topic, 1, 7, metadata="a note")], asynchronous=False)
        consumer.close()
        admin = AdminClient(at(broker.bootstrap))
        admin.delete_consumer_groups(["file-groups"])["file-groups"].result(20)
        logs = [path for path in broker.data_dir.glob("__consumer_offsets-*/*.log") if path.stat().st_size]
        (log,) = [path for path in logs if b"file-groups" in path.read_bytes()]
        lines = dump(stage.tools, log, options=("--offsets-decoder",))
        payloads = [line[line.index("key:") :] for line in lines if "file-groups" in line and "key:" in line]
        told.append([log.parent.name, *map(timeless, payloads)])
    compare(stage, told)


def timeless(line: str) -> str:
    """A payload without its times, member ids and topic ids."""
    line = re.sub(r'"topicId":"[^"]{22}"', '"topicId":"ID"', line)
    line = re.sub(r'("?\w*[tT]imestamp"?[:=])\d+', r"\1T", line)
    return re.sub(r"teller-[0-9a-f-]{36}", "teller-ID", line)


def taken_over(bootstrap: str, tools: Tools) -> Transcript:
    """All that a client finds on a broker which `furnish` furnished."""
    form = "%p %o %T %k %s %h\n"
    found: dict[str, object] = {}
    for topic in ("old-none", "old-gzip", "old-snappy", "old-lz4", "old-zstd", "old-cut"):
        found[topic] = (
            tools.kcat("-b", bootstrap, "-C", "-t", topic, "-e", "-q", "-o", "beginning", "-f", form).ok().lines
        )
    described = tools.java("topics", "--bootstrap-server", bootstrap, "--describe", "--topic", "old-.*").ok()
    found["topics"] = [re.sub(r"min\.insync\.replicas=1,?", "", line) for line in described.lines]
    found["groups"] = tools.java("groups", "--bootstrap-server", bootstrap, "--describe", "--group", "old").ok().lines
    found["times"] = tools.java(
        "get-offsets", "--bootstrap-server", bootstrap, "--topic", "old-.*", "--time", "1600000003500"
    ).lines
    return found


def furnish(bootstrap: str, tools: Tools) -> None:
    """Topics with every codec, one whose first records are deleted, and a group with offsets."""
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        create(bootstrap, f"old-{codec}", 2, retention_ms="-1")
        lines = "".join(f"k{n}:value {n}\n" for n in range(50)).encode()
        tools.kcat("-b", bootstrap, "-P", "-t", f"old-{codec}", "-K:", "-z", codec, "-H", "h=1", stdin=lines).ok()
    fill(bootstrap, create(bootstrap, "old-cut", retention_ms="-1"), 20)
    admin = AdminClient(at(bootstrap))
    for future in admin.delete_records([TopicPartition("old-cut", 0, 8)]).values():
        future.result(20)
    wake_groups(bootstrap)
    consumer = Consumer({**at(bootstrap), "group.id": "old"})
    consumer.commit(offsets=[TopicPartition("old-zstd", n, 5 + n, metadata="here") for n in (0, 1)], asynchronous=False)
    consumer.close()


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_our_broker_takes_over_what_kafka_wrote(end: str, folder: Path, stage: Stage) -> None:
    home = folder / f"old-{end}"
    try:
        kafka = start_kafka(home)
    except Missing as missing:
        absent(missing)
    try:
        furnish(kafka.bootstrap, stage.tools)
        before = taken_over(kafka.bootstrap, stage.tools)
    finally:
        kafka.stop() if end == "stopped" else kafka.kill()
    assert len(before["old-none"]) == 50
    assert [line.split()[1] for line in before["old-cut"]] == [str(n) for n in range(8, 20)]
    if all(broker.name != "strandline" for broker in stage.brokers):
        print("\n" + "\n".join(lines(before)))
        return
    copy = shutil.copytree(kafka.data_dir, home / "copy")
    ours = start_strandline(home, data_dir=copy)
    try:
        after = taken_over(ours.bootstrap, stage.tools)
    finally:
        ours.stop()
    if end == "killed":
        # Where deleted records end is written down once a minute: a broker that is killed before forgets it.
        for found in (before, after):
            del found["old-cut"], found["times"]
    if before != after:
        pytest.fail(difference(before, after, "Apache Kafka", "strandline on its files"), pytrace=False)


def test_kafkas_tool_reads_a_snapshot_of_our_metadata(folder: Path, stage: Stage) -> None:
    """Written when the last one is old; the broker is one of its own, for it is told to be quick."""
    if all(broker.name != "strandline" for broker in stage.brokers):
        pytest.skip("STRANDLINE_PEERS=kafka leaves our broker out")
    ours = start_strandline(folder / "snapshot", {"metadata.log.max.snapshot.interval.ms": "200"})
    try:
        create(ours.bootstrap, "snapshot", 3, retention_ms="1234")
        home = ours.data_dir / "__cluster_metadata-0"
        deadline = time.monotonic() + 30
        while not (found := sorted(home.glob("*.checkpoint"))) or b"snapshot" not in found[-1].read_bytes():
            assert time.monotonic() < deadline, f"no snapshot was written: {list(home.iterdir())}"
        told = dump(stage.tools, found[-1], options=("--cluster-metadata-decoder",))
    finally:
        ours.stop()
    shown = "\n".join(told)
    assert "SnapshotHeader" in shown, shown
    assert "SnapshotFooter" in shown, shown
    kinds = re.findall(r'"type":"(\w+)"', shown)
    assert kinds[0] == "FEATURE_LEVEL_RECORD", shown
    assert kinds.count("PARTITION_RECORD") == 3, shown
    assert '"name":"retention.ms","value":"1234"' in shown, shown
