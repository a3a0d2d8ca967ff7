"""Three brokers that are hurt, by kill -9 and SIGSTOP: how long that is felt, and what it takes to be whole again."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cluster_load import PATIENCE, QUIET, Three, create, leader, parts
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from measures import LOAD, Figures, Sizes, told
from process import busy_seconds, give_room, raise_file_limit, touch_memory

import strandline as sl
from support.nodes import Nodes

KILLED = Path(__file__).with_name("cluster_killed.py")


def longest_gap(three: Three, topic: str, signal: str, seconds: float) -> float:
    """The longest time without an acknowledgement, in seconds, while the leader is sent a signal."""
    settings = {
        **QUIET,
        "bootstrap.servers": three.bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 0,
    }
    if signal == "STOP":
        # Else it waits for a minute for who says nothing, and asks who leads only then, whatever the brokers do.
        settings["socket.timeout.ms"] = 1000
        settings["topic.metadata.refresh.interval.ms"] = 500
    producer = Producer(settings)
    moments: list[float] = []
    # It has found the leader, and has its id, before anything is counted.
    producer.produce(topic, b"v", partition=0)
    if producer.flush(PATIENCE):
        raise TimeoutError("nothing is acknowledged")
    victim = leader(three, topic)
    hurt = threading.Timer(1.0, three.signal, (victim, signal))
    hurt.start()
    started = time.monotonic()
    acknowledged_since = 0
    while time.monotonic() - started < seconds and acknowledged_since < 500:
        producer.produce(
            topic,
            b"v",
            partition=0,
            on_delivery=lambda error, _: moments.append(time.monotonic()) if not error else None,
        )
        producer.poll(0.002)
        acknowledged_since = sum(1 for moment in moments[-500:] if moment - started > 3)
    hurt.join()
    producer.flush(PATIENCE)
    if signal == "STOP":
        three.signal(victim, "CONT")
    return max(later - earlier for earlier, later in itertools.pairwise([started, *moments]))


def hung(three: Three) -> Figures:
    """A leader that hangs, until it is in sync again."""
    create(three, "hung")
    figures = {"three hung": longest_gap(three, "hung", "STOP", 60)}
    until(lambda: all(len(part.isrs) == 3 for part in parts(three.bootstrap, "hung").values()))
    return figures


def killed(three: Three) -> Figures:
    """A leader that is killed; two brokers are left."""
    create(three, "gap")
    return {"three killed": longest_gap(three, "gap", "KILL", 60)}


def until(done: Callable[[], bool]) -> float:
    """Wait for something, and tell for how many seconds."""
    started = time.monotonic()
    while not done():
        if time.monotonic() - started > PATIENCE:
            raise TimeoutError("it did not come to be so")
        time.sleep(0.01)
    return time.monotonic() - started


def controller(bootstrap: str) -> int:
    """Who is the active controller."""
    command = [sys.executable, "-m", "strandline", "cluster", "status", "--json", "-b", bootstrap]
    status = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return int(status["controller"])


def controller_failover(folder: Path) -> Figures:
    """From the kill of the active controller until a topic has been made by another."""
    nodes = Nodes(folder)
    try:
        victim = nodes.all[controller(nodes.bootstrap)]
        others = ",".join(node.place.address for node in nodes.all if node is not victim)
        # librdkafka waits for the controller that it knew.
        with sl.connect(others) as client:
            client.create_topic("before", replication_factor=2)
            victim.kill()
            started = time.monotonic()
            client.create_topic("after", replication_factor=2)
            return {"three controller": time.monotonic() - started}
    finally:
        nodes.kill()


def many_partitions(folder: Path, sizes: Sizes) -> Figures:
    """Many partitions on three brokers: until all are led, and led again after a kill."""
    raise_file_limit()
    nodes = Nodes(folder)
    try:
        admin = AdminClient({**QUIET, "bootstrap.servers": nodes.bootstrap})
        topics = [f"many-{number}" for number in range(10)]
        started = time.monotonic()
        wishes = [NewTopic(topic, sizes.partitions // len(topics), 3) for topic in topics]
        for future in admin.create_topics(wishes, operation_timeout=PATIENCE, request_timeout=PATIENCE).values():
            future.result(PATIENCE)

        def led(bootstrap: str, without: int | None = None) -> bool:
            found = [part for topic in topics for part in parts(bootstrap, topic).values()]
            return len(found) == sizes.partitions and all(part.leader not in (-1, without) for part in found)

        until(lambda: led(nodes.bootstrap))
        figures = {"three create": time.monotonic() - started}
        # All replicas are in sync before one is lost.
        until(lambda: all(len(part.isrs) == 3 for topic in topics for part in parts(nodes.bootstrap, topic).values()))
        victim = nodes.all[0]
        others = ",".join(node.place.address for node in nodes.all[1:])
        victim.kill()
        return figures | {"three led again": until(lambda: led(others, victim.number))}
    finally:
        nodes.kill()


def catching_up(folder: Path, sizes: Sizes) -> Figures:
    """A follower that missed much: how quickly it has that by itself, and what a load beside it loses."""
    nodes = Nodes(folder)
    try:
        three = Three(nodes.bootstrap, dict, lambda *_: None)
        for topic in ("missed", "live"):
            create(three, topic)
        late = nodes.all[2]

        def behind(count: int) -> None:
            # As it should be: what a kill costs is recovery, which is measured by itself.
            late.stop()
            told(LOAD, "produce", nodes.bootstrap, "missed", count, 1024, 1_000_000)

        def caught_up() -> bool:
            return all(len(parts(nodes.bootstrap, topic)[0].isrs) == 3 for topic in ("missed", "live"))

        def load(until_then: Callable[[], object], *most: int) -> float:
            return flooded(nodes.bootstrap, "live", until_then, *most)

        behind(sizes.log)
        copied = copy_rate(nodes.all[0].data_dir / "missed-0", folder / "copy")
        touch_memory(folder / "hole")
        late.spawn()
        worked = busy_seconds()
        figures = {"three plain copy": copied, "three catch up": sizes.log * 1024 / 1e6 / until(caught_up)}
        figures["three catch up cpu"] = (busy_seconds() - worked) / (sizes.log * 1024 / 1e9)
        took: list[float] = []

        def beside(count: int, *most: int) -> float:
            behind(count)
            # Neither load is to wait for what the disk has still to write from before.
            os.sync()
            late.spawn()
            return load(lambda: took.append(until(caught_up)), *most)

        # The disk has to hold all of it three times, besides what was there before.
        rate = beside(sizes.log // 2)
        os.sync()

        def wait_as_long() -> None:
            worked = busy_seconds()
            time.sleep(took[0])
            figures["three live cores"] = (busy_seconds() - worked) / took[0]

        alone = load(wait_as_long)
        asked = int(alone / 2)
        half = beside(sizes.log // 4, asked)
        return figures | {
            "three live alone": alone,
            "three live cpu": figures["three live cores"] / alone * 1e3,
            "three live cost": (1 - rate / alone) * 100,
            "three catch up beside": sizes.log // 2 * 1024 / 1e6 / took[0],
            "three half cost": (1 - half / asked) * 100,
            "three catch up beside half": sizes.log // 4 * 1024 / 1e6 / took[1],
        }
    finally:
        nodes.kill()


def flooded(bootstrap: str, topic: str, until_then: Callable[[], object], *most: int) -> float:
    """Produce as fast as it goes, or so many MB/s at most, while something is waited for; in MB/s."""
    command = [sys.executable, str(LOAD), "flood", bootstrap, topic, "1024", "1000000", *map(str, most)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as client:
        assert client.stderr is not None
        assert client.stderr.readline() == "begins\n"
        until_then()
        found, said = client.communicate(timeout=PATIENCE)
    if client.returncode:
        raise RuntimeError(said)
    rate: float = json.loads(found)["mb_per_second"]
    return rate


def copy_rate(log: Path, copy: Path) -> float:
    """In MB/s, how quickly the system copies a folder on this disk, for a measure of it."""
    size = sum(file.stat().st_size for file in log.iterdir())
    started = time.monotonic()
    subprocess.run(["cp", "-r", str(log), str(copy)], check=True)
    seconds = time.monotonic() - started
    shutil.rmtree(copy)
    return size / 1e6 / seconds


def large_cluster() -> Figures:
    """What a controller of many brokers has to do, without them."""
    command = ["cargo", "bench", "--profile", "release", "--quiet", "--bench", "large_cluster"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: Figures = json.loads(ran.stdout.splitlines()[-1])
    return figures


def by_itself(folder: Path, sizes: Sizes) -> Figures:
    """What is told of ours alone."""
    figures = told(KILLED)
    figures |= controller_failover(folder / "controller")
    figures |= many_partitions(folder / "many", sizes)
    figures |= large_cluster()
    give_room(folder)
    return figures | catching_up(folder / "catch-up", sizes)
