"""The package as a user gets it: documented, typed, with a command."""

import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import strandline

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def modules() -> list[ModuleType]:
    """Every module of the package, the extension module too."""
    names = [info.name for info in pkgutil.walk_packages(strandline.__path__, "strandline.")]
    return [strandline, *map(import_module, names)]


def public(owner: object, prefix: str) -> Iterator[tuple[str, object]]:
    """Every public function, class, method and property that is defined in `owner`; not what it has imported."""
    for name, value in vars(owner).items():
        home = str(getattr(value, "__module__", None))
        if name.startswith("_") or (isinstance(owner, ModuleType) and not home.startswith("strandline")):
            continue
        inner = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if inspect.isclass(inner):
            yield f"{prefix}.{name}", inner
            yield from public(inner, f"{prefix}.{name}")
        elif callable(inner) or inspect.isdatadescriptor(inner):
            yield f"{prefix}.{name}", inner


def undocumented(module: ModuleType) -> list[str]:
    missing = [] if inspect.getdoc(module) or "_strandline" in module.__name__ else [module.__name__]
    return missing + [path for path, value in public(module, module.__name__) if not inspect.getdoc(value)]


def test_every_public_item_has_a_docstring() -> None:
    missing = [path for module in modules() for path in undocumented(module)]
    assert not missing, "without a docstring:\n" + "\n".join(missing)


def test_a_missing_docstring_is_found() -> None:
    module = ModuleType("strandline.made_up")

    class Made:
        def method(self) -> None: ...

        @property
        def value(self) -> None: ...

    Made.__module__ = "strandline.made_up"
    module.Made = Made  # type: ignore[attr-defined]
    assert undocumented(module) == [
        "strandline.made_up",
        "strandline.made_up.Made",
        "strandline.made_up.Made.method",
        "strandline.made_up.Made.value",
    ]


def test_the_stubs_say_what_the_module_holds(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    # Libraries that only a type checker imports, and that bring no types.
    allowed = tmp_path / "allowed"
    allowed.write_text(r"strandline\.\w+\.(pandas|pyarrow|pc)")
    told = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "strandline", "--mypy-config-file", PYPROJECT, "--allowlist", allowed],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_version_is_a_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", strandline.__version__)
