"""docs/reference.md, made of the docstrings of what is public."""

import importlib.util
import inspect
from pathlib import Path

import gridflow

ROOT = Path(__file__).resolve().parents[2]


def maker():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_of_the_docstrings_that_there_are():
    reference = maker()
    assert reference.TARGET.read_text("utf-8") == reference.reference(), "run `make reference`"


def test_everything_public_says_what_it_is():
    reference = maker()
    silent = [
        f"{name}.{member}"
        for name in gridflow.__all__
        if isinstance(cls := getattr(gridflow, name), type)
        for member, value in reference.members(cls)
        if not reference.documentation(value)
        and not inspect.ismemberdescriptor(value)
        and not inspect.isgetsetdescriptor(value)  # native attributes, which can have none
    ]
    assert not silent


def test_docstrings_become_lists_and_code():
    text = """Do ``this``.

Args:
    a, b: what it takes,
        on two lines.

Raises:
    UsageError: it cannot.

>>> 1 + 1
2
"""
    assert (
        maker().markdown(text)
        == """Do `this`.

**Args**

- `a, b`: what it takes, on two lines.

**Raises**

- `UsageError`: it cannot.

```python
>>> 1 + 1
2
```
"""
    )
