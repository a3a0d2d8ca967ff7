"""A topic as a table: what `Topic.scan` returns.

>>> import strandline as sl
>>> with sl.Cluster() as cluster:
...     with cluster.producer() as producer:
...         for number in range(3):
...             _ = producer.send("numbers", value=str(number))
...     scan = cluster.topic("numbers").scan(columns=["offset", "value"], value="utf8")
...     scan.to_pyarrow().to_pydict()
{'offset': [0, 1, 2], 'value': ['0', '1', '2']}

Nothing here copies where the layout allows: bytes of a cluster in this process are views into its mapped log files. A
table that is kept stays good whatever becomes of the log, its topic or its cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import duckdb
    import pandas
    import polars
    import pyarrow
    import pyarrow.dataset

    from strandline._strandline import NativeBatch, NativeScan

__all__ = ["Committed", "Progress", "Scan", "committed"]

# Whether a bar is shown, or a function that is told how many offsets were read, and of how many.
Progress: TypeAlias = bool | Callable[[int, int], object]


@dataclass(frozen=True)
class Committed:
    """The offsets that a group committed, as the `start` or `end` of a scan; made by `committed`."""

    group_id: str


def committed(group_id: str) -> Committed:
    """Name the offsets that a group committed, for `Topic.scan`: what it has still to read begins there.

    A partition without a commit begins at its first record, or ends behind its last.

    >>> from strandline import committed
    >>> committed("billing")
    Committed(group_id='billing')
    """
    return Committed(group_id)


def _needs(module: str, what: str) -> Any:
    """Import a library that only this method wants."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{what} needs {package}: pip install {package}") from error


class Scan:
    """Offsets of a topic's partitions, fixed when the scan was made, to be read as a table as often as one likes.

    Partitions come one after the other, each in the order of its offsets. Each reading gives the same rows, or raises
    `OffsetOutOfRangeError` when retention took some of them meanwhile. Anything that knows Arrow's PyCapsule interface
    takes it as it is: ``polars.DataFrame(scan)``, ``pyarrow.table(scan)``, ``duckdb.sql("select * from scan")``.
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeScan) -> None:
        """Wrap what `Topic.scan` made."""
        self._native = native

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._native.topic

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        return [name for name, _ in self._native.columns]

    @property
    def ranges(self) -> dict[int, tuple[int, int]]:
        """What is read of each partition: its first offset, and the offset behind its last."""
        return {partition: (start, end) for partition, start, end in self._native.ranges}

    @property
    def schema(self) -> pyarrow.Schema:
        """The schema of `to_pyarrow`, as pyarrow has it."""
        schema: pyarrow.Schema = _needs("pyarrow", "Scan.schema").schema(_Schema(self._native))
        return schema

    def _repr_html_(self) -> str:
        from strandline import _html

        return _html.scan(self)

    def __arrow_c_schema__(self) -> object:
        """Give the schema of `__arrow_c_stream__`, in a capsule."""
        return self._native.schema(True)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Read it from its beginning, as an Arrow stream in a capsule; bytes are views unless it was told otherwise.

        With a `requested_schema` of the same names, columns come in its types.
        """
        return self._native.stream(requested_schema, True)

    def to_pyarrow(self, *, progress: Progress = False) -> pyarrow.Table:
        """Read it whole into a `pyarrow.Table`, and tell how far it is: see `to_batches`."""
        module = _needs("pyarrow", "Scan.to_pyarrow")
        table: pyarrow.Table = module.Table.from_batches(self.to_batches(progress=progress), self.schema)
        return table

    def to_batches(self, *, progress: Progress = False) -> Iterator[pyarrow.RecordBatch]:
        """Read it batch by batch, as pyarrow has them; no more than a few of them are in memory at a time.

        With `progress=True` a bar of tqdm's, which must be installed, shows how far it is, in a terminal and in a
        notebook; or a function is called after each batch with the number of offsets that were read, and of how many:

        >>> import strandline as sl
        >>> with sl.Cluster() as cluster:
        ...     with cluster.producer() as producer:
        ...         for number in range(9):
        ...             _ = producer.send("numbers", value=str(number))
        ...     scan = cluster.topic("numbers").scan(batch_rows=1000)
        ...     table = scan.to_pyarrow(progress=lambda read, total: print(f"{read} of {total}"))
        9 of 9
        """
        module = _needs("pyarrow", "Scan.to_batches")
        return (module.record_batch(batch) for batch in self._batches(False, progress))

    def _batches(self, views: bool, progress: Progress = False) -> Iterator[NativeBatch]:
        batches = self._native.batches(views)
        if progress is False:
            return batches
        from strandline._progress import told

        return told(batches, progress, self.topic)

    def _reader(self, progress: Progress = False) -> pyarrow.RecordBatchReader:
        reader = _needs("pyarrow", "this").RecordBatchReader
        return reader.from_batches(self.schema, self.to_batches(progress=progress))

    def to_pandas(self, *, progress: Progress = False, **options: Any) -> pandas.DataFrame:
        """Read it whole into a `pandas.DataFrame`, and tell how far it is: see `to_batches`.

        The options are those of `pyarrow.Table.to_pandas`.
        """
        _needs("pandas", "Scan.to_pandas")
        _needs("pyarrow", "Scan.to_pandas")
        from strandline._pandas import to_pandas

        return to_pandas(self, progress, options)

    def to_polars(self, *, progress: Progress = False) -> polars.DataFrame:
        """Read it whole into a `polars.DataFrame`, and tell how far it is: see `to_batches`."""
        _needs("polars", "Scan.to_polars")
        from strandline._polars import to_polars

        return to_polars(self, progress)

    def scan_polars(self) -> polars.LazyFrame:
        """Give a `polars.LazyFrame` over it: only the columns and rows that a query wants are read.

        >>> import polars as pl, strandline as sl
        >>> with sl.Cluster() as cluster:
        ...     with cluster.producer() as producer:
        ...         for number in range(9):
        ...             _ = producer.send("numbers", value=str(number))
        ...     lazy = cluster.topic("numbers").scan(value="utf8").scan_polars()
        ...     lazy.filter(pl.col("offset") > 6).select("value").collect().to_series().to_list()
        ['7', '8']
        """
        _needs("polars", "Scan.scan_polars")
        from strandline._polars import scan_polars

        return scan_polars(self)

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """Give a DuckDB relation over it, which reads what its queries want, in `connection` or the default one.

        >>> import strandline as sl
        >>> with sl.Cluster() as cluster:
        ...     with cluster.producer() as producer:
        ...         for carrier in ("UA", "AA", "UA"):
        ...             _ = producer.send("flights", key=carrier)
        ...     flights = cluster.topic("flights").scan(key="utf8").to_duckdb()
        ...     flights.aggregate("key, count(*) as flights").order("key").fetchall()
        [('AA', 1), ('UA', 2)]
        """
        module = _needs("duckdb", "Scan.to_duckdb")
        relation: duckdb.DuckDBPyRelation = (connection or module).from_arrow(self.dataset())
        return relation

    def dataset(self) -> pyarrow.dataset.Dataset:
        """Give a `pyarrow.dataset.Dataset` over it: exact filters and columns, offsets and partitions pushed down."""
        _needs("pyarrow.dataset", "Scan.dataset")
        from strandline._dataset import ScanDataset

        return ScanDataset(self)

    def count(self) -> int:
        """Count its records from the headers of their batches: nothing is unpacked or decoded."""
        return self._native.count()

    def write_parquet(self, where: str | os.PathLike[str], *, progress: Progress = False, **options: Any) -> int:
        """Write it to a Parquet file, batch by batch, and return how many rows were written.

        It tells how far it is: see `to_batches`. The options are those of `pyarrow.parquet.ParquetWriter`.
        """
        parquet = _needs("pyarrow.parquet", "Scan.write_parquet")
        rows = 0
        with self._reader(progress) as reader, parquet.ParquetWriter(where, reader.schema, **options) as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        return rows

    def select(self, columns: Sequence[str]) -> Scan:
        """Give the same scan with only these of its columns, in this order."""
        return Scan(self._native.select(list(columns)))

    def limit(self, rows: int) -> Scan:
        """Give the same scan, up to this many rows."""
        return Scan(self._native.limit(rows))

    def within(self, ranges: dict[int, tuple[int, int]]) -> Scan:
        """Give the same scan with only these offsets: of each partition a first one, and the one behind the last."""
        return Scan(self._native.within([(partition, start, end) for partition, (start, end) in ranges.items()]))

    def since(self, timestamp: int) -> Scan:
        """Give the same scan without what comes before the first record that is not older, in each partition.

        `timestamp` is in milliseconds since 1970.
        """
        return Scan(self._native.since(timestamp))

    def splits(self, count: int) -> list[Scan]:
        """Cut it into `count` scans of about as many offsets each, which together, in order, have its rows.

        There are fewer of them where there are fewer offsets. A scan, and so each part, can be pickled: Dask's
        ``client.map``, Ray, Spark and `multiprocessing` take the parts as they are. It takes along where its
        cluster is, the topic and its id, the offsets, the columns, and **all options that `connect` was given,
        secrets too**, for the other process must connect by itself: send it only where those may go. There it reads
        the same rows. The topic of a `Cluster` is read over its `bootstrap_servers`, so the cluster must still run;
        that of a data dir, from its path.

        >>> import pickle, strandline as sl
        >>> with sl.Cluster() as cluster:
        ...     with cluster.producer() as producer:
        ...         for number in range(9):
        ...             _ = producer.send("numbers", value=str(number))
        ...     parts = cluster.topic("numbers").scan().splits(3)
        ...     [pickle.loads(pickle.dumps(part)).count() for part in parts]
        [3, 3, 3]
        """
        return [Scan(part) for part in self._native.splits(count)]

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Scan], tuple[dict[str, Any]]]:
        """Pickle it: see `splits`."""
        return _restore, (self._native.state(),)

    def __copy__(self) -> Scan:
        """Give itself: nothing changes a scan."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Scan:
        """Give itself: nothing changes a scan."""
        return self

    def __repr__(self) -> str:
        """Tell what it spans."""
        ranges = self._native.ranges
        offsets = sum(end - start for _, start, end in ranges)
        plural = "" if len(ranges) == 1 else "s"
        columns = ", ".join(self.columns)
        return f"<Scan of '{self.topic}': {offsets:,} offsets in {len(ranges)} partition{plural}; {columns}>"


def _restore(state: dict[str, Any]) -> Scan:
    """Make the scan that was pickled."""
    from strandline._strandline import NativeScan

    return Scan(NativeScan.restore(state))


class _Schema:
    """The schema in the layout that pyarrow can work on."""

    __slots__ = ("_native",)

    def __init__(self, native: NativeScan) -> None:
        self._native = native

    def __arrow_c_schema__(self) -> object:
        return self._native.schema(False)
