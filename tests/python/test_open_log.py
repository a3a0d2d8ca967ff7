"""The data dir of a broker that has stopped, read as tables, and left as it is."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import strandline as sl

T0 = 1_357_000_000_000
BINARY = os.environ.get("STRANDLINE_BIN") or str(Path(sys.executable).parent / "strandline")


def listing(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every name in a folder with its size, the time it was last written, and what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        held = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns, held)
    return found


def fill(client: sl.Cluster | sl.Client, count: int = 300) -> None:
    """Three partitions, each codec in turn."""
    client.create_topic("flights", partitions=3)
    for turn, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        with client.producer(compression_type=codec, linger_ms=5) as producer:
            for n in range(turn * count // 5, (turn + 1) * count // 5):
                value = None if n % 7 == 0 else json.dumps({"n": n, "carrier": "UA" if n % 2 else "AA"})
                headers = {"n": str(n)} if n % 3 == 0 else None
                producer.send("flights", value, key=f"k{n}", partition=n % 3, timestamp=T0 + n * 1000, headers=headers)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """The data dir of a cluster that was closed, and what its topic held while it ran."""
    folder = tmp_path_factory.mktemp("stopped")
    with sl.Cluster(folder, log_segment_bytes=1 << 20) as cluster:
        fill(cluster)
        return folder, cluster.topic("flights").scan().to_pyarrow()


def test_a_stopped_broker_s_topics_are_tables_as_they_were(stopped: tuple[Path, pa.Table]) -> None:
    folder, table = stopped
    before = listing(folder)
    data = sl.open_log(folder)
    assert data.path == folder
    assert data.topics() == ["flights"]
    assert "__cluster_metadata" in data.topics(internal=True)
    topic = data.topic("flights")
    assert (topic.name, topic.record_count, topic.notes) == ("flights", 300, [])
    assert topic.ranges == {0: (0, 100), 1: (0, 100), 2: (0, 100)}
    scan = topic.scan()
    assert scan.to_pyarrow() == table
    assert scan.count() == 300
    assert topic.scan(start=T0_ISO, partitions=[1]).ranges == {1: (10, 100)}
    columns = topic.scan(value="json", columns=["offset", "carrier"], partitions=[0], end=3).to_polars()
    assert columns.rows() == [(0, None), (1, "UA"), (2, "AA")]
    assert [row for part in scan.splits(4) for row in part.to_pyarrow().to_pylist()] == table.to_pylist()
    assert listing(folder) == before


# Thirty seconds behind the first record: ten offsets of each partition.
T0_ISO = "2013-01-01T00:27:10Z"


def test_they_tell_what_they_are(stopped: tuple[Path, pa.Table]) -> None:
    data = sl.open_log(stopped[0])
    assert repr(data) == f"DataDir '{stopped[0]}': 1 topic, 3 partitions, of node 1, closed cleanly"
    topic = data.topic("flights")
    assert re.fullmatch(r"Topic 'flights' in a data dir: 3 partitions, 300 records, \d+\.\d kB", repr(topic))
    assert topic.size > 1000


def test_a_table_outlives_the_folder(tmp_path: Path) -> None:
    with sl.Cluster(tmp_path / "data") as cluster:
        fill(cluster)
        expected = cluster.topic("flights").scan(binary="view").to_pyarrow()
    data = sl.open_log(tmp_path / "data")
    table = pa.table(data.topic("flights").scan())
    for path in sorted((tmp_path / "data").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert table == expected


def test_after_kill_the_last_whole_batch_is_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout
        found = re.search(r"(\S+:\d+)", broker.stdout.readline())
        assert found
        client = sl.connect(found[1])
        fill(client)
        table = client.topic("flights").scan(binary="view").to_pyarrow()
        with pytest.raises(sl.errors.KafkaStorageError, match=f"in use by the broker of process {broker.pid},"):
            sl.open_log(folder)
        client.close()
        broker.send_signal(signal.SIGKILL)
    before = listing(folder)
    topic = sl.open_log(folder).topic("flights")
    assert (pa.table(topic.scan()), topic.notes) == (table, [])
    assert "not closed cleanly" in repr(sl.open_log(folder))
    assert listing(folder) == before

    # A write that was cut short, as a loss of power leaves it.
    (log,) = (folder / "flights-1").glob("*.log")
    whole = log.read_bytes()
    log.write_bytes(whole + whole[:70])
    before = listing(folder)
    topic = sl.open_log(folder).topic("flights")
    assert pa.table(topic.scan()) == table
    (note,) = topic.notes
    assert re.match(rf"flights-1: .* is good up to byte {len(whole)} of {len(whole) + 70}, offset 100: ", note), note
    assert repr(topic).endswith(", damaged: see its notes")
    assert listing(folder) == before


def test_what_cannot_be_opened_is_told(tmp_path: Path, stopped: tuple[Path, pa.Table], cluster: sl.Cluster) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sl.open_log(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"is no data dir: it has neither a meta\.properties"):
        sl.open_log(tmp_path)
    with pytest.raises(ValueError, match="it is a partition's folder"):
        sl.open_log(stopped[0] / "flights-0")
    with pytest.raises(sl.errors.KafkaStorageError, match=f"in use by the broker of process {os.getpid()},"):
        sl.open_log(cluster.data_dir)
    data = sl.open_log(stopped[0])
    with pytest.raises(sl.errors.UnknownTopicOrPartitionError, match=r"topic trains: .* has flights"):
        data.topic("trains")
    with pytest.raises(ValueError, match="only a running cluster tells what a group committed"):
        data.topic("flights").scan(start=sl.committed("group"))
    with pytest.raises(ValueError, match="has no partition 7"):
        data.topic("flights").scan(partitions=[7])
