"""Brokers in processes of their own: they end with their parent whatever happens, and leave nothing behind."""

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import strandline as sl


def wait_gone(pids: list[int], seconds: float = 10) -> None:
    """Wait until none of these processes runs any more."""
    for pid in pids:
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            assert poll.poll(seconds * 1000), f"process {pid} still runs"
        finally:
            os.close(process)


def pids(cluster: sl.Cluster) -> list[int]:
    """The processes of all brokers."""
    found = [broker.pid for broker in cluster.brokers]
    assert None not in found
    return [pid for pid in found if pid is not None]


def test_each_broker_is_a_process() -> None:
    with sl.Cluster(brokers=3, isolation="process") as cluster:
        running = pids(cluster)
        assert len({os.getpid(), *running}) == 4
        assert repr(cluster.brokers[1]) == f"<Broker 1, running in process {running[1]}>"
        folder = cluster.data_dir
        assert sorted(path.name for path in folder.iterdir()) == ["broker-0", "broker-1", "broker-2"]
        ports = [int(server.rsplit(":")[1]) for server in cluster.bootstrap_servers.split(",")]
    # Close means closed.
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not folder.exists()
    for port in ports:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
    assert [broker.pid for broker in cluster.brokers] == [None] * 3
    assert [broker.exit_code for broker in cluster.brokers] == [0] * 3


def test_pause_and_resume_are_signals() -> None:
    with sl.Cluster(isolation="process") as cluster:
        [broker] = cluster.brokers
        [pid] = pids(cluster)
        broker.pause()
        assert state_of(pid) == "T"
        broker.resume()
        cluster.create_topic("t")
        assert state_of(pid) != "T"


def state_of(pid: int) -> str:
    """The one letter that Linux has for it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_a_broker_that_is_stopped_and_started_is_another_process_on_its_port() -> None:
    with sl.Cluster(isolation="process") as cluster:
        [broker] = cluster.brokers
        before, servers = broker.pid, cluster.bootstrap_servers
        broker.stop()
        assert (broker.state, broker.pid, broker.exit_code, broker.reason) == ("stopped", None, 0, None)
        broker.start()
        assert broker.pid != before
        assert cluster.bootstrap_servers == servers
        cluster.create_topic("t")


def test_a_broker_that_dies_by_itself_is_told() -> None:
    with sl.Cluster(
        brokers=3, isolation="process", broker_session_timeout_ms=2000, broker_heartbeat_interval_ms=500
    ) as cluster:
        cluster.create_topic("t", replication_factor=3)
        victim = cluster.brokers[1]
        pid = victim.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        # It was in sync, and is not any more: the others have noticed.
        wait_gone([pid])
        with cluster.producer(acks="all") as producer:
            producer.send("t", "0").result()
        assert (victim.state, victim.is_running, victim.pid, victim.exit_code) == ("died", False, None, -9)
        assert "signal 9 ended its process; the last lines of its log:" in (victim.reason or "")
        assert victim.log
        with pytest.raises(RuntimeError, match="does not run"):
            victim.kill()
        victim.start()
        cluster.wait_healthy()
        assert victim.state == "running"


PARENT = """
    import os, signal, sys
    import strandline as sl

    cluster = sl.Cluster(brokers=3, isolation="process")
    cluster.brokers[2].pause()
    print(*[broker.pid for broker in cluster.brokers], flush=True)
"""


FROM_A_THREAD = """
    import threading
    making = threading.Thread(target=lambda: globals().update(other=sl.Cluster(isolation="process")))
    making.start()
    making.join()
    print(other.brokers[0].pid, flush=True)
    other.create_topic("t")
    os.kill(os.getpid(), signal.SIGKILL)
"""

ENDS = {
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM)", -15),
    "without a word": ("os._exit(3)", 3),
    "at its end": ("sys.exit(4)", 4),
    # The fork holds the stdin of the brokers, and lives on.
    "forked": ("os.fork() and os.kill(os.getpid(), signal.SIGKILL); signal.pause()", -9),
    "from a thread that has ended": (textwrap.dedent(FROM_A_THREAD), -9),
}


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS.keys())
def test_brokers_end_with_their_parent(end: str, code: int) -> None:
    script = textwrap.dedent(PARENT) + end
    # In a session of its own, so that a fork can be ended with it.
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert parent.stdout is not None
        running = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(running) == 3
        if "threading" in end:
            running.append(int(parent.stdout.readline()))
        assert parent.wait(60) == code
        wait_gone(running)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_what_cannot_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(sl.errors.InvalidConfigError, match="must be at least"):
        sl.Cluster(isolation="process", num_partitions=-5)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on .*{port}") as refused:
            sl.Cluster(isolation="process", listen=f"127.0.0.1:{port}")
        assert refused.value.errno == errno.EADDRINUSE
    file = tmp_path / "file"
    file.write_text("this is no folder")
    with pytest.raises(sl.errors.KafkaStorageError, match="file"):
        sl.Cluster(file, isolation="process")
    with pytest.raises(sl.KafkaError, match="clock='manual' cannot be with isolation='process'"):
        sl.Cluster(isolation="process", clock="manual")


def test_ctrl_c_is_the_parents_alone() -> None:
    script = """
    import os, signal
    import strandline as sl
    with sl.Cluster(brokers=3, isolation="process") as cluster:
        try:
            os.killpg(0, signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            pass
        print([broker.state for broker in cluster.brokers])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert done.stdout == "['running', 'running', 'running']\n", done.stderr
