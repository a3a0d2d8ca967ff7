"""A scan as a `polars.LazyFrame`: columns, offsets, partitions, times and the number of rows are pushed down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from polars.io.plugins import register_io_source

from strandline._bounds import narrow, of_polars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strandline.scan import Progress, Scan


def scan_polars(scan: Scan) -> pl.LazyFrame:
    """Wrap a scan."""

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = scan
        if predicate is not None:
            wanted = narrow(wanted, of_polars(predicate))
        elif n_rows is not None:
            wanted = wanted.limit(n_rows)
        if with_columns is not None:
            looked_at = set(with_columns) | set(predicate.meta.root_names() if predicate is not None else ())
            wanted = wanted.select([name for name in wanted.columns if name in looked_at])
        left = n_rows
        for frame in frames(wanted):
            if predicate is not None:
                frame = frame.filter(predicate)
            if with_columns is not None:
                frame = frame.select(with_columns)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame
            if left == 0:
                return

    return register_io_source(read, schema=_empty(scan).schema, validate_schema=True)


def to_polars(scan: Scan, progress: Progress = False) -> pl.DataFrame:
    """Read it whole."""
    read = list(frames(scan, progress))
    return pl.concat(read, rechunk=False) if read else _empty(scan)


def frames(scan: Scan, progress: Progress = False) -> Iterator[pl.DataFrame]:
    """Read it piece by piece: polars would read a stream whole, and what is in memory should stay bounded."""
    for batch in scan._batches(True, progress):
        yield pl.DataFrame(batch)


def _empty(scan: Scan) -> pl.DataFrame:
    """Make a frame without rows, for its schema."""
    return pl.DataFrame(scan.limit(0))
