"""Java's verifiable producer as a load that never rests: Kafka's own client, idempotent, which is told of no error."""

import json
import signal
import subprocess
import threading
from pathlib import Path

import strandline as sl

from .brokers import java_command, properties
from .nodes import Nodes
from .tools import MAINS

# The tool has Java's producer not try again unless it is told to.
SETTINGS = {
    "enable.idempotence": "true",
    "acks": "all",
    "retries": "2147483647",
    "delivery.timeout.ms": "120000",
    "request.timeout.ms": "4000",
    "reconnect.backoff.max.ms": "100",
    "linger.ms": "2",
}


class Verifiable:
    """The tool, running; it writes a line of JSON for each record that is acknowledged."""

    def __init__(self, bootstrap: str, topic: str, folder: Path, rate: int = 500) -> None:
        self.topic = topic
        # Where each number is that was acknowledged.
        self.acknowledged: dict[int, tuple[int, int]] = {}
        self.failed: list[str] = []
        config = folder / "verifiable.properties"
        config.write_text(properties(SETTINGS))
        command = java_command(MAINS["verifiable-producer"], log=folder / "verifiable.log")
        command += ["--bootstrap-server", bootstrap, "--topic", topic, "--throughput", str(rate)]
        self.process = subprocess.Popen([*command, "--command-config", str(config)], stdout=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["name"] == "producer_send_success":
                number, place = int(event["value"]), (event["partition"], event["offset"])
                if self.acknowledged.setdefault(number, place) != place:
                    self.failed.append(f"{number} was acknowledged at {self.acknowledged[number]} and at {place}")
            elif event["name"] == "producer_send_error":
                self.failed.append(line.decode())

    def end(self) -> None:
        """Have it wait for what is on its way, and end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.reader.join(60)
        assert not self.failed, self.failed[:3]
        assert self.acknowledged, "Java's producer has sent nothing"

    def kill(self) -> None:
        """End it, where a test failed."""
        self.process.kill()
        self.process.wait()

    def check(self, nodes: Nodes) -> None:
        """Hold what was acknowledged against what every broker has on its disk; they run no more."""
        for node in nodes.all:
            table = sl.open_log(node.data_dir).topic(self.topic).scan(value="utf8").to_pyarrow()
            rows = zip(*(table[name].to_pylist() for name in ("value", "partition", "offset")), strict=True)
            held = {int(value): (partition, offset) for value, partition, offset in rows}
            assert len(held) == table.num_rows, f"broker {node.number} has records twice"
            assert held == self.acknowledged, f"broker {node.number} does not hold what was acknowledged"
