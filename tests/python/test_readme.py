"""The examples in README are true, and their types are as strict as they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import strandline as sl

ROOT = Path(__file__).parents[2]


def section(title: str) -> list[str]:
    """The Python of a section of README."""
    text = (ROOT / "README.md").read_text()
    return re.findall(r"```python\n(.*?)```", text.split(f"### {title}\n")[1].split("\n### ")[0], re.DOTALL)


def checked(tmp_path: Path) -> Path:
    """The examples as modules: what a marker marks stands behind it."""
    for title in ("From Python", "From asyncio", "In pytest"):
        blocks = section(title)
        code = "\n\n".join(blocks)
        if code.rstrip().endswith(")") and blocks[-1].startswith("@"):
            code += "def test_marked(kafka_topic: KafkaTopic) -> None:\n    assert kafka_topic\n"
        (tmp_path / f"{title.lower().replace(' ', '_')}.py").write_text(code)
    return tmp_path


def run(*command: str | Path, folder: Path) -> str:
    """What a checker says, and an empty line where it says that all is well."""
    # It would ask PyPI whether there is a newer one.
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_mypy_accepts_them_in_strict_mode(tmp_path: Path) -> None:
    told = run("mypy", "--strict", "--config-file", ROOT / "pyproject.toml", ".", folder=checked(tmp_path))
    assert told == ""


def test_pyright_accepts_them_in_strict_mode(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    config = {"typeCheckingMode": "strict", "reportMissingTypeStubs": False, "reportMissingModuleSource": False}
    (checked(tmp_path) / "pyrightconfig.json").write_text(json.dumps(config))
    # pyarrow brings no types, and to pyright what is not known is an error. This is as much of them as the examples
    # touch; all of them are on PyPI, as pyarrow-stubs.
    (tmp_path / "typings" / "pyarrow").mkdir(parents=True)
    (tmp_path / "typings" / "pyarrow" / "__init__.pyi").write_text("class RecordBatch: ...\n")
    assert run("pyright", "--pythonpath", sys.executable, folder=tmp_path) == ""
    # It looks: what is wrong is found.
    (tmp_path / "wrong.py").write_text("import strandline as sl\n\nsl.Cluster().topic(3).scan(start=object())\n")
    told = run("pyright", "--pythonpath", sys.executable, folder=tmp_path)
    assert {"3:20", "3:34"} <= set(re.findall(r"wrong\.py:(\d+:\d+) - error", told)), told


def test_what_is_told_for_python_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sl.Cluster(tmp_path / "data", num_partitions=2) as cluster, cluster.producer() as producer:
        for number in range(3):
            producer.send("flights", f'{{"delay": {number}}}')
        producer.flush()
        code = "\n\n".join(section("From Python"))
        assert "127.0.0.1:9092" in code
        assert "/var/lib/kafka/data" in code
        with sl.Cluster(tmp_path / "stopped"):
            pass
        code = code.replace("127.0.0.1:9092", cluster.bootstrap_servers)
        code = code.replace("/var/lib/kafka/data", str(tmp_path / "stopped"))
        names: dict[str, object] = {}
        exec(compile(code, "README.md", "exec"), names)
        assert names["delays"].get_column("delay").sort().to_list() == [0, 1, 2]  # type: ignore[attr-defined]
        assert [part.count() for part in names["parts"]] == [1, 1, 1]  # type: ignore[attr-defined]
        assert names["batch"].num_rows > 0  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "0\n"


def test_what_is_told_for_asyncio_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = section("From asyncio")
    told = re.findall(r"print\(.*\) +# (.*)", code)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == told == ["0 1000", "1001"]
