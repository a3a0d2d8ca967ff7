"""The notebooks run from their first cell to their last, and are committed as they should be: without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
RUNNER = Path(__file__).with_name("notebook.py")

# What some cells show, so that a notebook which runs and says nothing true is found.
SHOWN = {
    "tour": [
        "Topic 'flights': 4 partitions, 80,000 records",
        "<Scan of 'flights': 80,000 offsets",
        "(True, ['offset', 'key'])",
        "Group 'tour': Empty, 0 members, ",
        "\n80000\n",
    ],
    "replace_your_kafka_container": ["1 passed"],
    "explore_a_data_dir": [
        "(['readings'], ['__cluster_metadata', '__consumer_offsets', 'readings'])",
        "Topic 'readings' in a data dir: 2 partitions, 10,000 records",
        "what follows is left out",
        "(True, True)",
        "read the topics through the broker, or stop it first",
    ],
}


def test_all_notebooks_are_known() -> None:
    assert {path.stem for path in NOTEBOOKS} == SHOWN.keys()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_keeps_its_outputs_small(path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, RUNNER, path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [json.loads(line) for line in done.stdout.splitlines()]
    book = json.loads(path.read_text())
    assert [cell["cell"] for cell in cells] == [n for n, c in enumerate(book["cells"]) if c["cell_type"] == "code"]
    assert all(len(cell["shown"]) < 3_000 for cell in cells), "a cell shows too much"
    told = "\n".join(cell["shown"] for cell in cells)
    missing = [text for text in SHOWN[path.stem] if text not in told]
    assert not missing, f"{missing} not in:\n{told}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_clean(path: Path) -> None:
    text = path.read_text()
    book = json.loads(text)
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    # Short words: what a tool writes of the machine it ran on stays out.
    assert book["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in book["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    assert text == json.dumps(book, indent=1, ensure_ascii=False) + "\n", "written in Jupyter's own form"
