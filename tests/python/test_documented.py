"""The examples in the docstrings are true: each is run, against clusters in this process."""

import doctest
import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest

import strandline


def documented() -> Iterator[tuple[str, str]]:
    """Every docstring of the package that has an example, and where it stands."""
    infos = pkgutil.walk_packages(strandline.__path__, "strandline.")
    modules = [strandline, *(import_module(info.name) for info in infos if not info.name.endswith("__main__"))]
    seen: set[int] = set()

    def walk(owner: object, name: str) -> Iterator[tuple[str, str]]:
        if id(owner) in seen:
            return
        seen.add(id(owner))
        text = inspect.getdoc(owner)
        if text and ">>>" in text:
            yield name, text
        if isinstance(owner, ModuleType) or inspect.isclass(owner):
            for key, value in list(vars(owner).items()):
                home = str(getattr(value, "__module__", "strandline"))
                code = callable(value) or inspect.isdatadescriptor(value)
                if code and not key.startswith("_") and home.startswith("strandline"):
                    yield from walk(value, f"{name}.{key}")

    for module in modules:
        yield from walk(module, module.__name__)


EXAMPLES = dict(documented())


def test_examples_are_found_in_rust_and_in_python() -> None:
    assert {"strandline", "strandline.Cluster", "strandline.Producer.send", "strandline.errors"} <= EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_true(name: str) -> None:
    example = doctest.DocTestParser().get_doctest(EXAMPLES[name], {}, name, None, None)
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=told.append)
    assert result.failed == 0, "".join(told)
