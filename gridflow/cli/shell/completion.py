"""What may stand at the cursor: keywords, functions, tables, columns, files, and the shell's commands."""

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

#: After these words stands a table.
_TABLE_WORDS = {"FROM", "JOIN", "INTO", "UPDATE", "TABLE", "DESCRIBE", "EXISTS", "COPY", "ANALYZE", "TRUNCATE"}
#: In a statement that starts so, types may stand.
_TYPE_WORDS = {"CREATE", "ALTER"}
_FILE_FORMATS = ("ARROW", "CSV", "JSON", "NPZ", "PARQUET", "TFRECORD")
_WORD = re.compile(r'"(?:[^"]|"")*"|[\w$]+|\S')
_NAME = r'(?:"(?:[^"]|"")*"|[\w$]+)'
_ALIAS = re.compile(
    rf"\b(?:FROM|JOIN|INTO|UPDATE|,)\s+(?:PUBLIC\.)?((?:{SYSTEM_SCHEMA}\.)?{_NAME})\s+(?:AS\s+)?({_NAME})",
    re.IGNORECASE,
)
_VIEW = re.compile(rf"\b{SYSTEM_SCHEMA}\.(\w+)", re.IGNORECASE)
#: Values of settings that are words.
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
    """Completes the word at the cursor from the grid's names as they are now. One thread uses it."""

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
            return  # a grid that went away shows when the statement runs, not while it is typed

    def _of_command(self, text: str) -> Iterator[Completion]:
        text = text.lstrip()
        name, space, rest = text.partition(" ")
        if not space:
            named = ((n, c.help) for c in COMMANDS for n in c.names)
            yield from _matching(named, name)
            return
        takes = next((c.takes for c in COMMANDS if name.lower() in c.names), ())
        words = Words(rest)
        typed = "" if not rest or rest[-1].isspace() else words[-1]
        done = words[: len(words) - bool(typed)]
        if takes == "file" or (name.lower() in ("!outputformat", "!format") and done == ["arrow"]):
            yield from _files(typed)
        elif takes in ("table", "column") and not done:
            yield from _matching(((quote_name(t), "table") for t in self._session.grid.tables()), typed)
            if name.lower() in ("!describe", "\\d") and typed:
                yield from _matching(((f"{SYSTEM_SCHEMA}.{view}", "system view") for view in view_names()), typed)
        elif takes == "column":
            table = find_table(self._session, done[0])
            columns = [(quote_name(c.name), str(c.type)) for c in table.schema.columns]
            yield from _matching([*columns, ("WHERE", "")], typed)
        elif takes == tuple(SETTINGS):
            names = ((n, SETTINGS[n]) for n in SETTINGS) if not done else _plain(_VALUES.get(done[0].lower(), ()))
            yield from _matching(names, typed)
        elif not done and isinstance(takes, tuple):
            commands = ((c.names[0], c.help) for c in COMMANDS) if name == "!help" else ()
            yield from _matching([*_plain(takes), *commands], typed)

    def _of_statement(self, document: Document) -> Iterator[Completion]:
        cursor = document.cursor_position
        start, end = _around(document.text, cursor)
        before, whole = document.text[start:cursor], document.text[start:end]
        quote = open_quote(before)
        if quote < len(before):
            words = _WORD.findall(before[:quote])
            if before[quote] == "'" and _is_file_next(words):
                yield from _files(before[quote:], closing="'")
                return
            if before[quote] != '"':
                return  # text or a comment: nothing to add
            typed = before[quote:]
        else:
            found = re.search(r"[\w$]*\Z", before)
            typed = found.group() if found else ""
        before = before[: len(before) - len(typed)]
        yield from _matching(self._candidates(before, typed, whole), typed)

    def _candidates(self, before: str, typed: str, whole: str) -> _Candidates:
        words = [w.upper() for w in _WORD.findall(before)]
        last = words[-1] if words else ""
        if _is_file_next(words):
            return _plain(["'"]) if not typed else ()
        if words[:1] == ["COPY"] and last == "FORMAT":
            return _plain(_FILE_FORMATS)
        if not typed and last not in (".", ",", "(") and last not in _TABLE_WORDS:
            return ()  # an empty word could be anything: stay quiet
        tables = self._session.grid.tables()
        if last in _TABLE_WORDS:
            return [*((quote_name(t), "table") for t in tables), (SYSTEM_SCHEMA, "system views")]
        if last == "." and len(words) > 1:
            if words[-2] == SYSTEM_SCHEMA:
                return ((view, "system view") for view in view_names())
            return self._columns(self._behind(words[-2], whole, tables))
        return self._anything(words, typed, whole, tables)

    def _anything(self, words: list[str], typed: str, whole: str, tables: list[str]) -> _Candidates:
        named = {w.strip('"').upper() for w in _WORD.findall(whole)}
        yield from self._columns([*(t for t in tables if t.upper() in named), *_views(whole)])
        yield from ((alias, f"table {name}") for alias, name in _aliases(whole).items())
        yield from ((quote_name(t), "table") for t in tables)
        if not typed:
            return
        yield SYSTEM_SCHEMA, "system views"
        case = str.lower if typed.islower() else str
        yield from ((case(k), "") for k in KEYWORDS)
        if words and words[0] in _TYPE_WORDS or "CAST" in words:
            yield from ((case(t), "type") for t in sorted(TYPES))
        functions = [*sorted(FUNCTIONS), *(all_functions() if len(typed) > 1 else ())]
        yield from ((case(f), "function") for f in functions)

    def _columns(self, tables: list[str]) -> _Candidates:
        for table in tables:
            for column in self._schema(table).columns:
                yield quote_name(column.name), f"{table} {column.type}"

    def _schema(self, name: str) -> Schema:
        schema, _, view = name.partition(".")
        return find_view(view).schema if schema == SYSTEM_SCHEMA and view else self._session.grid.table(name).schema

    def _behind(self, word: str, whole: str, tables: list[str]) -> list[str]:
        """The table that a word before a dot means: its name, or another that it has in the statement."""
        name = _aliases(whole).get(word.strip('"').upper(), word).strip('"').upper()
        if name == "PUBLIC":
            return []
        return [t for t in tables if t.upper() == name] or [
            view for view in _views(whole) if name in (view, view.partition(".")[2])
        ]


def _views(statement: str) -> list[str]:
    """The system views that a statement names, with their schema."""
    named = {view.upper() for view in _VIEW.findall(statement)}
    return [f"{SYSTEM_SCHEMA}.{view}" for view in view_names() if view in named]


def _aliases(statement: str) -> dict[str, str]:
    """Alias -> name of the tables in a statement, as far as a glance shows."""
    found = ((alias.strip('"').upper(), name) for name, alias in _ALIAS.findall(statement))
    return {alias: name for alias, name in found if alias not in KEYWORDS}


def _around(text: str, cursor: int) -> tuple[int, int]:
    """Where the statement at the cursor starts and ends."""
    start = 0
    for statement in split_statements(text):
        if statement.end >= cursor:
            return (min(statement.start, cursor), statement.end)
        start = statement.end + 1 if statement.complete else start
    return min(start, cursor), len(text)


def _is_file_next(words: list[str]) -> bool:
    upper = [w.upper() for w in words]
    return upper[:1] == ["COPY"] and upper[-1] in ("FROM", "TO")


def _plain(words: Iterable[str]) -> _Candidates:
    return ((word, "") for word in words)


def _matching(candidates: _Candidates, typed: str) -> Iterator[Completion]:
    seen, wanted = set(), typed.strip('"').upper()
    for name, meta in candidates:
        if name not in seen and name.strip('"').upper().startswith(wanted):
            seen.add(name)
            yield Completion(name, start_position=-len(typed), display_meta=meta)


def _files(typed: str, closing: str = "") -> Iterator[Completion]:
    """The files and folders whose path starts as typed; a quote that is open is closed behind a file."""
    quote = typed[0] if typed[:1] in ("'", '"') else ""
    path = typed[len(quote) :]
    folder, start = os.path.split(path)
    try:
        found = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith(".")):
            is_folder = entry.is_dir()
            full = os.path.join(folder, entry.name) + ("/" if is_folder else "")
            around = quote or ("'" if " " in full else "")
            text = f"{around}{full}{'' if is_folder else closing or around}"
            yield Completion(text, start_position=-len(typed), display=entry.name + "/" * is_folder)
