"""``FROM T AT (VERSION => 'v1')``: which version of a table a name in a query means."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from ...errors import SqlError
from ...faces import ReadableTable
from ...storage.past_table import PastTable
from ..grammar.literals import constant
from ..text.places import place_of, syntax_error
from ..views.views import is_table


def take_version(node: exp.Table, params: Mapping[str, Any] | None, text: str) -> str | int | None:
    """The version that a table's node names, which is taken off the node; None: it names none.

    Args:
        node: the table.
        params: mark -> value; None where they are not known.
        text: the statement, for messages.

    Raises:
        SqlError: it is no version, or a parameter where none can be.
    """
    when = node.args.get("when")
    if node.args.get("version") is not None:
        raise _wrong(node, text, "a past version is read by AT (VERSION => 'tag or number') after the table's name")
    if when is None:
        return None
    node.set("when", None)
    kind = f"{when.name.upper()} ({when.text('kind').upper()} => ...)"
    if kind != "AT (VERSION => ...)":
        raise _wrong(node, text, f"{kind} is not known here; a past version is read by AT (VERSION => 'tag or number')")
    value = constant(when.args["expression"])
    if value is None:
        raise _wrong(node, text, "a version is given by its tag or its number: AT (VERSION => 'v1')")
    if not value.fixed and params is None:
        raise _wrong(node, text, "the version cannot be a parameter in this statement: write it, AT (VERSION => 'v1')")
    version = value.get(params or {})
    if isinstance(version, str):
        return version
    if isinstance(version, bool) or not hasattr(version, "__index__"):
        raise _wrong(node, text, f"a version is given by its tag or its number, not {version!r}")
    return operator.index(version)


def past_relation(relation: ReadableTable, version: str | int, node: exp.Table, text: str) -> PastTable:
    """A table as it was at a version.

    Raises:
        SqlError: it is a view, or a table in a transaction.
        VersionNotFoundError: there is no such version.
    """
    if not is_table(relation):
        raise _wrong(node, text, f"{relation.name} is a system view: it has no versions")
    return relation.past(version)


def refuse_version(node: exp.Table, text: str) -> None:
    """Raise if a statement that changes a table names a version of it."""
    if _names_version(node):
        raise _wrong(node, text, f"a past version of {node.name} can be read, not changed")


def refuse_version_of(what: str, node: exp.Table, text: str) -> None:
    """Raise if a version is named of something that has none."""
    if _names_version(node):
        raise _wrong(node, text, f"{what} has no versions: AT stands after the name of a table")


def _names_version(node: exp.Table) -> bool:
    return node.args.get("when") is not None or node.args.get("version") is not None


def _wrong(node: exp.Table, text: str, message: str) -> SqlError:
    start, length = place_of(node.this)
    return syntax_error(text, start, message, length)
