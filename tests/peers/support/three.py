"""Apache Kafka as a cluster of three brokers, each of them a controller too."""

import subprocess
import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .brokers import (
    KAFKA_SETTINGS,
    SETTINGS,
    SHORT_JVM,
    Broker,
    free_port,
    java_command,
    properties,
    tail,
    wait_for_port,
)
from .topics import at

COUNT = 3
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
# Three of them must fit beside all else, and start soon.
JVM = ("-Xmx256M", *SHORT_JVM)


class KafkaCluster:
    """Three brokers that run; each may be stopped, and started again under its address."""

    def __init__(self, folder: Path, jvm: tuple[str, ...] = JVM) -> None:
        """Format their data dirs, and start them."""
        self.folder = folder
        self._jvm = jvm
        ports: list[int] = []
        while len(ports) < 2 * COUNT:
            if (port := free_port()) not in ports:
                ports.append(port)
        self._ports, self._controllers = ports[:COUNT], ports[COUNT:]
        self.brokers: dict[int, Broker] = {}
        nodes = range(1, COUNT + 1)
        formatting = [subprocess.Popen(self._format(node), stdout=subprocess.DEVNULL) for node in nodes]
        assert [process.wait(60) for process in formatting] == [0] * COUNT
        try:
            # They find each other: none is ready before a second one runs.
            for node in nodes:
                self._spawn(node)
            for node in nodes:
                self._wait(node)
        except BaseException:
            self.stop()
            raise

    @property
    def bootstrap(self) -> str:
        """The addresses of all three."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    def _home(self, node: int) -> Path:
        return self.folder / f"broker-{node}"

    def _format(self, node: int) -> list[str]:
        home = self._home(node)
        home.mkdir(parents=True)
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(self._controllers, 1))
        port, controller = self._ports[node - 1], self._controllers[node - 1]
        own = {
            "node.id": str(node),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "controller.quorum.voters": voters,
            "log.dirs": str(home / "data"),
            "offsets.topic.num.partitions": "3",
            "offsets.topic.replication.factor": "3",
        }
        config = home / "server.properties"
        config.write_text(properties({**KAFKA_SETTINGS, **SETTINGS, **own}))
        return [*java_command("kafka.tools.StorageTool"), "format", "-t", CLUSTER_ID, "-c", str(config)]

    def _spawn(self, node: int) -> None:
        home = self._home(node)
        log = home / "kafka.log"
        with log.with_suffix(".out").open("ab") as output:
            command = [*java_command("kafka.Kafka", jvm=self._jvm, log=log), str(home / "server.properties")]
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=home)
        address = f"127.0.0.1:{self._ports[node - 1]}"
        self.brokers[node] = Broker(f"Apache Kafka {node}", address, home / "data", log, process)

    def _wait(self, node: int) -> None:
        broker = self.brokers[node]
        wait_for_port(broker.port, broker.process, 60, broker.log)
        # It listens before its cluster counts it in.
        deadline = time.monotonic() + 60
        while node not in self._alive():
            if time.monotonic() > deadline or broker.process.poll() is not None:
                raise RuntimeError(f"{broker.name} is not in its cluster:\n{tail(broker.log)}")
            time.sleep(0.05)

    def _alive(self) -> set[int]:
        try:
            return set(AdminClient(at(self.bootstrap)).list_topics(timeout=5).brokers)
        except KafkaException:
            return set()

    def start(self, node: int) -> None:
        """Start a broker again that was stopped."""
        self._spawn(node)
        self._wait(node)

    def stop_cleanly(self, node: int) -> None:
        """End a broker by SIGTERM: it hands its partitions over first."""
        code = self.brokers[node].stop(60)
        assert code in (0, 143), f"broker {node} ended with {code} after SIGTERM"

    def stop(self) -> None:
        """End them all: without a majority none could hand over what it leads."""
        for broker in self.brokers.values():
            broker.kill()
