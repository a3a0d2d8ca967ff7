"""`strandline scan ... --format parquet`: the binary writes Arrow, and pyarrow makes Parquet of it on the way."""

from __future__ import annotations

import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def wanted(arguments: Sequence[str]) -> bool:
    """Tell whether these are the arguments of such a command."""
    return arguments[:1] == ["scan"] and _as_arrow(arguments) != list(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run it: Parquet goes to stdout, row group by row group. Returns its exit code."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        print("strandline: --format parquet needs pyarrow: pip install pyarrow", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "strandline", *_as_arrow(arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as scan:
        assert scan.stdout is not None
        try:
            with (
                pa.ipc.open_stream(scan.stdout) as reader,
                parquet.ParquetWriter(_Counted(sys.stdout.buffer), reader.schema) as writer,
            ):
                for batch in reader:
                    writer.write_batch(batch)
        except pa.ArrowInvalid:
            # It ended before its time, and has said why.
            if scan.wait() == 0:
                raise
        return scan.wait()


def _as_arrow(arguments: Sequence[str]) -> list[str]:
    changed = ["--format=arrow" if argument == "--format=parquet" else argument for argument in arguments]
    for at, argument in enumerate(changed[:-1]):
        if (argument, changed[at + 1]) == ("--format", "parquet"):
            changed[at + 1] = "arrow"
    return changed


class _Counted:
    """A pipe that knows how much went into it, which Parquet's footer wants to know."""

    closed = False

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._written = 0

    def write(self, data: bytes) -> int:
        self._written += len(data)
        return self._pipe.write(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        self._pipe.flush()

    def close(self) -> None:
        self._pipe.flush()
