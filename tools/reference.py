"""Write docs/reference.md: what ``gridflow.__all__`` names, with its signatures and docstrings.

``make reference`` runs it; tests/tf/test_reference.py says when it has to be.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference.md"

_INTRODUCTION = """\
# Reference

Every public name of `gridflow`, as its docstrings have it; `make reference` makes this page of them. What is public,
and for how long, is said in [stability.md](stability.md); what holds for all of it in [conventions.md](conventions.md).
`gridflow.dbapi` follows PEP 249, [dataset.md](dataset.md), [gpu.md](gpu.md) and [ignite.md](ignite.md) tell of
`gridflow.Dataset`, `gridflow.cuda` and `gridflow.compat`.
"""

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")
_DOUBLE_TICKS = re.compile(r"``(.+?)``", re.DOTALL)
#: A name of an argument, or several, in front of what is said of it.
_ENTRY = re.compile(r"^([\w*][\w*, ]*): (.*)$", re.DOTALL)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def reference() -> str:
    """The text of the page."""
    import gridflow

    things = {name: getattr(gridflow, name) for name in gridflow.__all__}
    errors = {n: t for n, t in things.items() if isinstance(t, type) and issubclass(t, gridflow.GridflowError)}
    functions = {n: t for n, t in things.items() if not isinstance(t, type)}
    classes = {n: t for n, t in things.items() if n not in errors and n not in functions}
    parts = [_INTRODUCTION, _contents(functions, classes)]
    for name in sorted(functions):
        parts.append(f"## gridflow.{name}\n\n{_function(f'gridflow.{name}', functions[name])}")
    parts += [_class(name, classes[name]) for name in sorted(classes)]
    parts.append(_errors(gridflow.errors))
    return "\n".join(parts)


def _contents(functions: dict[str, Any], classes: dict[str, type]) -> str:
    names = [*sorted(functions), *sorted(classes)]
    links = ", ".join(f"[`{name}`](#gridflow{name.lower()})" for name in names)
    return f"{links}, [errors](#errors).\n"


def _class(name: str, cls: type) -> str:
    parts = [f"## gridflow.{name}\n", markdown(inspect.getdoc(cls) or "")]
    for member, value in members(cls):
        if isinstance(value, property | GetSetDescriptorType | MemberDescriptorType):
            parts.append(f"### {name}.{member}\n\n{markdown(documentation(value))}")
        else:
            parts.append(f"### {name}.{member}()\n\n{_function(f'{name}.{member}', value)}")
    return "\n".join(parts)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class that Gridflow defines, inherited ones too, by name."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if not base.__module__.startswith("gridflow"):
            continue
        for name, value in vars(base).items():
            if not name.startswith("_") and name not in found and (_is_member(value)):
                found[name] = value
    return ((name, found[name]) for name in sorted(found) if not _is_deprecated(found[name]))


def _is_member(value: Any) -> bool:
    value = getattr(value, "__func__", value)  # of a class method
    kinds = property | GetSetDescriptorType | MemberDescriptorType
    return isinstance(value, kinds) or inspect.isroutine(value)


def _is_deprecated(value: Any) -> bool:
    return documentation(value).startswith("Deprecated: ")


def documentation(value: Any) -> str:
    """The docstring of a method or property; empty without one."""
    return inspect.cleandoc(getattr(getattr(value, "__func__", value), "__doc__", None) or "")


def _function(name: str, value: Any) -> str:
    value = getattr(value, "__func__", value)
    return f"```python\n{signature(name, value)}\n```\n\n{markdown(documentation(value))}"


def signature(name: str, value: Any) -> str:
    """A function's name and arguments; one a line where they are many."""
    try:
        found = inspect.signature(value)
    except ValueError:
        return f"{name}(...)"
    parameters = [p for p in found.parameters.values() if p.name not in ("self", "cls")]
    found = found.replace(parameters=parameters)
    text = _ADDRESS.sub("", f"{name}{found}".replace("'", ""))
    if len(text) <= 100:
        return text
    lines = []
    is_keyword = False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            lines.append("*")
        lines.append(str(parameter).replace("'", ""))
    arguments = "".join(f"    {line},\n" for line in lines)
    result = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    return f"{name}(\n{arguments}){result}".replace("'", "")


def _errors(module: Any) -> str:
    tree = inspect.cleandoc("\n".join((module.__doc__ or "").splitlines()[1:]))
    classes = [cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, Exception)]
    rows = [f"| `{cls.__name__}` | {markdown(_first_paragraph(cls))} |".replace("\n", "") for cls in classes]
    base = markdown(inspect.getdoc(module.GridflowError) or "")
    return "\n".join(["## Errors\n", f"```text\n{tree}\n```\n", base, "| error | |", "|---|---|", *rows, ""])


def _first_paragraph(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].splitlines())


def markdown(text: str) -> str:
    """A docstring as Markdown: its sections as lists, its examples as code."""
    text = _DOUBLE_TICKS.sub(r"`\1`", text)
    lines: list[str] = []
    entries: list[str] | None = None  # of the section that is read
    code = False
    for line in [*text.splitlines(), ""]:
        section = _SECTION.match(line)
        if entries is not None and line.startswith("    "):
            if line.startswith("     ") and entries:
                entries[-1] += " " + line.strip()
            else:
                entries.append(line.strip())
            continue
        if entries is not None and (line or section):
            lines += [*map(_entry, entries), ""]
            entries = None
        if section:
            lines += [f"**{section[1]}**", ""]
            entries = []
            continue
        if line.startswith(">>>") and not code:
            lines.append("```python")
            code = True
        if code and not line:
            lines.append("```")
            code = False
        if entries is None:
            lines.append(line)
    if entries:
        lines += [*map(_entry, entries), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _entry(text: str) -> str:
    match = _ENTRY.match(text)
    return f"- `{match[1]}`: {match[2]}" if match else f"- {text}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    TARGET.write_text(reference(), "utf-8")
