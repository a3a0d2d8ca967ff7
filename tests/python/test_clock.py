"""A cluster whose clock is moved: what takes days happens at once, and no test waits for it."""

import datetime as dt
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import strandline as sl

HOUR = 3_600_000


@pytest.fixture
def cluster() -> Iterator[sl.Cluster]:
    """A cluster whose clock stands still."""
    with sl.Cluster(clock="manual", offsets_topic_num_partitions=2) as cluster:
        yield cluster


def send(cluster: sl.Cluster, topic: str, *pairs: tuple[str | None, str]) -> None:
    with cluster.producer() as producer:
        for key, value in pairs:
            producer.send(topic, value, key=key)


def values(topic: sl.Topic, **bounds: object) -> list[str]:
    found: list[str] = topic.scan(value="utf8", **bounds).to_pyarrow()["value"].to_pylist()
    return found


def test_records_are_gone_after_their_time(cluster: sl.Cluster) -> None:
    topic = cluster.create_topic("flights")
    send(cluster, "flights", (None, "old"))
    cluster.clock.advance("6d")
    assert values(topic) == ["old"]
    cluster.clock.advance("2d")
    assert (values(topic), topic.earliest_offsets()) == ([], [1])
    send(cluster, "flights", (None, "new"))
    cluster.clock.advance(dt.timedelta(days=1))
    assert values(topic) == ["new"]


def test_files_are_gone_after_their_delay(cluster: sl.Cluster) -> None:
    cluster.create_topic("flights")
    send(cluster, "flights", (None, "old"))
    cluster.clock.advance("8d")
    assert list(cluster.data_dir.glob("flights-0/*.deleted"))
    cluster.clock.advance(61)
    assert not list(cluster.data_dir.glob("flights-0/*.deleted"))
    cluster.topic("flights").delete()
    cluster.clock.advance("61s")
    assert not list(cluster.data_dir.glob("flights*"))


def test_what_is_closed_is_safe_soon_and_not_looked_through_after_a_crash(cluster: sl.Cluster) -> None:
    cluster.create_topic("flights", segment_ms=HOUR)
    send(cluster, "flights", (None, "old"))
    cluster.clock.advance("2h")
    send(cluster, "flights", (None, "new"))
    assert (cluster.data_dir / "flights-0" / f"{1:020}.log").exists()
    cluster.clock.advance("61s")  # log.flush.offset.checkpoint.interval.ms
    assert "flights 0 1" in (cluster.data_dir / "recovery-point-offset-checkpoint").read_text().splitlines()


def test_a_member_that_is_not_heard_of_is_out_and_the_others_share(cluster: sl.Cluster) -> None:
    cluster.create_topic("flights", partitions=2)
    settings = {"group_id": "g", "heartbeat_interval_ms": 50, "session_timeout_ms": 45_000}
    script = f"""
import strandline as sl
with sl.connect({cluster.bootstrap_servers!r}, client_id="doomed").consumer("flights", config={{
    name.replace("_", "."): value for name, value in {settings!r}.items()
}}) as consumer:
    while True:
        consumer.poll(timeout=0.05)
        print(len(consumer.assignment()), flush=True)
"""
    doomed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert doomed.stdout is not None
    while doomed.stdout.readline() != "2\n":
        assert doomed.poll() is None
    with cluster.consumer("flights", client_id="survivor", **settings) as survivor:
        while len(survivor.assignment()) != 1:
            survivor.poll(timeout=0.05)
        doomed.kill()
        doomed.wait()

        def members() -> set[str]:
            return {member.client_id for member in cluster.admin().describe_groups(["g"])[0].members}

        cluster.clock.advance("44s")
        assert "doomed" in members()
        cluster.clock.advance("2s")
        assert "doomed" not in members()
        while len(survivor.assignment()) != 2:
            survivor.poll(timeout=0.05)
        assert members() == {"survivor"}


def test_offsets_of_a_group_that_is_gone_expire(cluster: sl.Cluster) -> None:
    cluster.create_topic("flights")
    send(cluster, "flights", (None, "one"))
    with cluster.consumer("flights", group_id="g", auto_offset_reset="earliest", stop_at_end=True) as consumer:
        assert len(list(consumer)) == 1
    admin = cluster.admin()
    cluster.clock.advance("6d")
    assert admin.list_offsets("g")["flights", 0].offset == 1
    cluster.clock.advance("25h")
    assert admin.list_offsets("g") == {}
    assert admin.list_groups() == []


def test_the_log_cleaner_keeps_the_last_of_each_key(cluster: sl.Cluster) -> None:
    compact = {"cleanup.policy": "compact", "segment.ms": 1000, "min.cleanable.dirty.ratio": 0.01}
    topic = cluster.create_topic("prices", config=compact)
    send(cluster, "prices", ("UA", "1"), ("AA", "1"), ("UA", "2"))
    cluster.clock.advance("2s")
    send(cluster, "prices", ("DL", "1"))
    assert values(topic) == ["1", "1", "2", "1"]
    cluster.clock.advance("15s")
    assert values(topic) == ["1", "2", "1"]
    assert topic.scan(columns=["offset"]).to_pyarrow()["offset"].to_pylist() == [1, 2, 3]


def test_a_scan_goes_back_from_the_cluster_s_time(cluster: sl.Cluster) -> None:
    topic = cluster.create_topic("flights")
    send(cluster, "flights", (None, "old"))
    cluster.clock.advance("2h")
    send(cluster, "flights", (None, "new"))
    assert values(topic, start="1h") == ["new"]
    assert values(topic, start=cluster.clock.now) == ["new"]
    assert values(topic, start="3h", end="1h") == ["old"]


def test_records_are_stamped_with_its_time(cluster: sl.Cluster) -> None:
    stamps = []
    for kind in ("CreateTime", "LogAppendTime"):
        cluster.create_topic(kind, config={"message.timestamp.type": kind})
    for _ in range(2):
        for kind in ("CreateTime", "LogAppendTime"):
            send(cluster, kind, (None, "v"))
        stamps.append(cluster.clock.timestamp)
        cluster.clock.advance("1h")
    assert stamps == [stamps[0], stamps[0] + HOUR]
    for kind in ("CreateTime", "LogAppendTime"):
        with cluster.consumer(kind, auto_offset_reset="earliest", stop_at_end=True) as consumer:
            assert [message.timestamp for message in consumer] == stamps


def test_sockets_do_not_notice(cluster: sl.Cluster) -> None:
    host, port = cluster.bootstrap_servers.rsplit(":", 1)
    topic = cluster.create_topic("flights")
    with socket.create_connection((host, int(port))) as connection:
        # Longer than connections.max.idle.ms.
        cluster.clock.advance("1d")
        # ApiVersions 0, correlation 7, without a client id.
        connection.sendall(struct.pack(">ihhih", 10, 18, 0, 7, -1))
        assert struct.unpack(">ii", connection.recv(8))[1] == 7
    with cluster.consumer("flights") as consumer:
        # A fetch that waits for records waits by the machine's time.
        assert consumer.poll(timeout=1.2) == []
        send(cluster, "flights", (None, "v"))
        assert topic.record_count == 1
    cluster.close()


def test_time_is_told_and_does_not_pass_by_itself(cluster: sl.Cluster) -> None:
    clock = cluster.clock
    before = clock.now
    assert before.tzinfo is dt.timezone.utc
    assert abs((dt.datetime.now(dt.timezone.utc) - before).total_seconds()) < 60
    for given, seconds in {
        "1.5h": 5400,
        "250ms": 0.25,
        2: 2,
        0.5: 0.5,
        dt.timedelta(days=9): 9 * 86400,
        "0s": 0,
    }.items():
        before = clock.now
        clock.advance(given)
        assert (clock.now - before).total_seconds() == seconds
        assert cluster.clock.timestamp == round(clock.now.timestamp() * 1000)
    assert "moved by hand" in repr(clock)


@pytest.mark.parametrize("wrong", ["soon", "-1s", -1, float("nan"), dt.timedelta(days=-1), "9999999d", 1e300])
def test_a_length_that_makes_no_sense_is_told(cluster: sl.Cluster, wrong: object) -> None:
    before = cluster.clock.now
    with pytest.raises(ValueError, match="duration"):
        cluster.clock.advance(wrong)
    with pytest.raises(TypeError, match="duration is None"):
        cluster.clock.advance(None)
    assert cluster.clock.now == before


def test_only_a_manual_clock_can_be_moved() -> None:
    with sl.Cluster() as cluster:
        before = cluster.clock.now
        assert before <= cluster.clock.now <= dt.datetime.now(dt.timezone.utc)
        assert "the machine's" in repr(cluster.clock)
        with pytest.raises(RuntimeError, match="manual"):
            cluster.clock.advance("1s")
    with pytest.raises(ValueError, match="it must be 'system' or 'manual'"):
        sl.Cluster(clock="sundial")


def test_the_clock_of_a_closed_cluster_stands(cluster: sl.Cluster) -> None:
    clock = cluster.clock
    cluster.close()
    with pytest.raises(sl.errors.ClosedError):
        clock.advance("1s")


def test_two_hundred_years_are_over_soon(cluster: sl.Cluster) -> None:
    # What is due again and again is done once: ten years cost what an hour costs.
    for _ in range(20):
        cluster.clock.advance("3650d")
    send(cluster, "still-there", (None, "v"))
    assert cluster.topic("still-there").record_count == 1


def test_closing_ends_one_that_moves(cluster: sl.Cluster) -> None:
    moved, ended = threading.Event(), []

    def move() -> None:
        try:
            while True:
                cluster.clock.advance("1h")
                moved.set()
        except sl.errors.ClosedError as error:
            ended.append(error)

    with cluster.consumer("t", group_id="g") as consumer:
        thread = threading.Thread(target=move)
        thread.start()
        for _ in range(20):
            consumer.poll(timeout=0.01)
    assert moved.wait(20)
    cluster.close()
    thread.join(20)
    assert not thread.is_alive()
    assert ended


def test_what_deleted_segments_hold_is_told(cluster: sl.Cluster) -> None:
    topic = cluster.create_topic("flights")
    kept_by = ["scan", "other"]
    for name in kept_by:
        cluster.create_topic(name)
        with cluster.producer() as producer:
            for n in range(100):
                producer.send(name, f"a value that is longer than a view holds by itself {n}")
    size = cluster.topic("scan").size
    table, other = (cluster.topic(name).scan().to_polars() for name in kept_by)
    small = topic.scan().to_polars()
    assert cluster.held_bytes == 0
    cluster.clock.advance("8d")
    # The files are there for a while, under another name.
    assert cluster.held_bytes == 0
    cluster.clock.advance("61s")
    assert cluster.held_bytes == 2 * size
    cluster.topic("other").delete()
    cluster.clock.advance("61s")
    assert cluster.held_bytes == 2 * size
    del table
    assert cluster.held_bytes == size
    assert other["value"][99] == b"a value that is longer than a view holds by itself 99"
    del other
    assert (cluster.held_bytes, small.height) == (0, 0)


def test_a_topic_that_is_deleted_is_held_by_its_tables(cluster: sl.Cluster) -> None:
    cluster.create_topic("flights")
    send(cluster, "flights", (None, "a value that is longer than a view holds by itself"))
    size = cluster.topic("flights").size
    kept = cluster.topic("flights").scan().to_polars()
    cluster.topic("flights").delete()
    cluster.clock.advance("61s")
    assert cluster.held_bytes == size
    del kept
    assert cluster.held_bytes == 0
    cluster.close()
    with pytest.raises(sl.errors.ClosedError):
        _ = cluster.held_bytes
