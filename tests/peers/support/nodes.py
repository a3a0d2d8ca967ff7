"""Our brokers as a cluster of three processes, each of them a controller too."""

import os
import signal
import subprocess
from pathlib import Path

from .brokers import free_port, read_line, strandline_binary, tail

COUNT = 3
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
PATIENCE = 60.0


class Node:
    """One broker: a process, its data dir, and its two ports."""

    def __init__(
        self, number: int, folder: Path, ports: tuple[int, int], voters: str, settings: dict[str, str]
    ) -> None:
        """Format its data dir."""
        self.number = number
        self.port = ports[0]
        self.data_dir = folder / f"broker-{number}"
        self.log = folder / f"broker-{number}.log"
        self.process: subprocess.Popen[bytes] | None = None
        listeners = f"PLAINTEXT://127.0.0.1:{ports[0]},CONTROLLER://127.0.0.1:{ports[1]}"
        own = {
            "node.id": str(number),
            "listeners": listeners,
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": voters,
            **settings,
        }
        self.options = ["--data-dir", str(self.data_dir)]
        for key, value in own.items():
            self.options += ["--override", f"{key}={value}"]
        command = [str(strandline_binary()), "format", "--cluster-id", CLUSTER_ID, *self.options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None

    def spawn(self) -> None:
        """Start it; it is not ready yet."""
        command = [str(strandline_binary()), "serve", *self.options]
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)

    def until_ready(self) -> None:
        """Wait until it serves."""
        assert self.process is not None
        line = read_line(self.process, PATIENCE).decode(errors="replace")
        if "ready" not in line:
            raise RuntimeError(f"broker {self.number} is not ready: {line!r}\n{tail(self.log)}")

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.spawn()
        self.until_ready()

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def stop(self) -> None:
        """End it by SIGTERM."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(PATIENCE) == 0, tail(self.log)
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


class Nodes:
    """Three of them, that run."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        """Format their data dirs, and start them."""
        ports: list[int] = []
        while len(ports) < 2 * COUNT:
            if (port := free_port()) not in ports:
                ports.append(port)
        voters = ",".join(f"{number}@127.0.0.1:{ports[COUNT + number]}" for number in range(COUNT))
        self.all: list[Node] = []
        for number in range(COUNT):
            own = (ports[number], ports[COUNT + number])
            self.all.append(Node(number, folder, own, voters, settings or {}))
        try:
            # They find each other: none is ready before a second one runs.
            for node in self.all:
                node.spawn()
            for node in self.all:
                node.until_ready()
        except BaseException:
            self.kill()
            raise

    @property
    def bootstrap(self) -> str:
        """The addresses of all three."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.all)

    def kill(self) -> None:
        """End those that run."""
        for node in self.all:
            node.kill()
