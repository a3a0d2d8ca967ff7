"""A test in namespaces of its own: each broker in a network that can be cut, and disks that may be full.

The test runs in a second pytest behind `unshare`, as root or in a user namespace. There it is alone:

    network of the test (clients)          bridge `strand`, 10.77.0.254
      +-- veth -- network `b0`             10.77.0.1, broker 0
      +-- veth -- network `b1`             10.77.0.2, broker 1 ...

What it mounts, the networks it makes and the processes it starts end with it, whatever ends it. A cut is one-way: the
sender has a wrong address for the receiver's network card, so that what it sends reaches nobody and it is told of no
error, as when a switch loses what it was to forward. Nothing is wanted but iproute2 and util-linux.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from .brokers import ROOT
from .nodes import Place

INSIDE = "STRANDLINE_APART"
UNSHARE = ["unshare", "--net", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
AS_ROOT = ["--user", "--map-root-user"]
# The network card that nobody has.
NOBODY = "02:00:00:00:00:99"


def run(*command: str) -> None:
    """Run a command that must go well."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{' '.join(command)}: {ran.stderr or ran.stdout}"


@functools.cache
def way_in() -> list[str]:
    """The command that enters such namespaces; where there is none, the test is skipped, or fails if root may not."""
    told = [f"there is no {name}" for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    for way in [] if told else [UNSHARE, [*UNSHARE, *AS_ROOT]]:
        probe = "ip link add strand type bridge && ip link add v0 type veth peer name v1 && mount -t tmpfs none /run"
        ran = subprocess.run([*way, "sh", "-c", probe], capture_output=True, text=True, check=False)
        if ran.returncode == 0:
            return way
        told.append(f"`{' '.join(way)}`: {ran.stderr.strip()}")
    why = f"no namespaces here (Debian: iproute2, util-linux; root, or user namespaces): {'; '.join(told)}"
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run this test in namespaces of its own."""

    @functools.wraps(test)
    def outside(tmp_path: Path, **others: object) -> None:
        if os.environ.get(INSIDE):
            test(tmp_path=tmp_path, **others)
            return
        name = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-rs",
            "-s",
            "-p",
            "no:cacheprovider",
            f"--basetemp={tmp_path / 'in'}",
        ]
        ran = subprocess.run(
            [*way_in(), *command, name],
            cwd=ROOT,
            env={**os.environ, INSIDE: "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            pytest.fail(f"in its namespaces:\n{ran.stdout}", pytrace=False)
        if skipped := re.search(r"^SKIPPED .*?: (.*)", ran.stdout, re.MULTILINE):
            pytest.skip(skipped[1])
        print(ran.stdout)

    return outside


class Network:
    """The networks of so many brokers, and one that they and the test meet in."""

    def __init__(self, count: int) -> None:
        """Make them; nobody but this test sees them."""
        run("mount", "-t", "tmpfs", "none", "/run")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "strand", "type", "bridge")
        run("ip", "address", "add", "10.77.0.254/24", "dev", "strand")
        run("ip", "link", "set", "strand", "up")
        self.places = [self._place(number) for number in range(count)]

    @staticmethod
    def _place(number: int) -> Place:
        name, host = f"b{number}", f"10.77.0.{number + 1}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"v{number}", "master", "strand", "up")
        run("ip", "-n", name, "address", "add", f"{host}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        return Place(host, 9092, 9093, ("nsenter", f"--net=/run/netns/{name}", "--"))

    def _neighbour(self, verb: str, sender: int, receiver: int) -> None:
        wrong = ("lladdr", NOBODY, "nud", "permanent") if verb == "replace" else ()
        run("ip", "-n", f"b{sender}", "neighbour", verb, self.places[receiver].host, *wrong, "dev", "eth0")

    @contextmanager
    def cut(self, links: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Lose what the first of each pair sends to the second, for a while."""
        for sender, receiver in links:
            self._neighbour("replace", sender, receiver)
        try:
            yield
        finally:
            for sender, receiver in links:
                self._neighbour("del", sender, receiver)

    @contextmanager
    def unplugged(self, number: int) -> Iterator[None]:
        """Pull a broker's cable, for a while: nobody reaches it, also no client."""
        run("ip", "link", "set", f"v{number}", "down")
        try:
            yield
        finally:
            run("ip", "link", "set", f"v{number}", "up")


class Disk:
    """A disk that may be full, and that nobody but this test sees."""

    def __init__(self, at: Path) -> None:
        """Mount it, with room."""
        self.at = at
        at.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", "size=4g", "none", str(at))

    @contextmanager
    def full(self, left: int) -> Iterator[None]:
        """Leave so many bytes of it, for a while."""
        # More may be written meanwhile than is to be left.
        assert any(self._limit(left) for _ in range(100)), f"{self.at} is written to all the time"
        try:
            yield
        finally:
            run("mount", "-o", "remount,size=4g", str(self.at))

    def _limit(self, left: int) -> bool:
        state = os.statvfs(self.at)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize
        command = ["mount", "-o", f"remount,size={used + left}", str(self.at)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        # The system refuses to leave less than what is used by now.
        assert ran.returncode == 0 or "bad option" in ran.stderr, ran.stderr
        return ran.returncode == 0
