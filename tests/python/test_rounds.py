"""A thousand rounds of what may be left half way: afterwards the process holds no more than after the first hundred.

Each kind runs in a process of its own, for other tests would disturb what is counted.
"""

import subprocess
import sys
import textwrap

import pytest

ROUNDS, WARM_UP = 1000, 100

BEGIN = f"""
    import asyncio, gc, os, pickle, threading, time
    from pathlib import Path
    import polars as pl, pyarrow as pa, uvloop
    import strandline as sl

    ROUNDS, WARM_UP = {ROUNDS}, {WARM_UP}

    def held():
        gc.collect()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        maps = Path("/proc/self/maps").read_text().splitlines()
        return {{
            "threads": len(os.listdir("/proc/self/task")),
            "files": len(os.listdir("/proc/self/fd")),
            "segments": sum(".log" in line for line in maps),
            "own KiB": int(status["RssAnon"].split()[0]),
        }}

    cluster = sl.Cluster()
    topic = cluster.create_topic("t", partitions=2)
    rows = pa.table({{"key": [str(n) for n in range(2000)], "value": ["v" * 90] * 2000}})
    with cluster.producer() as producer:
        producer.send_table("t", rows, key="key", value="value")
    client = sl.connect(cluster.bootstrap_servers)
    remote = client.topic("t")

    def settle(done):
        # What is dropped without being closed is closed behind it, which may take longer than the next round.
        patience = time.monotonic() + 30
        while not done() and time.monotonic() < patience:
            os.sched_yield()

    before = None
    for n in range(ROUNDS):
        if n == 0:
            files = held()["files"]
        elif n % 20 == 0:
            settle(lambda: len(os.listdir("/proc/self/fd")) <= files + 8)
        if n == WARM_UP:
            before = held()
"""

END = """
    # Pools breathe by a few threads, an allocator keeps some of what it was given.
    # 900 rounds that leak 20 KiB each do not pass.
    ROOM = {"threads": 8, "files": 8, "segments": 2, "own KiB": 18_000}

    def over(after):
        return [what for what in ROOM if after[what] > before[what] + ROOM[what]]

    settle(lambda: not over(held()))
    after = held()
    print(before, after)
    assert not over(after), over(after)
    cluster.close()
    print("well")
"""

WAYS = {
    "a scan that is dropped half way": """
        batches = topic.scan(batch_rows=100).to_batches()
        next(batches)
        del batches
    """,
    "a scan over a socket that is dropped half way": """
        batches = remote.scan(batch_rows=100).to_batches()
        next(batches)
        del batches
    """,
    "a stream that another library is given and leaves half way": """
        reader = pa.RecordBatchReader.from_stream(topic.scan(batch_rows=100))
        reader.read_next_batch()
        pl.DataFrame(topic.scan(limit=10))
        del reader
    """,
    "a table that outlives its reader": """
        table = pa.table(topic.scan())
        kept = table.column("value").slice(5, 1)
        del table
    """,
    "JSON that is none": """
        try:
            topic.scan(value="json", schema=pa.schema([("a", pa.int64())])).to_pyarrow()
        except sl.KafkaError:
            pass
        else:
            raise AssertionError("it was read")
    """,
    "a table whose source breaks while it is sent": """
        def broken():
            yield from rows.slice(0, 10).to_batches()
            raise LookupError("mine")

        with cluster.producer() as producer:
            try:
                source = pa.RecordBatchReader.from_batches(rows.schema, broken())
                producer.send_table("t", source, key="key", value="value")
            except ValueError as error:
                assert "LookupError: mine" in str(error)
            else:
                raise AssertionError("it was sent")
    """,
    "a consumer that is closed from another thread": """
        consumer = client.consumer("t", auto_offset_reset="earliest")
        reading = threading.Event()

        def read():
            try:
                for message in consumer:
                    reading.set()
            except sl.KafkaError:
                pass

        thread = threading.Thread(target=read)
        thread.start()
        assert reading.wait(30)
        consumer.close()
        thread.join(30)
        assert not thread.is_alive()
    """,
    "a stream that is dropped while rows wait in it": """
        stream = remote.stream("earliest", batch_rows=100)
        next(stream)
        del stream
    """,
    "a scan that was pickled, and is dropped half way": """
        part = pickle.loads(pickle.dumps(topic.scan(batch_rows=100).splits(4)[n % 4]))
        batches = part.to_batches(progress=lambda read, total: None)
        next(batches)
        del batches, part
    """,
    "a fork in the middle of a scan": """
        batches = topic.scan(batch_rows=100).to_batches()
        next(batches)
        if n % 10 == 0:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        assert next(batches).num_rows == 100
    """,
    "waits of an event loop that are cancelled, forgotten and left to a loop that is closed": """
        async def leave():
            producer = client.async_producer(linger_ms=1)
            consumer = client.async_consumer("t", auto_offset_reset="earliest")
            message = await anext(consumer)
            sent = [producer.send("t", b"v") for _ in range(10)]
            tasks = [asyncio.create_task(it) for it in (consumer.poll(timeout=None), producer.flush(), sent[0])]
            waiting = asyncio.gather(*sent, return_exceptions=True)
            consumer.poll().close()
            admin = client.async_admin().list_topics()
            admin.send(None)
            await asyncio.sleep(0)
            for task in tasks[n % 3 :]:
                task.cancel()

        (uvloop.run if n % 2 else asyncio.run)(leave())
    """,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_nothing_leaks_over_a_thousand_rounds(way: str) -> None:
    script = textwrap.dedent(BEGIN) + textwrap.indent(textwrap.dedent(way), "    ") + textwrap.dedent(END)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("well\n")
    assert done.stderr == ""
