"""The brokers that a scenario is played against: Apache Kafka and ours, each a process with a data dir of its own."""

import collections
import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
JAVA = ROOT / "tests" / "peers" / "java"
JARS = ROOT / ".peers" / "lib"

# What both are told beyond their defaults. A scenario may lean on nothing else.
SETTINGS = {
    "group.initial.rebalance.delay.ms": "0",
    # Many scenarios write records of 2020, which must not be cleaned away while they are looked at.
    "log.retention.check.interval.ms": "3600000",
    # Who waits for the log cleaner need not wait long.
    "log.cleaner.backoff.ms": "200",
}

# A broker of one, and quick to end.
KAFKA_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # It looks for what is too old for the first time half a minute after its start, whatever the interval.
    "log.initial.task.delay.ms": "3600000",
}


# How Kafka's own start script runs the JVM.
SERVER_JVM = ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"]
# What a JVM that lives a minute wants: little memory, little to compile.
SHORT_JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Missing(Exception):
    """A peer is not on this machine; the text says what would bring it."""


def java_command(
    main: str,
    *,
    jvm: Sequence[str] = ("-Xmx256M", *SHORT_JVM),
    log: Path | None = None,
    extra_path: Path | None = None,
) -> list[str]:
    """The command line that runs `main` on the class path of the jars."""
    if shutil.which("java") is None:
        raise Missing("no java here: install a JDK of version 17 or later")
    if not (JARS / ".complete").exists():
        raise Missing("no jars of Apache Kafka here: `make peers` fetches them (it wants Maven)")
    path = f"{JARS}/*" if extra_path is None else f"{extra_path}{os.pathsep}{JARS}/*"
    command = ["java", *jvm, f"-Dlog4j2.configurationFile={JAVA / 'log4j2.properties'}"]
    if log is not None:
        command.append(f"-Dpeers.log={log}")
    return [*command, "-cp", path, main]


# Ports that the system gives to nobody who has not asked for them (it gives those from 32768 on). Which is first
# depends on the process: another run of the tests is not likely to look where this one does.
_PORTS = itertools.cycle(range(10_000, 30_000))
collections.deque(itertools.islice(_PORTS, os.getpid() % 100 * 200), maxlen=0)


def free_port() -> int:
    """A loopback port that nobody has, nor gets before it is listened at: each is told once."""
    while True:
        port = next(_PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def wait_for_port(
    port: int, process: subprocess.Popen[bytes], seconds: float, log: Path, *, host: str = "127.0.0.1"
) -> None:
    """Wait until `port` accepts a connection; raise with the end of the log when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection((host, port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port} after {seconds} s:\n{tail(log)}")


def tail(log: Path, count: int = 40) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:]) if log.exists() else "(no log)"


@dataclass
class Broker:
    """A broker that runs."""

    name: str
    bootstrap: str
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.bootstrap.rpartition(":")[2])

    def stop(self, seconds: float = 30) -> int:
        """End it by SIGTERM and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not end {seconds} s after SIGTERM:\n{tail(self.log)}") from None

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()


def properties(settings: dict[str, str]) -> str:
    """The text of a properties file."""
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def start_kafka(
    folder: Path,
    settings: dict[str, str] | None = None,
    *,
    jvm: Sequence[str] = ("-Xmx512M", *SHORT_JVM),
    seconds: float = 60,
) -> Broker:
    """Format a data dir in `folder`, unless one is there, and start Apache Kafka on it."""
    folder.mkdir(parents=True, exist_ok=True)
    data_dir, config, log = folder / "data", folder / "server.properties", folder / "kafka.log"
    if config.exists():
        # It keeps its ports: its controller is known by its own.
        port, controller = map(int, re.findall(r"^listeners=.*?:(\d+),.*?:(\d+)$", config.read_text(), re.M)[0])
    else:
        port, controller = free_port(), free_port()
    listeners = f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"
    addresses = {
        "listeners": listeners,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "log.dirs": str(data_dir),
    }
    config.write_text(properties({**KAFKA_SETTINGS, **SETTINGS, **addresses, **(settings or {})}))
    if not data_dir.exists():
        cluster = "MkU3OEVBNTcwNTJENDM2Qg"
        command = [*java_command("kafka.tools.StorageTool"), "format", "--standalone", "-t", cluster, "-c", str(config)]
        subprocess.run(command, check=True, capture_output=True)
    output = log.with_suffix(".out").open("ab")
    process = subprocess.Popen(
        [*java_command("kafka.Kafka", jvm=jvm, log=log), str(config)], stdout=output, stderr=output, cwd=folder
    )
    broker = Broker("Apache Kafka", f"127.0.0.1:{port}", data_dir, log, process)
    wait_for_port(port, process, seconds, log)
    return broker


def strandline_binary() -> Path:
    """Our command: `$STRANDLINE_BIN`, or the one built last under `target/`, or the virtual environment's."""
    if named := os.environ.get("STRANDLINE_BIN"):
        if not Path(named).exists():
            raise Missing(f"STRANDLINE_BIN names {named}, which is not there")
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = sorted(target.glob("*/strandline"), key=lambda path: path.stat().st_mtime)
    found = [*built[-1:], ROOT / ".venv" / "bin" / "strandline"]
    for path in found:
        if path.exists():
            return path
    raise Missing("no strandline here: `cargo build` or `make test` makes one")


def start_strandline(
    folder: Path, settings: dict[str, str] | None = None, *, data_dir: Path | None = None, seconds: float = 30
) -> Broker:
    """Start our broker on `data_dir` (or one in `folder`) and wait for its ready line."""
    folder.mkdir(parents=True, exist_ok=True)
    data_dir, log = data_dir or folder / "data", folder / "strandline.log"
    command = [str(strandline_binary()), "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir)]
    for key, value in {**SETTINGS, **(settings or {})}.items():
        command += ["--override", f"{key}={value}"]
    with log.open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=folder)
    assert process.stdout is not None
    # The line comes at once or never: a broker that hangs before it is ended, which closes the pipe.
    line = read_line(process, seconds).decode(errors="replace")
    address = re.search(r"(127\.0\.0\.1|localhost):(\d+)", line)
    if address is None:
        process.kill()
        process.wait()
        raise RuntimeError(f"strandline serve told no address but {line!r} within {seconds} s:\n{tail(log)}")
    return Broker("strandline", f"127.0.0.1:{address[2]}", data_dir, log, process)


def read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The first line of a process's output, or what there is of it when the time is over."""
    assert process.stdout is not None
    descriptor, line = process.stdout.fileno(), b""
    os.set_blocking(descriptor, False)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not line.endswith(b"\n"):
        try:
            piece = os.read(descriptor, 4096)
        except BlockingIOError:
            time.sleep(0.001)
            continue
        if not piece:
            break
        line += piece
    return line
