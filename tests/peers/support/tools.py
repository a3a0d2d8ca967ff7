"""The programs a scenario drives: Kafka's own tools, in one JVM that stays, and kcat."""

import base64
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from .brokers import JARS, JAVA, Missing, java_command

# Short names for the main classes.
MAINS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "producer-perf": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf": "org.apache.kafka.tools.ConsumerPerformance",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "reassign": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "replica-verification": "org.apache.kafka.tools.ReplicaVerificationTool",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
}


@dataclass(frozen=True)
class Ran:
    """How a program ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines it wrote to standard output, without blanks around them and without empty ones."""
        return [line.strip() for line in self.out.splitlines() if line.strip()]

    def ok(self) -> "Ran":
        """This, where it ended well."""
        assert self.code == 0, f"ended with {self.code}\n{self.out}\n{self.err}"
        return self


class JavaHost:
    """The JVM in which tools run one after another (`java/ToolHost.java`)."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        classes = folder / "classes"
        if shutil.which("javac") is None:
            raise Missing("no javac here: install a JDK, not only a Java runtime")
        command = java_command("ToolHost", extra_path=classes)
        built = ["javac", "-nowarn", "-cp", f"{JARS}/*", "-d", str(classes), str(JAVA / "ToolHost.java")]
        subprocess.run(built, check=True, capture_output=True)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder
        )

    def run(self, main: str, args: tuple[str, ...], stdin: str) -> Ran:
        """Run one tool and wait for its end."""
        fields = (base64.b64encode(field.encode()) for field in (main, stdin, *args))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(b" ".join(fields) + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the JVM of the tools ended during {main} {args}")
        code, out, err = answer.decode().rstrip("\n").split(" ")
        return Ran(int(code), base64.b64decode(out).decode(), base64.b64decode(err).decode())

    def close(self) -> None:
        """End the JVM."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Tools:
    """What a scenario may run besides Python's clients."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._host: JavaHost | None = None

    def scratch(self, name: str) -> Path:
        """A path for a file that a tool reads."""
        return self._folder / name

    def java(self, tool: str, *args: str, stdin: str = "") -> Ran:
        """Run one of Kafka's tools by its short name."""
        with self._lock:
            if self._host is None:
                self._host = JavaHost(self._folder)
        return self._host.run(MAINS.get(tool, tool), args, stdin)

    def java_alone(self, tool: str, *args: str, stdin: str = "", seconds: float = 60) -> Ran:
        """Run one of Kafka's tools in a JVM of its own: those that call `System.exit`."""
        return self._run([*java_command(MAINS[tool]), *args], stdin.encode(), seconds)

    def first_lines(self, tool: str, *args: str, count: int, seconds: float = 60) -> list[str]:
        """The first lines of one of Kafka's tools that goes on for ever; it is ended then."""
        command = [*java_command(MAINS[tool]), *args]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            late = threading.Timer(seconds, process.kill)
            late.start()
            try:
                return [line.rstrip("\n") for line, _ in zip(process.stdout, range(count), strict=False)]
            finally:
                late.cancel()
                process.kill()

    def kcat(self, *args: str, stdin: bytes = b"", seconds: float = 60) -> Ran:
        """Run kcat."""
        if shutil.which("kcat") is None:
            raise Missing("no kcat here (Debian: apt-get install kcat)")
        return self._run(["kcat", *args], stdin, seconds)

    def _run(self, command: list[str], stdin: bytes, seconds: float) -> Ran:
        ran = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds, check=False, cwd=self._folder)
        return Ran(ran.returncode, ran.stdout.decode(errors="backslashreplace"), ran.stderr.decode(errors="replace"))

    def close(self) -> None:
        """End what still runs."""
        if self._host is not None:
            self._host.close()
