"""Every example in a public docstring runs, those of compiled modules too, which doctest's own finder passes over."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import gridflow


def docstrings() -> Iterator[tuple[str, str]]:
    """Names and texts of all docstrings in the package that hold an example."""
    names = ["gridflow", *(m.name for m in pkgutil.walk_packages(gridflow.__path__, "gridflow."))]
    seen = set()
    for module_name in names:
        if module_name.endswith("__main__") or "._gridflow_" in module_name:  # libraries, not modules
            continue
        module = importlib.import_module(module_name)
        members = [(module_name, module)]
        for name, member in vars(module).items():
            if getattr(member, "__module__", None) != module_name:
                continue
            members.append((f"{module_name}.{name}", member))
            if inspect.isclass(member):
                members += [(f"{module_name}.{name}.{inner}", value) for inner, value in vars(member).items()]
        for name, member in members:
            text = getattr(member, "__doc__", None)
            if isinstance(text, str) and ">>>" in text and name not in seen:
                seen.add(name)
                yield name, text


EXAMPLES = dict(docstrings())


def test_there_are_examples() -> None:
    assert "gridflow.table.Table.load" in EXAMPLES
    assert "gridflow._native.table_store.TableStore.put" in EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    module = importlib.import_module(_module_of(name))
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], dict(vars(module)), name, None, None)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert runner.summarize().failed == 0


def _module_of(name: str) -> str:
    while True:
        try:
            importlib.import_module(name)
            return name
        except ImportError:
            name = name.rpartition(".")[0]
