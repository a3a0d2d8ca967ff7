"""Parts of a scan, read by three processes of Dask's from either broker."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import strandline as sl
from support.compare import Stage, Transcript
from support.scans import produce, rows
from support.tools import Tools
from support.topics import create
from support.workers import read_by_workers, three_workers


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Three of them, for both brokers."""
    with three_workers() as client:
        yield client


def test_three_workers_read_what_one_reads(stage: Stage, workers: Any) -> None:
    def scenario(bootstrap: str, _tools: Tools) -> Transcript:
        topic = create(bootstrap, "splits", 6)
        produce(bootstrap, topic, "zstd", 3_000, partitions=6)
        client = sl.connect(bootstrap, client_id="splits")
        scan = client.topic(topic).scan()
        parts = scan.splits(9)
        processes, tables = read_by_workers(workers, parts)
        assert pa.concat_tables(tables).to_pylist() == scan.to_pyarrow().to_pylist()
        client.close()
        return [len(processes), [table.num_rows for table in tables], [part.count() for part in parts], rows(parts[4])]

    stage.play(scenario)
