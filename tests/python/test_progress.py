"""How far a long read is: told after each batch, to a function or on tqdm's bar."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tqdm

import strandline as sl


@pytest.fixture(scope="module")
def numbers(cluster: sl.Cluster) -> sl.Topic:
    """Two partitions of fifty records each, one batch a record."""
    topic = cluster.create_topic("progress", partitions=2)
    with cluster.producer(batch_size=0) as producer:
        for n in range(100):
            producer.send("progress", str(n), partition=n % 2)
            if n % 10 == 9:
                producer.flush()
    return topic


READS: dict[str, Callable[..., Any]] = {
    "to_pyarrow": lambda scan, path, **progress: scan.to_pyarrow(**progress).num_rows,
    "to_polars": lambda scan, path, **progress: scan.to_polars(**progress).height,
    "to_pandas": lambda scan, path, **progress: len(scan.to_pandas(**progress)),
    "to_batches": lambda scan, path, **progress: sum(batch.num_rows for batch in scan.to_batches(**progress)),
    "write_parquet": lambda scan, path, **progress: scan.write_parquet(path / "numbers.parquet", **progress),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_function_is_told(numbers: sl.Topic, tmp_path: Path, read: Callable[..., Any]) -> None:
    told: list[tuple[int, int]] = []
    scan = numbers.scan(batch_rows=25)
    assert read(scan, tmp_path, progress=lambda *progress: told.append(progress)) == 100
    assert len(told) == 4
    assert told == sorted(told)
    assert told[-1] == (100, 100)
    assert {total for _, total in told} == {100}
    assert read(scan, tmp_path, progress=False) == read(scan, tmp_path) == 100


def test_a_scan_without_rows_is_at_its_end(numbers: sl.Topic) -> None:
    told: list[tuple[int, int]] = []
    for scan in (numbers.scan(start="latest"), numbers.scan(limit=7, batch_rows=5)):
        scan.to_polars(progress=lambda *progress: told.append(progress))
    assert told == [(0, 0), (7, 7), (7, 7)]


def test_what_the_function_raises_ends_the_read(numbers: sl.Topic) -> None:
    def stop(_read: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        numbers.scan().to_pyarrow(progress=stop)


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the bar would show in a terminal."""
    shown = io.StringIO()
    automatic = ModuleType("tqdm.auto")
    automatic.tqdm = lambda **options: tqdm.tqdm(file=shown, mininterval=0, **options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm.auto", automatic)
    return shown


def test_a_bar_moves_to_its_end(numbers: sl.Topic, bar: io.StringIO) -> None:
    assert numbers.scan(batch_rows=25).to_polars(progress=True).height == 100
    shown = bar.getvalue().split("\r")
    assert "progress:   0%" in shown[1]
    assert "progress: 100%" in shown[-1]
    assert "100/100" in shown[-1]


def test_a_bar_needs_tqdm(numbers: sl.Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"progress=True \(a function does without\) needs tqdm: pip install tqdm"):
        numbers.scan().to_pyarrow(progress=True)
