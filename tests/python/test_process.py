"""What happens to a process: Ctrl-C, a fork, an exit at any moment, threads that wait."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence

import pytest

import strandline as sl


def run(script: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def interrupted(script: str) -> tuple[int, str]:
    """Run a script, and press Ctrl-C once it has said that it waits."""
    command: Sequence[str] = [sys.executable, "-u", "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    return process.returncode, first + rest


PREPARE = """
    import sys, threading, strandline as sl
    cluster = sl.Cluster()
    cluster.create_topic("t", partitions=2)
"""

SENT = """
    with cluster.producer() as first:
        for _ in range(2):
            first.send("t", b"v", partition=0)
"""

ASYNC = """
    import asyncio, uvloop

    async def iterate(**options):
        consumer = cluster.async_consumer("t", **options)
        async for message in consumer:
            pass

    async def send(count, wait):
        producer = cluster.async_producer(linger_ms=1)
        sent = [producer.send("t", b"v") for _ in range(count)]
        if wait:
            await asyncio.gather(*sent)

    async def send_for_ever():
        while True:
            await send(100, wait=True)

    async def leave_tasks():
        tasks = [asyncio.create_task(iterate(group_id="g")), asyncio.create_task(send_for_ever())]
        await asyncio.sleep(0.1)
        return tasks
"""

WAITS = {
    "iterating": "for message in cluster.consumer('t'): pass",
    "iterating in a group": "for message in cluster.consumer('t', group_id='g'): pass",
    "polling": "cluster.consumer('t').poll(timeout=100)",
    "following": "next(cluster.topic('t').stream())",
    "following in a group": "next(cluster.topic('t').stream(group_id='g'))",
    "a delivery": "lingering.send('t', b'v').result()",
    "metadata": "unreachable.send('t', b'v')",
    "a table that cannot be sent": "unreachable.send_table('t', table, value='v')",
    "a scan": "sl.connect('127.0.0.1:1').topic('t').scan()",
    "an answer for the admin": "sl.connect('127.0.0.1:1').admin().list_topics()",
    "a consumer's offsets": "sl.connect('127.0.0.1:1').consumer('t').end_offsets([sl.TopicPartition('t', 0)])",
    "async iterating": "asyncio.run(iterate())",
    "async iterating in a group": "asyncio.run(iterate(group_id='g'))",
    "async sending": "asyncio.run(send_for_ever())",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_ctrl_c_ends_a_wait(wait: str) -> None:
    code, output = interrupted(
        PREPARE
        + ASYNC
        + f"""
    import pyarrow
    table = pyarrow.table({{"v": ["a"]}})
    lingering = cluster.producer(linger_ms=100_000, delivery_timeout_ms=200_000)
    unreachable = sl.connect("127.0.0.1:1").producer(max_block_ms=100_000)
    threading.Timer(0.3, lambda: print("waiting")).start()
    try:
        {wait}
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(7)
    """
    )
    assert (code, output) == (7, "waiting\ninterrupted\n")


OPEN = {
    "cluster": "",
    "sent": "p = cluster.producer(); [p.send('t', b'v') for _ in range(1000)]",
    "lingering": "p = cluster.producer(linger_ms=10_000); p.send('t', b'v')",
    "consumer": "c = cluster.consumer('t', group_id='g', auto_offset_reset='earliest'); c.poll(timeout=0.2)",
    "thread": "threading.Thread(target=lambda: list(cluster.consumer('t', group_id='g')), daemon=True).start()",
    "scan": "next(batches := cluster.topic('t').scan(batch_rows=1).to_batches())",
    "scan over a socket": "next(b := sl.connect(cluster.bootstrap_servers).topic('t').scan(batch_rows=1).to_batches())",
    "table": "import pyarrow; table = pyarrow.table(cluster.topic('t').scan())",
    "awaiting": (
        "import asyncio; p = cluster.producer(linger_ms=1)\n"
        "    async def send(): await p.send('t', b'v')\n"
        "    async def all(): [asyncio.ensure_future(send()) for _ in range(100)]\n"
        "    asyncio.run(all())"
    ),
    "waiters": (
        "p = cluster.producer()\n"
        "    def wait(): [p.send('t', b'v').result() for _ in iter(int, 1)]\n"
        "    for _ in range(3): threading.Thread(target=wait, daemon=True).start()"
    ),
    "sender": (
        "p = cluster.producer(); "
        "threading.Thread(target=lambda: [p.send('t', b'v') for _ in iter(int, 1)], daemon=True).start()"
    ),
    "async sent": "asyncio.run(send(1000, wait=True))",
    "async not awaited": "asyncio.run(send(1000, wait=False))",
    "async tasks": "asyncio.run(leave_tasks())",
    "uvloop tasks": "uvloop.run(leave_tasks())",
    "a loop that stands still": "loop = asyncio.new_event_loop(); tasks = loop.run_until_complete(leave_tasks())",
    "a loop in a thread": "threading.Thread(target=asyncio.run, args=(send_for_ever(),), daemon=True).start()",
    "an async iteration in a thread": "threading.Thread(target=uvloop.run, args=(iterate(),), daemon=True).start()",
}


@pytest.mark.parametrize("left", OPEN.values(), ids=OPEN.keys())
def test_an_exit_with_open_objects_is_quiet_and_leaves_no_folder(left: str) -> None:
    for _ in range(4):
        done = run(PREPARE + SENT + ASYNC + f"    {left}\n    print(cluster.data_dir)\n")
        assert (done.returncode, done.stderr) == (0, "")
        assert not os.path.exists(done.stdout.strip())


def test_records_that_are_taken_from_a_line_while_the_interpreter_ends_do_not_keep_it() -> None:
    script = """
    import asyncio, atexit, os, threading, strandline as sl
    cluster = sl.Cluster(config={"auto.create.topics.enable": "false"})
    in_line = threading.Semaphore(0)

    async def send():
        sent = cluster.async_producer(linger_ms=0).send("late", b"v")
        asyncio.get_running_loop().call_soon(in_line.release)
        await sent

    for _ in range(4 * os.cpu_count()):
        threading.Thread(target=asyncio.run, args=(send(),), daemon=True).start()
        in_line.acquire()
    atexit.register(lambda: print(cluster.bootstrap_servers, flush=True))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ending = process.stdout.readline().strip()
        try:
            # On a machine so slow that the broker has ended by then, all the same must hold.
            with sl.connect(ending) as client, contextlib.suppress(TimeoutError, ConnectionError):
                client.create_topic("late")
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, told) == (0, "")


def test_what_was_sent_is_written_before_the_interpreter_ends(cluster: sl.Cluster, topic: sl.Topic) -> None:
    script = """
    import sys, strandline as sl
    producer = sl.connect(sys.argv[1]).producer(linger_ms=1000)
    for number in range(1000):
        producer.send(sys.argv[2], str(number))
    """
    done = run(script, cluster.bootstrap_servers, topic.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert topic.record_count == 1000


def test_a_loop_that_is_closed_while_completions_are_on_the_way_is_left_alone() -> None:
    done = run(
        PREPARE
        + ASYNC
        + """
    producer = cluster.async_producer(linger_ms=0)

    async def send_some():
        sent = [producer.send("t", b"v") for _ in range(100)]
        for one in sent:
            one.add_done_callback(lambda _: None)
        asking = cluster.async_admin().list_topics()
        asking.send(None)
        return sent, asking

    for number in range(200):
        (uvloop.run if number % 2 else asyncio.run)(send_some())
    asyncio.run(producer.close())
    print(cluster.topic("t").record_count)
    """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "20000\n", "")


def test_an_uncaught_error_ends_as_ever() -> None:
    done = run(PREPARE + "    producer = cluster.producer()\n    raise LookupError('mine')\n")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("LookupError: mine")


FORK = """
    import os
    producer = cluster.producer()
    sent = producer.send("t", b"parent", partition=0)
    consumer = cluster.consumer("t", group_id="g", auto_offset_reset="earliest")
    message = next(iter(consumer))
    topic = cluster.topic("t")

    def refused(call):
        try:
            call()
        except sl.errors.ForkedError:
            return True
        return False

    def child():
        calls = [
            lambda: producer.send("t", b"v"), producer.flush, sent.result, lambda: next(iter(consumer)), consumer.close,
            lambda: cluster.create_topic("u"), cluster.close, lambda: topic.record_count, cluster.producer,
            cluster.admin, lambda: cluster.consumer("t"), producer.close,
        ]
        assert all(refused(call) for call in calls), [refused(call) for call in calls]
        assert message.value == b"parent"
        with sl.connect(os.environ["SERVERS"]) as client, client.producer() as own:
            own.send("t", b"child", partition=1).result(timeout=30)
        with sl.Cluster() as other:
            other.producer().send("t", b"v").result(timeout=30)

    os.environ["SERVERS"] = cluster.bootstrap_servers
"""


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
def test_a_forked_child_makes_its_own_and_leaves_the_parent_s_alone(leave: str) -> None:
    done = run(
        PREPARE
        + FORK
        + f"""
    pid = os.fork()
    if pid == 0:
        child()
        {leave}
    assert os.waitpid(pid, 0)[1] == 0
    assert cluster.data_dir.is_dir()
    producer.send("t", b"parent").result(timeout=30)
    with cluster.consumer("t", auto_offset_reset="earliest", stop_at_end=True) as reader:
        values = sorted(message.value for message in reader)
    assert values == [b"child", b"parent", b"parent"], values
    cluster.close()
    print("well")
    """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")


def test_a_child_forked_from_an_event_loop_makes_its_own() -> None:
    done = run(
        PREPARE
        + """
    import asyncio, os
    servers = cluster.bootstrap_servers

    async def refused(call):
        try:
            it = call()
            if asyncio.iscoroutine(it):
                await it
        except sl.errors.ForkedError:
            return True
        return False

    async def child(producer, sent, consumer, admin):
        calls = [
            lambda: producer.send("t", b"v"), producer.flush, producer.close, lambda: sent, sent.result, consumer.poll,
            consumer.commit, lambda: anext(consumer), consumer.assignment, consumer.close, admin.list_topics,
            cluster.async_producer, cluster.async_admin, lambda: cluster.async_consumer("t"),
        ]
        assert all([await refused(call) for call in calls]), [await refused(call) for call in calls]
        async with sl.connect(servers) as client, client.async_producer() as own:
            await own.send("t", b"child", partition=1)

    async def main():
        async with cluster.async_producer(linger_ms=1) as producer, cluster.async_admin() as admin:
            consumer = cluster.async_consumer("t", group_id="g", auto_offset_reset="earliest")
            for _ in range(5):
                sent = producer.send("t", b"parent", partition=0)
                waiting = asyncio.gather(sent, consumer.poll(), admin.list_topics())
                await asyncio.sleep(0)
                pid = os.fork()
                if pid == 0:
                    # The loop is the parent's too: a child runs one of its own.
                    asyncio._set_running_loop(None)
                    asyncio.run(child(producer, sent, consumer, admin))
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
                await waiting
            await consumer.close()

    asyncio.run(main())
    print(cluster.topic("t").record_count)
    """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "10\n", "")


def test_forks_under_load_are_safe() -> None:
    done = run(
        PREPARE
        + """
    import os
    producer = cluster.producer(linger_ms=0)
    for _ in range(20):
        for _ in range(500):
            producer.send("t", b"v")
        pid = os.fork()
        if pid == 0:
            with sl.connect(cluster_address).producer() as own:
                own.send("t", b"child").result(timeout=30)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    producer.flush(timeout=30)
    print(cluster.topic("t").record_count)
    """.replace("import os\n", "import os\n    cluster_address = cluster.bootstrap_servers\n")
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "10020\n", "")


def test_multiprocessing_workers_have_their_own(cluster: sl.Cluster, topic: sl.Topic) -> None:
    script = """
    import multiprocessing, sys, strandline as sl

    def work(number):
        with sl.connect(sys.argv[1]).producer() as producer:
            return producer.send(sys.argv[2], str(number)).result(timeout=30).offset

    if __name__ == "__main__":
        sl.connect(sys.argv[1]).topic(sys.argv[2]).record_count
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(sorted(pool.map(work, range(6))))
    """
    done = run(script, cluster.bootstrap_servers, topic.name)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3, 4, 5]\n"), done.stderr


def test_the_gil_is_free_while_something_waits(cluster: sl.Cluster, topic: sl.Topic) -> None:
    done = run(
        """
    import sys, threading, strandline as sl
    consumer = sl.connect(sys.argv[1]).consumer(sys.argv[2])
    count = 0

    def poll():
        consumer.poll(timeout=1)

    thread = threading.Thread(target=poll)
    thread.start()
    while thread.is_alive():
        count += 1
    print(count > 10_000)
    """,
        cluster.bootstrap_servers,
        topic.name,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
