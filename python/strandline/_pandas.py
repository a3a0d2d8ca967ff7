"""A scan as a `pandas.DataFrame`: pyarrow makes it of views, but for headers that no record has."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from strandline._progress import told

if TYPE_CHECKING:
    import pandas

    from strandline.scan import Progress, Scan


def to_pandas(scan: Scan, progress: Progress, options: dict[str, Any]) -> pandas.DataFrame:
    """Read it whole.

    Views are enough here, for pandas gets objects of its own. pyarrow makes an array for the headers of each row, which
    takes longer than all else: where no row has any, one empty array that nobody can write to serves for all of them.
    """
    batches = told(scan._native.batches(True), progress, scan.topic)
    table = pa.Table.from_batches((pa.record_batch(batch) for batch in batches), pa.schema(scan))
    # Blocks that no columns share need no second copy.
    options = {"split_blocks": True, **options}
    lists = [] if options.get("types_mapper") else table.column_names
    empty = [name for name in lists if _is_empty(table.column(name))]
    frame: pandas.DataFrame = table.drop_columns(empty).to_pandas(**options)
    nothing = np.empty(0, dtype=object)
    nothing.setflags(write=False)
    for name in empty:
        column = np.fromiter(repeat(nothing, table.num_rows), dtype=object, count=table.num_rows)
        frame.insert(table.column_names.index(name), name, column)
    return frame


def _is_empty(column: pa.ChunkedArray) -> bool:
    """Tell whether it is of lists, and none of them has an item or is null."""
    if not pa.types.is_list(column.type) or column.null_count:
        return False
    return all(len(chunk.flatten()) == 0 for chunk in column.chunks)
