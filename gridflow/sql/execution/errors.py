"""DuckDB's errors in our words: the name that is missing, the names that exist instead, and the place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlglot import exp

from ...errors import GridflowError, SqlError, TableNotFoundError, did_you_mean
from ...schema import ALIASES, SCALARS
from ..binding.bound import Bound, error_at_name, no_column
from ..engine.errors import EngineError, Interrupted
from ..engine.vocabulary import function_names
from ..grammar.dialect import TYPE_WORDS, tokenize
from ..grammar.functions import FUNCTIONS
from ..grammar.spelling import nearest
from ..text.places import syntax_error

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
_NO_TYPE = re.compile(r"Type with name (?P<name>\S+) does not exist")
_NO_OVERLOAD = re.compile(
    r"No function matches the given name and argument types '(?P<name>\w+)\((?P<types>.*?)\)'\."
    r"|Could not choose a best candidate function for the function call \"(?P<name2>\w+)\((?P<types2>.*?)\)\"\."
)
_PARAMETER = re.compile(r'(?:"[^"]*"|\b[a-z_0-9]+) (?=[A-Z])')  # the names of a function's parameters
_CARET = re.compile(r"^LINE \d+: (?P<line>.*)\n(?P<space> *)\^", re.MULTILINE)
_KINDS = re.compile(r"^[A-Z][A-Za-z -]* Error: ")
_BY_ZERO = re.compile(r"'(?P<text>Division by zero(?:: .* is zero)?)' to INT32")  # what division.py writes
_DEPTH = re.compile(r"Max expression depth limit of \d+ exceeded")
_AMBIGUOUS = re.compile(r'Ambiguous reference to column name "(?P<name>[^"]+)"')
_END = re.compile(r"\n[^\S\n]*LINE \d+:|\n\nLINE|\n\tCandidate functions")
#: Characters of a message that say what is wrong; what follows may be a literal of the statement, and of any length.
_BEGINNING = 4096


@cache
def _functions() -> tuple[str, ...]:
    """The names of all functions, in upper case."""
    return tuple(sorted(function_names() | FUNCTIONS.keys()))


@cache
def _types() -> tuple[str, ...]:
    """The names of all types, in upper case."""
    return tuple(sorted({*SCALARS, *ALIASES, *TYPE_WORDS}))


@contextmanager
def translated(bound: Bound) -> Iterator[None]:
    """Raise an error of DuckDB's inside the block as a GridflowError."""
    try:
        yield
    except EngineError as error:
        raise translate(error, bound) from None


def translate(error: Exception, bound: Bound) -> GridflowError:
    """The GridflowError of an error of DuckDB's."""
    if isinstance(error, Interrupted):
        return SqlError("cancelled; nothing of the statement was done")
    whole = str(error)
    message = whole[:_BEGINNING]
    for pattern in _NO_COLUMN:
        match = pattern.search(message)
        if match:
            return no_column(bound.originals.get(match["name"], match["name"]), bound)
    for pattern in _NO_TABLE:
        match = pattern.search(message)
        if match:
            column = _unknown_column(bound, match["name"])
            if column:
                return no_column(column, bound)
            labels = {node.alias or node.name for node in bound.tree.find_all(exp.Table, exp.Subquery, exp.CTE)}
            text = f"no table {match['name']} here; {did_you_mean(match['name'], filter(None, labels))}"
            return error_at_name(TableNotFoundError, bound, match["name"], text, table=match["name"])
    match = _NO_FUNCTION.search(message)
    if match:
        text = f"no function {match['name'].upper()}{nearest(match['name'], _functions())}"
        return _error_at_word(bound, match["name"], "(", text)
    match = _NO_TYPE.search(message)
    if match:
        return _error_at_word(bound, match["name"], "", f"no type {match['name']}{nearest(match['name'], _types())}")
    match = _NO_OVERLOAD.search(message)
    if match:
        name, types = match["name"] or match["name2"], match["types"] or match["types2"] or ""
        types = types.replace("_LITERAL", "").replace("STRING", "VARCHAR")
        forms = [
            f"{name.upper()}({re.sub(_PARAMETER, '', form)})"
            for form in re.findall(r"^\t\w+\((.*)\) -> ", whole, re.MULTILINE)
        ]
        text = f"{name.upper()} does not take ({types}); there are {', '.join(forms[:6])}"
        return _error_at_word(bound, name, "(", text)
    if _DEPTH.search(message):
        return SqlError("the statement is nested too deeply, or has too long a chain of operators, for the engine")
    match = _AMBIGUOUS.search(message)
    if match:
        text = f"column {match['name']} is in more than one table: write table.{match['name']}"
        return error_at_name(SqlError, bound, match["name"], text)
    return _error_at_caret(bound, whole, clean(whole, bound))


def _unknown_column(bound: Bound, label: str) -> str:
    """The column that a table of the statement lacks, where DuckDB says that the table does not exist; else empty."""
    by_label = {n.alias.upper(): n.name for n in bound.tree.find_all(exp.Table)}
    schemas = {source.registered: source.schema for source in bound.sources}
    schema = schemas.get(by_label.get(label.upper(), ""))
    if schema is not None:
        for column in bound.tree.find_all(exp.Column):
            if column.table.upper() == label.upper() and column.name.upper() not in (n.upper() for n in schema.names):
                return column.name
    return ""


def _error_at_word(bound: Bound, word: str, after: str, message: str) -> SqlError:
    """An error that points at the first unquoted such word of the text with ``after`` behind it, if there is one."""
    tokens = tokenize(bound.text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.text.upper() == word.upper() and (not after or (following is not None and following.text == after)):
            return syntax_error(bound.text, token.start, message, len(word))
    return SqlError(message)


def _error_at_caret(bound: Bound, error: str, message: str) -> SqlError:
    """An error that points at the literal at which DuckDB's own caret points, if our text has that once."""
    match = _CARET.search(error)
    if match is None:
        return SqlError(message)
    excerpt = match["line"][len(match["space"]) - error[match.start() :].index(match["line"]) :]
    literal = re.match(r"'(?:[^']|'')*'", excerpt)
    if literal is None or bound.text.count(literal.group()) != 1:
        return SqlError(message)
    return syntax_error(bound.text, bound.text.index(literal.group()), message, len(literal.group()))


def clean(message: str, bound: Bound | None = None) -> str:
    """DuckDB's message without its own positions, hints about itself and made-up names."""
    by_zero = _BY_ZERO.search(message)
    message = by_zero["text"] if by_zero else _KINDS.sub("", message.strip())
    message = _END.split(message, 1)[0].strip()
    message = re.sub(r" when casting from source column \w+$", "", message)
    message = re.sub(r" ?Use TRY\(.*", "", message, flags=re.DOTALL)
    message = re.sub(r",? SET [a-z_]+ ?=.*", "", message, flags=re.DOTALL)
    if bound is not None:
        for source in bound.sources:
            message = message.replace(source.registered, source.name)
        for replaced, name in bound.originals.items():
            message = message.replace(replaced, name)
    return " ".join(line.strip() for line in message.splitlines() if line.strip())
