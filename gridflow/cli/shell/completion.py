"""Completions at the cursor: keywords, functions, tables, columns, files, and the shell's commands."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from ...errors import GridflowError
from ...schema import Schema, quote_name
from ...sql import split_statements
from ...sql.grammar.schemas import SYSTEM_SCHEMA
from ...sql.text.cutter import open_quote
from ...sql.views.views import find_view, view_names
from .describing import find_table
from .registry import COMMANDS, Words
from .rendering import FORMATS
from .scripts import is_command
from .settings import SETTINGS
from .words import FUNCTIONS, KEYWORDS, TYPES, all_functions

if TYPE_CHECKING:
    from .session import Session

#: Words that a table follows.
_TABLE_WORDS = {"FROM", "JOIN", "INTO", "UPDATE", "TABLE", "DESCRIBE", "EXISTS", "COPY", "ANALYZE", "TRUNCATE"}
#: First words of statements that have types in them.
_TYPE_WORDS = {"CREATE", "ALTER"}
_FILE_FORMATS = ("ARROW", "CSV", "JSON", "NPZ", "PARQUET", "TFRECORD")
_TOKEN = re.compile(r'"(?:[^"]|"")*"|[\w$]+|\S')
_WORD_REVERSED = re.compile(r"[\w$]*")
_NAME = r'(?:"(?:[^"]|"")*"|[\w$]+)'
_ALIAS = re.compile(
    rf"\b(?:FROM|JOIN|INTO|UPDATE|,)\s+(?:PUBLIC\.)?((?:{SYSTEM_SCHEMA}\.)?{_NAME})\s+(?:AS\s+)?({_NAME})",
    re.IGNORECASE,
)
_VIEW = re.compile(rf"\b{SYSTEM_SCHEMA}\.(\w+)", re.IGNORECASE)
#: Words that a setting takes.
_VALUES = {
    "outputformat": tuple(FORMATS),
    "timing": ("on", "off"),
    "pager": ("on", "off", "less -SRXF"),
    "rowlimit": ("auto", "0"),
    "expanded": ("on", "off", "auto"),
    "onerror": ("stop", "continue"),
    "editmode": ("emacs", "vi"),
}
_Candidates = Iterable[tuple[str, str]]


class SqlCompleter(Completer):
    """Completes the word at the cursor from the current names of the grid. For one thread."""

    def __init__(self, session: Session):
        self._session = session

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        try:
            if is_command(before):
                yield from self._of_command(before)
            else:
                yield from self._of_statement(document)
        except GridflowError:
            return  # the statement itself will report a grid that went away

    def _of_command(self, text: str) -> Iterator[Completion]:
        text = text.lstrip()
        name, space, rest = text.partition(" ")
        if not space:
            commands = ((n, c.help) for c in COMMANDS for n in c.names)
            yield from _matching(commands, name)
            return
        takes = next((c.takes for c in COMMANDS if name.lower() in c.names), ())
        words = Words(rest)
        prefix = "" if not rest or rest[-1].isspace() else words[-1]
        previous = words[: len(words) - bool(prefix)]
        if takes == "file" or (name.lower() in ("!outputformat", "!format") and previous == ["arrow"]):
            yield from _files(prefix)
        elif takes in ("table", "column") and not previous:
            yield from _matching(((quote_name(t), "table") for t in self._session.grid.tables()), prefix)
            if name.lower() in ("!describe", "\\d") and prefix:
                yield from _matching(((f"{SYSTEM_SCHEMA}.{view}", "system view") for view in view_names()), prefix)
        elif takes == "column":
            table = find_table(self._session, previous[0])
            columns = [(quote_name(c.name), str(c.type)) for c in table.schema.columns]
            yield from _matching([*columns, ("WHERE", "")], prefix)
        elif takes == tuple(SETTINGS):
            settings = list(SETTINGS.items())
            names = _without_help(_VALUES.get(previous[0].lower(), ())) if previous else settings
            yield from _matching(names, prefix)
        elif not previous and isinstance(takes, tuple):
            helped = [(c.names[0], c.help) for c in COMMANDS] if name == "!help" else []
            yield from _matching([*_without_help(takes), *helped], prefix)

    def _of_statement(self, document: Document) -> Iterator[Completion]:
        cursor = document.cursor_position
        start, end = _statement_bounds(document.text, cursor)
        before, statement = document.text[start:cursor], document.text[start:end]
        quote = open_quote(before)
        if quote < len(before):
            words = _TOKEN.findall(before[:quote])
            if before[quote] == "'" and _is_file_next(words):
                yield from _files(before[quote:], closing="'")
                return
            if before[quote] != '"':
                return  # text and comments have no completions
            prefix = before[quote:]
        else:
            match = _WORD_REVERSED.match(before[::-1])
            prefix = match.group()[::-1] if match else ""
        before = before[: len(before) - len(prefix)]
        yield from _matching(self._candidates(before, prefix, statement), prefix)

    def _candidates(self, before: str, prefix: str, statement: str) -> _Candidates:
        words = [w.upper() for w in _TOKEN.findall(before)]
        last = words[-1] if words else ""
        if _is_file_next(words):
            return _without_help(["'"]) if not prefix else ()
        if words[:1] == ["COPY"] and last == "FORMAT":
            return _without_help(_FILE_FORMATS)
        if not prefix and last not in (".", ",", "(") and last not in _TABLE_WORDS:
            return ()  # everything fits an empty word: silence is more help
        tables = self._session.grid.tables()
        if last in _TABLE_WORDS:
            return [*((quote_name(t), "table") for t in tables), (SYSTEM_SCHEMA, "system views")]
        if last == "." and len(words) > 1:
            if words[-2] == SYSTEM_SCHEMA:
                return ((view, "system view") for view in view_names())
            return self._columns(self._tables_before_dot(words[-2], statement, tables))
        return self._anything(words, prefix, statement, tables)

    def _anything(self, words: list[str], prefix: str, statement: str, tables: list[str]) -> _Candidates:
        names = {w.strip('"').upper() for w in _TOKEN.findall(statement)}
        yield from self._columns([*(t for t in tables if t.upper() in names), *_views(statement)])
        yield from ((alias, f"table {name}") for alias, name in _aliases(statement).items())
        yield from ((quote_name(t), "table") for t in tables)
        if not prefix:
            return
        yield SYSTEM_SCHEMA, "system views"
        case = str.lower if prefix.islower() else str
        yield from ((case(k), "") for k in KEYWORDS)
        if words and words[0] in _TYPE_WORDS or "CAST" in words:
            yield from ((case(t), "type") for t in sorted(TYPES))
        functions = [*sorted(FUNCTIONS), *(all_functions() if len(prefix) > 1 else ())]
        yield from ((case(f), "function") for f in functions)

    def _columns(self, tables: list[str]) -> _Candidates:
        for table in tables:
            for column in self._schema(table).columns:
                yield quote_name(column.name), f"{table} {column.type}"

    def _schema(self, name: str) -> Schema:
        schema, _, view = name.partition(".")
        return find_view(view).schema if schema == SYSTEM_SCHEMA and view else self._session.grid.table(name).schema

    def _tables_before_dot(self, word: str, statement: str, tables: list[str]) -> list[str]:
        """The tables and views that the word before a dot may mean: a name, or an alias of the statement."""
        name = _aliases(statement).get(word.strip('"').upper(), word).strip('"').upper()
        if name == "PUBLIC":
            return []
        return [t for t in tables if t.upper() == name] or [
            view for view in _views(statement) if name in (view, view.partition(".")[2])
        ]


def _views(statement: str) -> list[str]:
    """The system views in a statement, with the schema."""
    names = {view.upper() for view in _VIEW.findall(statement)}
    return [f"{SYSTEM_SCHEMA}.{view}" for view in view_names() if view in names]


def _aliases(statement: str) -> dict[str, str]:
    """Alias -> name of the tables in a statement; a regular expression finds them, no parser."""
    pairs = ((alias.strip('"').upper(), name) for name, alias in _ALIAS.findall(statement))
    return {alias: name for alias, name in pairs if alias not in KEYWORDS}


def _statement_bounds(text: str, cursor: int) -> tuple[int, int]:
    """The start and end of the statement at the cursor."""
    start = 0
    for statement in split_statements(text):
        if statement.end >= cursor:
            return (min(statement.start, cursor), statement.end)
        start = statement.end + 1 if statement.complete else start
    return min(start, cursor), len(text)


def _is_file_next(words: list[str]) -> bool:
    upper = [w.upper() for w in words]
    return upper[:1] == ["COPY"] and upper[-1] in ("FROM", "TO")


def _without_help(words: Iterable[str]) -> _Candidates:
    return ((word, "") for word in words)


def _matching(candidates: _Candidates, prefix: str) -> Iterator[Completion]:
    names, start = set(), prefix.strip('"').upper()
    for name, meta in candidates:
        if name not in names and name.strip('"').upper().startswith(start):
            names.add(name)
            yield Completion(name, start_position=-len(prefix), display_meta=meta)


def _files(prefix: str, closing: str = "") -> Iterator[Completion]:
    """The files and folders whose path starts with ``prefix``; a file closes an open quote."""
    quote = prefix[0] if prefix[:1] in ("'", '"') else ""
    path = prefix[len(quote) :]
    folder, start = os.path.split(path)
    try:
        entries = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith(".")):
            is_folder = entry.is_dir()
            full = os.path.join(folder, entry.name) + ("/" if is_folder else "")
            quotes = quote or ("'" if " " in full else "")
            text = f"{quotes}{full}{'' if is_folder else closing or quotes}"
            yield Completion(text, start_position=-len(prefix), display=entry.name + "/" * is_folder)
