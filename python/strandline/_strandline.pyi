"""The extension module: what `src/python` binds, in types. A test holds it against the module that was built."""

from collections.abc import Sequence
from os import PathLike
from typing import Final

__all__ = ["__version__", "main"]

__version__: Final[str]

def main(argv: Sequence[str | PathLike[str]]) -> int:
    """Run the command line `argv` (program name first) with the GIL released, and return its exit code."""
