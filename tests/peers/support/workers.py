"""Dask's distributed scheduler with three workers, each a process of its own, on loopback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from distributed import Client, LocalCluster

import strandline as sl


@contextmanager
def three_workers() -> Iterator[Any]:
    """Start them, give a client, and end them."""
    with (
        LocalCluster(n_workers=3, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as workers,
        Client(workers) as client,
    ):
        yield client


def read_by_workers(client: Any, parts: list[sl.Scan]) -> tuple[set[int], list[pa.Table]]:
    """Have each part read by a worker: which processes did, and what they read."""

    def read(part: sl.Scan) -> tuple[int, pa.Table]:
        return os.getpid(), part.to_pyarrow()

    # Each worker gets its share whatever the others do, so that a quick one does not read it all.
    names = sorted(client.scheduler_info()["workers"])
    asked = [client.submit(read, part, workers=[names[n % len(names)]]) for n, part in enumerate(parts)]
    found = client.gather(asked)
    return {process for process, _ in found}, [table for _, table in found]
