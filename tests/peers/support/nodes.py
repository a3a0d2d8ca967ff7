"""Clusters of processes that a test may hurt: three of ours or of Apache Kafka's, each of them a controller too."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .brokers import (
    KAFKA_SETTINGS,
    SHORT_JVM,
    free_port,
    java_command,
    properties,
    read_line,
    strandline_binary,
    tail,
    wait_for_port,
)

COUNT = 3
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
PATIENCE = 60.0


@dataclass(frozen=True)
class Place:
    """Where a broker lives: its address, its two ports, and the command that enters its network."""

    host: str
    port: int
    controller_port: int
    enter: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"{self.host}:{self.port}"


def on_loopback(count: int) -> list[Place]:
    """So many places on this machine's loopback."""
    ports = [free_port() for _ in range(2 * count)]
    return [Place("127.0.0.1", *pair) for pair in zip(ports[:count], ports[count:], strict=True)]


class Node:
    """One broker: a process, its data dir, and its place."""

    kind = "none"
    # What it ends with after SIGTERM.
    ended = 0

    def __init__(
        self,
        number: int,
        place: Place,
        folder: Path,
        settings: dict[str, str],
        *,
        votes: bool = True,
        data_dir: Path | None = None,
    ) -> None:
        """Write down what it is told; `data_dir` is where its data goes, if not into `folder`."""
        self.number = number
        self.place = place
        self.home = folder / f"broker-{number}"
        self.home.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir or self.home / "data"
        self.log = self.home / "broker.log"
        self.config = self.home / "server.properties"
        self.process: subprocess.Popen[bytes] | None = None
        own = {
            "node.id": str(number),
            "listeners": ",".join(self.listeners(votes)),
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_dir),
            **({} if votes else {"process.roles": "broker"}),
        }
        self.config.write_text(properties({**self.defaults(), **own, **settings}))

    def defaults(self) -> dict[str, str]:
        """What it is told unless a test says otherwise."""
        return {}

    def listeners(self, votes: bool) -> list[str]:
        """Where it listens, for clients and for the quorum."""
        place = self.place
        return [f"PLAINTEXT://{place.address}", f"CONTROLLER://{place.host}:{place.controller_port}"]

    def format_command(self) -> list[str]:
        """The command that makes its data dir."""
        raise NotImplementedError

    def spawn(self) -> None:
        """Start it; it is not ready yet."""
        raise NotImplementedError

    def until_ready(self, among: str) -> None:
        """Wait until it serves, and the cluster that is found at `among` counts it in."""
        raise NotImplementedError

    @property
    def is_running(self) -> bool:
        """Whether its process was started, and neither killed nor stopped."""
        return self.process is not None

    def has_ended(self) -> bool:
        """Whether its process ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def stop(self) -> None:
        """End it by SIGTERM."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(PATIENCE) == self.ended, tail(self.log)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{error}:\n{tail(self.log)}") from error
        finally:
            self.kill()

    def pause(self) -> None:
        """Let it stand still (SIGSTOP)."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)


class Ours(Node):
    """`strandline serve`."""

    kind = "strandline"

    def format_command(self) -> list[str]:
        """The command that makes its data dir."""
        return [str(strandline_binary()), "format", "--cluster-id", CLUSTER_ID, str(self.config)]

    def spawn(self) -> None:
        """Start it; it is not ready yet."""
        command = [*self.place.enter, str(strandline_binary()), "serve", str(self.config)]
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)

    def until_ready(self, among: str) -> None:
        """Wait until it says so."""
        assert self.process is not None
        line = read_line(self.process, PATIENCE).decode(errors="replace")
        if "ready" not in line:
            raise RuntimeError(f"broker {self.number} is not ready: {line!r}\n{tail(self.log)}")


class Kafka(Node):
    """Apache Kafka."""

    kind = "kafka"
    # A JVM that was asked to end by SIGTERM tells this.
    ended = 143
    # Three of them must fit beside all else, and start soon.
    jvm: Sequence[str] = ("-Xmx256M", *SHORT_JVM)

    def defaults(self) -> dict[str, str]:
        """As a single broker of these tests is told, but with internal topics that outlive any broker."""
        three = {key: "3" for key in KAFKA_SETTINGS if key.endswith("replication.factor")}
        return {**KAFKA_SETTINGS, **three, "offsets.topic.num.partitions": "3"}

    def listeners(self, votes: bool) -> list[str]:
        """One that has no vote may not listen for the quorum."""
        return super().listeners(votes)[: 2 if votes else 1]

    def format_command(self) -> list[str]:
        """The command that makes its data dir."""
        return [*java_command("kafka.tools.StorageTool"), "format", "-t", CLUSTER_ID, "-c", str(self.config)]

    def spawn(self) -> None:
        """Start it; it is not ready yet."""
        command = java_command("kafka.Kafka", jvm=self.jvm, log=self.log)
        with self.log.with_suffix(".out").open("ab") as output:
            self.process = subprocess.Popen(
                [*self.place.enter, *command, str(self.config)], stdout=output, stderr=output, cwd=self.home
            )

    def until_ready(self, among: str) -> None:
        """Wait until it listens, and then until its cluster counts it in."""
        assert self.process is not None
        wait_for_port(self.place.port, self.process, PATIENCE, self.log, host=self.place.host)
        deadline = time.monotonic() + PATIENCE
        while self.number not in alive(among):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"broker {self.number} is not in its cluster:\n{tail(self.log)}")
            time.sleep(0.05)


def alive(bootstrap: str) -> set[int]:
    """The brokers that a cluster says there are."""
    try:
        return set(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=5).brokers)
    except KafkaException:
        return set()


class Nodes:
    """Several of them, that run."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str] | None = None,
        *,
        kind: type[Node] = Ours,
        places: Sequence[Place] | None = None,
        numbers: Sequence[int] | None = None,
        voters: Sequence[int] | None = None,
        data_dirs: dict[int, Path] | None = None,
    ) -> None:
        """Format their data dirs, and start them; without `voters` all are controllers."""
        places = places or on_loopback(COUNT)
        numbers = numbers or range(len(places))
        voters = numbers if voters is None else voters
        where = dict(zip(numbers, places, strict=True))
        quorum = ",".join(f"{number}@{where[number].host}:{where[number].controller_port}" for number in voters)
        told = {"controller.quorum.voters": quorum, **(settings or {})}
        self.all: list[Node] = []
        for number, place in where.items():
            data_dir = (data_dirs or {}).get(number)
            self.all.append(kind(number, place, folder, told, votes=number in voters, data_dir=data_dir))
        formatting = [subprocess.Popen(node.format_command(), stdout=subprocess.DEVNULL) for node in self.all]
        assert [process.wait(PATIENCE) for process in formatting] == [0] * len(self.all)
        try:
            # They find each other: none is ready before a second one runs.
            for node in self.all:
                node.spawn()
            for node in self.all:
                node.until_ready(self.bootstrap)
        except BaseException:
            self.kill()
            raise

    @property
    def bootstrap(self) -> str:
        """The addresses of all of them."""
        return ",".join(node.place.address for node in self.all)

    def start(self, node: Node) -> None:
        """Start one again, and wait until it serves."""
        node.spawn()
        node.until_ready(self.bootstrap)

    def kill(self) -> None:
        """End those that run."""
        for node in self.all:
            node.kill()
