"""DuckDB's errors in our words: what is missing, what there is instead, and where in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from sqlglot import exp

from ..errors import GridflowError, SqlError, TableNotFound, did_you_mean
from .bound import Bound, no_column, pointed

_NO_COLUMN = (
    re.compile(r'Referenced column "(?P<name>(?:[^"]|"")+)" (?:not found|was not found)'),
    re.compile(r'(?:Table|Values list|Alias) "(?P<table>[^"]+)" does not have a column named "(?P<name>[^"]+)"'),
    re.compile(r'Column "(?P<name>[^"]+)" in (?:EXCLUDE|REPLACE|RENAME) list not found'),
    re.compile(r'column "(?P<name>[^"]+)" (?:does not exist|not found)', re.IGNORECASE),
)
_NO_TABLE = (
    re.compile(r"Table with name (?P<name>.+?) does not exist"),
    re.compile(r'Referenced table "(?P<name>[^"]+)" not found'),
)
_NO_FUNCTION = re.compile(r"(?:Scalar |Table |Aggregate |Macro )?Function with name (?P<name>\S+) does not exist")
_KINDS = re.compile(r"^[A-Z][A-Za-z -]* Error: ")
_BY_ZERO = re.compile(r"'(?P<text>Division by zero(?:: .* is zero)?)' to INT32")  # what division.py writes
_AMBIGUOUS = re.compile(r'Ambiguous reference to column name "(?P<name>[^"]+)"')


@contextmanager
def translated(bound: Bound) -> Iterator[None]:
    """Raise what DuckDB raises inside as a GridflowError."""
    try:
        yield
    except duckdb.Error as error:
        raise translate(error, bound) from None


def translate(error: Exception, bound: Bound) -> GridflowError:
    """The GridflowError of an error of DuckDB's."""
    if isinstance(error, duckdb.InterruptException):
        return SqlError("cancelled; nothing of the statement was done")
    message = str(error)
    for pattern in _NO_COLUMN:
        match = pattern.search(message)
        if match:
            return no_column(bound.originals.get(match["name"], match["name"]), bound)
    for pattern in _NO_TABLE:
        match = pattern.search(message)
        if match:
            labels = {node.alias or node.name for node in bound.tree.find_all(exp.Table, exp.Subquery, exp.CTE)}
            text = f"no table {match['name']} here; {did_you_mean(match['name'], filter(None, labels))}"
            return TableNotFound(pointed(bound, match["name"], text))
    match = _NO_FUNCTION.search(message)
    if match:
        near = re.search(r'Did you mean "([^"]+)"', message)
        hint = f"; did you mean {near[1].upper()}?" if near else ""
        return SqlError(f"no function {match['name'].upper()}{hint}")
    match = _AMBIGUOUS.search(message)
    if match:
        text = f"column {match['name']} is in more than one table: write table.{match['name']}"
        return SqlError(pointed(bound, match["name"], text))
    return SqlError(clean(message, bound))


def clean(message: str, bound: Bound | None = None) -> str:
    """DuckDB's message without its own positions, hints about itself and made-up names."""
    by_zero = _BY_ZERO.search(message)
    message = by_zero["text"] if by_zero else _KINDS.sub("", message.strip())
    message = re.split(r"\n\s*\n?LINE \d+:|\n\nLINE|\n\tCandidate functions", message)[0].strip()
    message = re.sub(r" when casting from source column \w+$", "", message)
    message = re.sub(r" ?Use TRY\(.*", "", message, flags=re.DOTALL)
    message = re.sub(r",? SET [a-z_]+ ?=.*", "", message, flags=re.DOTALL)
    if bound is not None:
        for source in bound.sources:
            message = message.replace(source.registered, source.name)
        for replaced, name in bound.originals.items():
            message = message.replace(replaced, name)
    return " ".join(line.strip() for line in message.splitlines() if line.strip())
