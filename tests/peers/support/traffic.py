"""What goes on while brokers are hurt: two producers that never rest, and a reader of all that they send.

| who | what |
|---|---|
| librdkafka's producer | idempotent, acks=all, to `load`, as many as `RATE` a second, in a thread of its own |
| Java's verifiable producer | the same to `java`, in a process of its own |
| librdkafka's consumer | a member of a group that reads both |

None of them is told of an error. A test only waits meanwhile, also for a broker that takes its time to start.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .compare import present
from .load import PATIENCE, Acknowledged, Load, Reader
from .nodes import Nodes
from .verifiable import Verifiable

LOAD = "load"
JAVA = "java"
TOPICS = (LOAD, JAVA)
# What librdkafka's producer sends in a second at most: each partition always has some on their way.
RATE = 5000
# A reader that was lost to its group comes back only when that has waited for it for `session.timeout.ms`, 45 s.
READ_WITHIN = 30.0
# Who is frozen or cut off keeps what was sent to it: by default the clients wait a minute before they ask others.
IMPATIENT = {"socket.timeout.ms": 4000}


class Traffic:
    """The producers and the reader, running."""

    def __init__(self, nodes: Nodes, folder: Path, dice: random.Random) -> None:
        self.java = Verifiable(nodes.bootstrap, JAVA, folder)
        self.load = Load(nodes.bootstrap, LOAD, dice, **IMPATIENT)
        self.reader = Reader(nodes.bootstrap, TOPICS, **IMPATIENT)
        self.ending = threading.Event()
        self.failed = threading.Event()
        self.thread = threading.Thread(target=self._produce, daemon=True)
        self.thread.start()

    def _produce(self) -> None:
        allowed, before = 0.0, time.monotonic()
        while not self.ending.is_set():
            now = time.monotonic()
            # What could not be sent in time is not sent later on top.
            allowed, before = min(1000.0, allowed + (now - before) * RATE), now
            sent = self.load.sent
            self.load.turn(int(allowed))
            allowed -= self.load.sent - sent
            if self.load.failed or self.java.failed or self.reader.failed:
                self.failed.set()
                return

    def until(self, done: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Wait until something has come about."""
        deadline = time.monotonic() + patience
        while not done():
            assert not self.failed.wait(0.01), self.told()
            assert time.monotonic() < deadline, f"not within {patience} s: {what}; {self.progress()}"
        assert not self.failed.is_set(), self.told()

    def until_more(self, count: int) -> None:
        """Wait until so many more records were acknowledged."""
        count += self.load.count
        self.until(lambda: self.load.count >= count, f"{count} records are acknowledged")

    def until_read(self) -> None:
        """Wait until what was acknowledged by now has been read."""
        count = self.load.count + sum(map(len, self.java.acknowledged))
        try:
            self.until(lambda: self.reader.count >= count, f"{count} records are read", READ_WITHIN)
        except AssertionError as error:
            raise AssertionError(f"{error}; the reader: {self.reader.place()}") from error

    def wait(self, seconds: float) -> None:
        """Let it go on for some time."""
        assert not self.failed.wait(seconds), self.told()

    def told(self) -> str:
        """What clients were told that should be told of nothing."""
        return "\n".join([*self.load.failed[:3], *self.java.failed[:3], *self.reader.failed[:3]])

    def progress(self) -> str:
        """How far each of them is."""
        java = sum(map(len, self.java.acknowledged))
        return f"{self.load.count} and, by Java's, {java} were acknowledged, {self.reader.count} read"

    @property
    def acknowledged(self) -> dict[str, Acknowledged]:
        """For each topic and partition: where each record is that was acknowledged."""
        return {LOAD: self.load.acknowledged, JAVA: self.java.acknowledged}

    def end(self) -> None:
        """Have all that was sent acknowledged, and all that was acknowledged read."""
        self.ending.set()
        self.thread.join(PATIENCE)
        assert not self.failed.is_set(), self.told()
        self.load.end()
        self.java.end()
        self.reader.end(self.acknowledged, READ_WITHIN)

    def kill(self) -> None:
        """End what still runs, where a test failed."""
        self.ending.set()
        self.thread.join(PATIENCE)
        self.java.kill()
        self.reader.kill()


@contextmanager
def traffic(nodes: Nodes, folder: Path, dice: random.Random) -> Iterator[Traffic]:
    """Let it begin, and end when the test has done what it does; it is sure to have begun."""
    going = present(lambda: Traffic(nodes, folder, dice))
    try:
        going.until_more(1000)
        going.until(lambda: any(going.java.acknowledged), "Java's producer has begun")
        going.until(lambda: all(going.reader.found.values()), "the reader has begun")
        yield going
        going.end()
        print(going.progress(), flush=True)
    finally:
        going.kill()
