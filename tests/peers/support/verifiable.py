"""Java's verifiable producer as a load that never rests: Kafka's own client, idempotent, which is told of no error."""

import json
import signal
import subprocess
import threading
from pathlib import Path

from .brokers import java_command, properties
from .load import PARTITIONS, PATIENCE, Acknowledged
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
        self.acknowledged: Acknowledged = [{} for _ in range(PARTITIONS)]
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
                number, offset = int(event["value"]), event["offset"]
                first = self.acknowledged[event["partition"]].setdefault(number, offset)
                if first != offset:
                    self.failed.append(f"{number} was acknowledged at {first} and at {offset}")
            elif event["name"] == "producer_send_error":
                self.failed.append(f"Java's producer was told: {line.decode()}")

    def end(self) -> None:
        """Have it wait for what is on its way, and end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        assert not self.failed, self.failed[:3]
        assert any(self.acknowledged), "Java's producer has sent nothing"

    def kill(self) -> None:
        """End it, where a test failed."""
        self.process.kill()
        self.process.wait()
