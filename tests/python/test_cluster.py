"""A cluster's life in this process."""

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

import strandline as sl


def strandline_threads() -> int:
    """How many threads of ours this process has; those that wait for blocking work come and go."""
    count = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += (task / "comm").read_text().startswith("strandline")
    return count


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_readme_s_first_lines_work() -> None:
    with sl.Cluster() as cluster:
        cluster.create_topic("flights", partitions=4)
        with cluster.producer(acks="all") as producer:
            producer.send("flights", key=b"UA", value=b"EWR-IAH")
        for message in cluster.consumer("flights", group_id="g", auto_offset_reset="earliest"):
            assert (message.key, message.value) == (b"UA", b"EWR-IAH")
            break


def test_a_temporary_data_dir_goes_away() -> None:
    with sl.Cluster() as cluster:
        cluster.create_topic("t")
        assert cluster.data_dir.is_dir()
        assert str(cluster.data_dir) in repr(cluster)
    assert not cluster.data_dir.exists()
    assert "closed" in repr(cluster)


def test_a_data_dir_that_is_named_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with sl.Cluster(folder) as cluster:
        cluster.create_topic("t", partitions=2)
        with cluster.producer() as producer:
            producer.send("t", b"kept", partition=1)
        assert cluster.data_dir == folder
    assert (folder / "t-1").is_dir()
    with (
        sl.Cluster(folder) as cluster,
        cluster.consumer("t", auto_offset_reset="earliest", stop_at_end=True) as consumer,
    ):
        assert [(message.partition, message.value) for message in consumer] == [(1, b"kept")]


def test_a_data_dir_in_use_is_refused(tmp_path: Path) -> None:
    with sl.Cluster(tmp_path) as cluster:
        with pytest.raises(sl.KafkaError, match=str(tmp_path)):
            sl.Cluster(tmp_path)
        cluster.create_topic("still-well")


def test_it_listens_where_it_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with sl.Cluster(listen=f"127.0.0.1:{port}") as cluster:
        assert cluster.bootstrap_servers == f"127.0.0.1:{port}"
        with pytest.raises(OSError, match=str(port)):
            sl.Cluster(listen=f"127.0.0.1:{port}")


def test_broker_keys_are_keywords() -> None:
    with sl.Cluster(num_partitions=3, config={"log.retention.ms": 1000}) as cluster:
        with cluster.producer() as producer:
            assert producer.partitions_for("made-by-asking") == [0, 1, 2]
        topic = cluster.create_topic("t")
        assert topic.configs()["retention.ms"].value == "1000"


def test_a_client_elsewhere_gives_the_same(cluster: sl.Cluster, topic: sl.Topic) -> None:
    with sl.connect([cluster.bootstrap_servers], client_id="test") as client:
        with client.producer() as producer:
            producer.send(topic.name, b"v")
        with client.consumer(topic.name, auto_offset_reset="earliest", stop_at_end=True) as consumer:
            assert [message.value for message in consumer] == [b"v"]
        assert topic.name in client.admin().list_topics()
        assert client.topic(topic.name).record_count == 1
        assert cluster.bootstrap_servers in repr(client)


def test_a_closed_cluster_says_so() -> None:
    cluster = sl.Cluster()
    producer = cluster.producer()
    cluster.close()
    cluster.close()
    with pytest.raises(sl.errors.ClosedError):
        cluster.create_topic("t")
    with pytest.raises(sl.errors.ClosedError):
        producer.send("t", b"v")


def test_closing_ends_a_consumer_that_waits() -> None:
    cluster = sl.Cluster()
    consumer = cluster.consumer("t")
    ended: list[BaseException] = []
    begun = threading.Event()

    def read() -> None:
        begun.set()
        try:
            for _ in consumer:
                pass
        except sl.KafkaError as error:
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    begun.wait()
    cluster.close()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(ended[0], sl.errors.ClosedError)


def test_a_producer_keeps_its_cluster_alive() -> None:
    producer = sl.Cluster().producer()
    assert producer.send("t", b"v").result(timeout=30).offset == 0
    producer.close()


def test_fifty_clusters_leave_nothing_behind() -> None:
    def live() -> None:
        with sl.Cluster() as cluster:
            cluster.create_topic("t", partitions=2)
            with cluster.producer() as producer:
                producer.send("t", b"v").result(timeout=30)
            with cluster.consumer("t", group_id="g", auto_offset_reset="earliest") as consumer:
                assert next(iter(consumer)).value == b"v"

    for _ in range(3):
        live()
    files, threads = open_files(), strandline_threads()
    for _ in range(50):
        live()
    assert open_files() <= files + 3
    assert strandline_threads() <= threads + 4
