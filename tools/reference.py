"""Write docs/reference.md: what ``gridflow.__all__`` names, with its signatures and docstrings.

``make reference`` runs it; tests/tf/test_reference.py says when it has to be.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cached_property
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
_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_DOUBLE_TICKS = re.compile(r"``(.+?)``", re.DOTALL)
#: A name of an argument, or several, in front of what is said of it.
_ENTRY = re.compile(r"^([\w*][\w*, ]*): (.*)$", re.DOTALL)
_PROPERTIES = (property, cached_property, GetSetDescriptorType, MemberDescriptorType)
#: Characters of a line of arguments.
_WIDTH = 100
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
    text = markdown(inspect.getdoc(cls) or "")
    called = f"```python\n{signature(f'gridflow.{name}', cls.__init__)}\n```\n\n" if "**Args**" in text else ""
    parts = [f"## gridflow.{name}\n", called.replace(" -> None", "") + text]
    for member, value in members(cls):
        if isinstance(value, _PROPERTIES):
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
    return isinstance(value, _PROPERTIES) or inspect.isroutine(value)


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
    if value.__module__.startswith("gridflow._native"):
        return _of_stub(name, value)
    found = inspect.signature(value)
    arguments = []
    is_keyword = False
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            arguments.append("*")
        arguments.append(_argument(parameter))
    result = "" if found.return_annotation is found.empty else f" -> {_text(found.return_annotation)}"
    line = f"{name}({', '.join(arguments)}){result}"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n{''.join(f'    {argument},{chr(10)}' for argument in arguments)}){result}"


def _argument(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = "" if parameter.annotation is parameter.empty else f": {_text(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}{annotation}"
    default = _ADDRESS.sub("", repr(parameter.default))
    return f"{parameter.name}{annotation}{' = ' if annotation else '='}{default}"


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _of_stub(name: str, value: Any) -> str:
    """The signature of a native method, as the stub of its module has it: with types."""
    stub = ROOT / (value.__module__.replace(".", "/") + ".pyi")
    cls, _, method = value.__qualname__.partition(".")
    for node in ast.walk(ast.parse(stub.read_text())):
        if isinstance(node, ast.ClassDef) and node.name == cls:
            (found,) = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == method)
            del found.args.args[0]
            return f"{name}({ast.unparse(found.args)}) -> {ast.unparse(found.returns or ast.Name('None'))}"
    raise LookupError(f"{stub} has no {value.__qualname__}")


def _errors(module: Any) -> str:
    tree = inspect.cleandoc("\n".join((module.__doc__ or "").splitlines()[1:]))
    classes = [cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, Exception)]
    rows = [f"| `{cls.__name__}` | {markdown(_first_paragraph(cls))} |".replace("\n", "") for cls in classes]
    base = markdown(inspect.getdoc(module.GridflowError) or "")
    return "\n".join(["## Errors\n", f"```text\n{tree}\n```\n", base, "| error | |", "|---|---|", *rows, ""])


def _first_paragraph(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].splitlines())


def markdown(text: str) -> str:
    """A docstring as Markdown: its sections as lists, its examples and tables as they are."""
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
        if line.startswith((">>>", "===")) and not code:
            lines.append("```python" if line.startswith(">>>") else "```text")
            code = True
        if code and not line:
            lines.append("```")
            code = False
        if entries is None:
            lines.append(line)
    if entries:
        lines += [*map(_entry, entries), ""]
    parts = _FENCED.split(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip())
    return "".join(part if i % 2 else _DOUBLE_TICKS.sub(r"`\1`", part) for i, part in enumerate(parts)) + "\n"


def _entry(text: str) -> str:
    match = _ENTRY.match(text)
    return f"- `{match[1]}`: {match[2]}" if match else f"- {text}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    TARGET.write_text(reference(), "utf-8")
