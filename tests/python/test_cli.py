"""The `strandline` command as a user meets it, against a broker of its own.

`STRANDLINE_CLI_BOOTSTRAP=host:port` plays the same stories against a cluster that runs already, Apache Kafka say.
"""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Run = Callable[..., str]
BINARY = os.environ.get("STRANDLINE_BIN") or str(Path(sys.executable).parent / "strandline")


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if running := os.environ.get("STRANDLINE_CLI_BOOTSTRAP"):
        yield running
        return
    data = tmp_path_factory.mktemp("data")
    command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data)]
    command += ["--override", "group.initial.rebalance.delay.ms=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout
        ready = broker.stdout.readline()
        found = re.search(r"(\S+:\d+)", ready)
        assert found, f"the broker said {ready!r}"
        yield found[1]
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(30) == 0


@pytest.fixture
def run(bootstrap: str) -> Run:
    def run(*args: str, stdin: str | bytes = "", fails: int = 0) -> str:
        """Stdout; of a command that is to fail, stderr."""
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        command = [BINARY, *args, "-b", bootstrap]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
        assert done.returncode == fails, f"{args}: {done.returncode}\n{done.stdout!r}\n{done.stderr.decode()}"
        if fails:
            return done.stderr.decode()
        assert done.stderr == b"", done.stderr.decode()
        return done.stdout.decode()

    return run


@pytest.fixture
def topic(run: Run) -> str:
    """A topic of three partitions."""
    name = f"cli-{uuid.uuid4().hex[:8]}"
    run("topics", "create", name, "--partitions", "3")
    return name


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_topic_is_created_described_altered_and_deleted(run: Run) -> None:
    name = f"cli-{uuid.uuid4().hex[:8]}"
    run("topics", "create", name, "--partitions", "2", "--config", "retention.ms=60000")
    assert name in run("topics", "list").split()
    assert {"topic": name, "partitions": 2}.items() <= next(
        row for row in rows(run("topics", "list", "--json")) if row["topic"] == name
    ).items()
    described = run("topics", "describe", name)
    assert f"Topic {name}" in described
    assert "retention.ms=60000" in described
    partitions = rows(run("topics", "describe", name, "--json"))[0]["partitions"]
    assert isinstance(partitions, list)
    assert [row["partition"] for row in partitions] == [0, 1]
    run(
        "topics",
        "alter",
        name,
        "--partitions",
        "4",
        "--config",
        "retention.bytes=1000",
        "--delete-config",
        "retention.ms",
    )
    described = run("topics", "describe", name)
    assert "retention.bytes=1000" in described
    assert "retention.ms" not in described
    assert "PARTITION" in described
    assert "TOPIC_ALREADY_EXISTS" in run("topics", "create", name, fails=1)
    run("topics", "delete", name)
    assert name not in run("topics", "list").split()
    assert "UNKNOWN_TOPIC_OR_PARTITION" in run("topics", "describe", name, fails=1)


def test_lines_go_in_and_come_out(run: Run, topic: str) -> None:
    run("produce", topic, "-K", ":", "-z", "zstd", "-H", "from=test", stdin="UA:one\nDL:two\nUA:three\n:four\nfive\n")
    lines = run("consume", topic, "-e", "-f", r"%k=%v %h\n").splitlines()
    assert sorted(lines) == [
        "=five from=test",
        "=four from=test",
        "DL=two from=test",
        "UA=one from=test",
        "UA=three from=test",
    ]
    assert lines.index("UA=one from=test") < lines.index("UA=three from=test")
    objects = rows(run("consume", topic, "-e", "-J"))
    assert {row["payload"] for row in objects} == {"one", "two", "three", "four", "five"}
    assert {row["key"] for row in objects} == {"UA", "DL", "", None}
    assert all(row["headers"] == ["from", "test"] for row in objects)


def test_bytes_come_out_as_they_went_in(run: Run, topic: str, tmp_path: Path, bootstrap: str) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(range(256)) * 10 + b"|end|last")
    run("produce", topic, str(blob), "-D", "|end|", "-p", "1")
    command = [BINARY, "consume", topic, "-b", bootstrap, "-e", "-p", "1", "-f", r"%v\0"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert done.stdout == bytes(range(256)) * 10 + b"\0last\0"


def test_it_begins_and_ends_where_it_is_told(run: Run, topic: str) -> None:
    run("produce", topic, "-p", "0", stdin="".join(f"{n}\n" for n in range(100)))
    read = lambda *args: run("consume", topic, "-p", "0", "-e", *args).split()  # noqa: E731
    assert read("-o", "97") == ["97", "98", "99"]
    assert read("-o", "-2") == ["98", "99"]
    assert read("-o", "end") == []
    assert read("-o", "beginning", "-c", "2") == ["0", "1"]
    first, last = (int(run("consume", topic, "-p", "0", "-o", at, "-c", "1", "-f", "%T")) for at in ("0", "99"))
    assert read("-o", f"s@{last + 1}") == []
    assert read("-o", f"s@{first}", "-c", "1") == ["0"]
    assert read("-o", f"e@{first}") == []
    assert "has no partition 7" in run("consume", topic, "-p", "7", fails=1)
    assert "it must be beginning" in run("consume", topic, "-o", "middle", fails=1)


def test_a_null_is_a_tombstone_where_it_is_asked_for(run: Run, topic: str) -> None:
    run("produce", topic, "-Z", "-k", "key", stdin="value\n\n")
    assert run("consume", topic, "-e", "-Z", "-f", r"%k %v %S\n") == "key value 5\nkey NULL -1\n"


def test_a_group_goes_on_where_it_stopped(run: Run, topic: str) -> None:
    group = f"g-{topic}"
    run("produce", topic, "-p", "0", stdin="one\ntwo\nthree\n")
    read = lambda *args: run("consume", topic, "-G", group, "-o", "beginning", *args).split()  # noqa: E731
    assert read("-c", "2") == ["one", "two"]
    assert read("-e") == ["three"]
    described = rows(run("groups", "describe", group, "--json"))
    assert [(row["partition"], row["current_offset"], row["lag"]) for row in described if row["partition"] == 0] == [
        (0, 3, 0)
    ]
    assert group in run("groups", "list")
    plan = run("groups", "reset", group, "--topic", topic, "--to", "earliest", "--json")
    assert next(row for row in rows(plan) if row["partition"] == 0)["new_offset"] == 0
    assert read("-e") == []
    run("groups", "reset", group, "--topic", f"{topic}:0", "--to", "1", "--execute")
    assert read("-e") == ["two", "three"]
    run("groups", "reset", group, "--topic", f"{topic}:0", "--to-datetime", "2000-01-01T00:00:00Z", "--execute")
    assert read("-e") == ["one", "two", "three"]
    run("groups", "delete", group)
    assert group not in run("groups", "list").split()
    assert "GROUP_ID_NOT_FOUND" in run("groups", "describe", group, fails=1)


def test_offsets_are_told_and_records_deleted(run: Run, topic: str) -> None:
    run("produce", topic, "-p", "2", stdin="one\ntwo\nthree\n")
    offsets = lambda *args: {  # noqa: E731
        row["partition"]: row["offset"] for row in rows(run("topics", "offsets", topic, "--json", *args))
    }
    assert offsets() == {0: 0, 1: 0, 2: 3}
    assert offsets("--time", "max")[2] in (0, 1, 2)
    assert offsets("--time", "2000-01-01T00:00:00Z") == {0: None, 1: None, 2: 0}
    run("topics", "delete-records", topic, "--partition", "2", "--before", "2")
    assert offsets("--time", "earliest") == {0: 0, 1: 0, 2: 2}
    assert run("consume", topic, "-e") == "three\n"


def test_ctrl_c_ends_a_consumer_cleanly(run: Run, topic: str, bootstrap: str) -> None:
    command = [BINARY, "consume", topic, "-b", bootstrap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout
        assert consumer.stderr
        run("produce", topic, stdin="hello\n")
        assert consumer.stdout.readline() == "hello\n"
        began = time.monotonic()
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(10) == 0
        assert time.monotonic() - began < 5
        assert consumer.stderr.read() == ""


def test_a_reader_who_goes_is_no_error(run: Run, topic: str, bootstrap: str) -> None:
    run("produce", topic, stdin="a line\n" * 50_000)
    command = [BINARY, "consume", topic, "-b", bootstrap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as consumer:
        assert consumer.stdout
        assert consumer.stderr
        assert consumer.stdout.read(7) == b"a line\n"
        consumer.stdout.close()
        assert consumer.wait(20) == 0
        assert consumer.stderr.read() == b""


def test_what_is_wrong_is_said_in_a_sentence(run: Run, topic: str) -> None:
    assert "did you mean max.block.ms?" in run("produce", topic, "-X", "max.blok.ms=1", fails=1)
    told = run("produce", topic, stdin=f"ok\n{'x' * 1_100_000}\n", fails=1)
    assert "record 2 " in told
    assert "max.request.size" in told
    assert "UNKNOWN_TOPIC_OR_PARTITION" in run("consume", f"{topic}-not", "-e", fails=1)
    done = subprocess.run([BINARY, "topics", "list", "-b", "127.0.0.1:1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"), [(False, {}, False), (True, {}, True), (True, {"NO_COLOR": "1"}, False)]
)
def test_only_a_terminal_gets_colours(
    tmp_path: Path, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    reader, writer = pty.openpty() if terminal else os.pipe()
    command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")]
    # A key without effect is worth a line.
    command += ["--override", "num.io.threads=9"]
    bare = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, env={**bare, **environment}) as broker:
        os.close(writer)
        assert broker.stdout
        assert broker.stdout.readline()
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(30) == 0
    told = b""
    # A terminal whose other side is gone ends with an error.
    with contextlib.suppress(OSError):
        while piece := os.read(reader, 65536):
            told += piece
    os.close(reader)
    assert b"INFO" in told
    assert (b"\x1b[" in told) == coloured


@pytest.fixture
def table(run: Run, topic: str) -> str:
    """A topic with JSON values in two of its partitions."""
    run("produce", topic, "-p", "0", "-K", ":", "-H", "h=1", stdin='UA:{"n": 1, "s": "a,b"}\nAA:{"n": 2, "s": null}\n')
    run("produce", topic, "-p", "1", "-K", ":", stdin='DL:{"n": 3}\n')
    return topic


def test_a_topic_is_scanned_in_each_format(run: Run, table: str, bootstrap: str) -> None:
    objects = rows(run("scan", table, "--format", "json", "--columns", "partition,offset,key,value,headers"))
    assert objects == [
        {"partition": 0, "offset": 0, "key": "UA", "value": '{"n": 1, "s": "a,b"}', "headers": [H]},
        {"partition": 0, "offset": 1, "key": "AA", "value": '{"n": 2, "s": null}', "headers": [H]},
        {"partition": 1, "offset": 0, "key": "DL", "value": '{"n": 3}', "headers": []},
    ]
    typed = ("--value", "json", "--columns", "carrier=key,n,s")
    assert run("scan", table, "--format", "csv", *typed) == 'carrier,n,s\nUA,1,"a,b"\nAA,2,\nDL,3,\n'
    assert run("scan", table, *typed, "--limit", "2") == "CARRIER  N  S\nUA       1  a,b\nAA       2  -\n"
    command = [BINARY, "scan", table, "-b", bootstrap, "--format", "arrow", "--key", "utf8", *typed]
    with pa.ipc.open_stream(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout) as reader:
        assert [str(field.type) for field in reader.schema] == ["large_string", "int64", "string"]
        assert reader.read_all().to_pydict() == {
            "carrier": ["UA", "AA", "DL"],
            "n": [1, 2, 3],
            "s": ["a,b", None, None],
        }


H = {"key": "h", "value": "1"}


def test_a_scan_begins_and_ends_where_it_is_told(run: Run, table: str) -> None:
    read = lambda *args: run("scan", table, "--format", "csv", "--columns", "key", *args).split()[1:]  # noqa: E731
    assert read() == ["UA", "AA", "DL"]
    assert read("-p", "1,0", "--start", "1") == ["AA"]
    assert read("--start", "0:1,1:1") == ["AA"]
    assert read("--end", "0:1,1:0") == ["UA"]
    assert read("--start", "1h") == ["UA", "AA", "DL"]
    assert read("--end", "2013-01-01T05:15:00Z") == []
    assert read("--start", "latest") == []
    assert read("--isolation", "read_committed", "--limit", "2") == ["UA", "AA"]


def test_a_scan_shows_a_table_s_first_rows_and_says_so(run: Run, topic: str, bootstrap: str) -> None:
    run("produce", topic, "-p", "0", stdin="".join(f"{n}\n" for n in range(101)))
    command = [BINARY, "scan", topic, "-b", bootstrap]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert len(done.stdout.splitlines()) == 101
    assert done.stderr == "strandline: these are the first 100 rows; --limit N for more, or another --format\n"
    assert len(run("scan", topic, "--limit", "101").splitlines()) == 102


@pytest.mark.parametrize("form", [["--format", "parquet"], ["--format=parquet"]])
def test_a_scan_is_written_as_parquet(bootstrap: str, table: str, tmp_path: Path, form: list[str]) -> None:
    command = [sys.executable, "-m", "strandline", "scan", table, "-b", bootstrap, "--key", "utf8", *form]
    with open(tmp_path / "t.parquet", "wb") as file:
        subprocess.run(command, stdout=file, timeout=60, check=True)
    assert pq.read_table(tmp_path / "t.parquet").column("key").to_pylist() == ["UA", "AA", "DL"]
    done = subprocess.run([*command, "--columns", "size"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith('strandline: there is no column "size"')


def test_a_scan_that_makes_no_sense_is_told_in_a_sentence(run: Run, table: str) -> None:
    assert "it must be table, json, csv or arrow" in run("scan", table, "--format", "xml", fails=2)
    assert '--start "soon": it must be earliest' in run("scan", table, "--start", "soon", fails=1)
    assert '--key is "text": it must be one of binary' in run("scan", table, "--key", "text", fails=1)
    assert 'there is no column "size"' in run("scan", table, "--columns", "size", fails=1)
    assert "has no partition 7: it has 3" in run("scan", table, "-p", "7", fails=1)
    assert "UNKNOWN_TOPIC_OR_PARTITION" in run("scan", f"{table}-not", fails=1)
    told = run("scan", table, "--key", "int64", "--format", "json", fails=1)
    assert f"the key of the record at offset 0 of {table}-0 is not int64: it must have 8 bytes" in told
    nulls = run("scan", table, "--key", "int64", "--errors", "null", "--format", "csv", "--columns", "offset,key")
    assert nulls == "offset,key\n0,\n1,\n0,\n"


def test_a_scan_reads_the_files_of_a_broker_that_has_stopped(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with subprocess.Popen(
        [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data)], stdout=subprocess.PIPE, text=True
    ) as broker:
        assert broker.stdout
        found = re.search(r"(\S+:\d+)", broker.stdout.readline())
        assert found
        produce = [BINARY, "produce", "flights", "-b", found[1], "-K", ":"]
        subprocess.run(produce, input=b"UA:one\nAA:two\n", timeout=60, check=True)
        scan = [BINARY, "scan", "flights", "--data-dir", str(data), "--columns", "offset,key,value"]
        done = subprocess.run(scan, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"in use by the broker of process {broker.pid}" in done.stderr
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(30) == 0
    done = subprocess.run(scan, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "OFFSET  KEY  VALUE\n     0  UA   one\n     1  AA   two\n"
    assert done.stderr == ""
    done = subprocess.run([*scan[:2], "trains", *scan[3:]], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, f"strandline: topic trains: {data} has no folder of it\n")
