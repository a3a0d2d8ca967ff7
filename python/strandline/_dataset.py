"""A scan as a `pyarrow.dataset.Dataset`, for DuckDB, DataFusion and whoever else reads those.

They hand their filter down and do not apply it again, so it is exact here: offsets, timestamps and partitions bound
what is read, and pyarrow applies the whole filter to what was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from strandline._bounds import narrow, of_pyarrow

if TYPE_CHECKING:
    import pyarrow.compute as pc

    from strandline.scan import Scan


class ScanDataset(ds.Dataset):  # type: ignore[misc]  # pyarrow brings no types
    """The rows of a scan; each scanner reads them anew."""

    def __init__(self, scan: Scan) -> None:
        """Wrap a scan."""
        self._scan = scan

    @property
    def schema(self) -> pa.Schema:
        """The schema of its rows."""
        return self._scan.schema

    def scanner(
        self,
        columns: list[str] | dict[str, pc.Expression] | None = None,
        filter: pc.Expression | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> ds.Scanner:
        """Read these columns of the rows that pass the filter."""
        scan = self._scan
        if isinstance(columns, list):
            # pyarrow has no way to ask which columns a filter looks at: those whose names it prints are read as well.
            told = "" if filter is None else str(filter)
            scan = scan.select([name for name in scan.columns if name in columns or name in told])
        if filter is not None:
            scan = narrow(scan, of_pyarrow(filter))
        if batch_size is not None:
            options["batch_size"] = batch_size
        return ds.Scanner.from_batches(scan._reader(), columns=columns, filter=filter, **options)

    def count_rows(self, filter: pc.Expression | None = None, **options: Any) -> int:
        """Count the rows that pass the filter; without one, from the headers of their batches."""
        if filter is None:
            return self._scan.count()
        return int(self.scanner(columns=[], filter=filter, **options).count_rows())
