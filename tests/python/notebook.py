"""Runs a notebook as a kernel would, without one: `python notebook.py NOTEBOOK`.

Cells run in order in one namespace; what the last expression of a cell is, is shown, unless a semicolon ends it. What
IPython adds to Python (magics, shell escapes, top-level await) is no Python here and fails. A line of JSON a cell goes
to stdout: its index and what it showed.
"""

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def run(source: str, name: str, namespace: dict[str, Any]) -> str:
    """Run a cell; what it printed, and what its last expression is."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
            if value is not None and not source.rstrip().endswith(";"):
                print(repr(value))
    return printed.getvalue()


def main(path: Path) -> None:
    """Run all cells."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = json.loads(path.read_text())["cells"]
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            shown = run("".join(cell["source"]), f"{path.name}, cell {index}", namespace)
            print(json.dumps({"cell": index, "shown": shown}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
