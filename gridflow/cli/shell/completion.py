"""What may stand at the cursor: keywords, tables, columns, and the shell's commands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from ...errors import GridflowError
from ...schema import ALIASES, SCALARS, quote_name
from .commands import COMMANDS, is_command
from .rendering import FORMATS

if TYPE_CHECKING:
    from ...client import RemoteGrid
    from ...grid import Grid

KEYWORDS = (
    "ALL AND AS ASC AVG BEGIN BETWEEN BY CASE CAST COALESCE COMMIT COUNT CREATE CROSS DELETE DESC "
    "DESCRIBE DISTINCT DROP ELSE END EXCEPT EXISTS EXPLAIN FALSE FROM FULL GROUP HAVING IF IN INNER "
    "INSERT INTERSECT INTO IS JOIN KEY LEFT LIKE LIMIT MAX MERGE MIN NOT NULL OFFSET ON OR ORDER OUTER "
    "OVER PARTITION PRIMARY RIGHT ROLLBACK SELECT SET SHOW SUM TABLE TABLES THEN TRUE UNION UPDATE USING "
    "VALUES WHEN WHERE WITH"
).split()
#: After these words stands a table.
_TABLE_WORDS = {"FROM", "JOIN", "INTO", "UPDATE", "TABLE", "DESCRIBE", "EXISTS"}
#: In a statement that starts so, types may stand.
_TYPE_WORDS = {"CREATE", "ALTER"}
_WORD = re.compile(r'"(?:[^"]|"")*"|[\w$]+|\S')


class SqlCompleter(Completer):
    """Completes the word at the cursor from the grid's names as they are now. One thread uses it."""

    def __init__(self, grid: Grid | RemoteGrid):
        self._grid = grid

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        word = re.search(r"[!\\]?[\w$?]*\Z", text)
        typed = word.group() if word else ""
        try:
            candidates = list(self._candidates(text[: len(text) - len(typed)], typed, document.text))
        except GridflowError:
            return  # a grid that went away shows when the statement runs, not while it is typed
        seen = set()
        for name, meta in candidates:
            if name not in seen and name.strip('"').upper().startswith(typed.upper()):
                seen.add(name)
                yield Completion(name, start_position=-len(typed), display_meta=meta)

    def _candidates(self, before: str, typed: str, whole: str) -> Iterable[tuple[str, str]]:
        if is_command(before + typed):
            yield from self._command_words(before)
            return
        if not typed and not before.rstrip().endswith((".", ",", "(")) and not _ends_with_table_word(before):
            return  # an empty word could be anything: stay quiet
        words = [w.upper() for w in _WORD.findall(before)]
        tables = self._grid.tables()
        if words and words[-1] in _TABLE_WORDS:
            yield from ((quote_name(t), "table") for t in tables)
            return
        named = {w.strip('"').upper() for w in _WORD.findall(whole)}
        mentioned = [t for t in tables if t.upper() in named]
        if words and words[-1] == "." and len(words) > 1:
            mentioned = [t for t in tables if t.upper() == words[-2].strip('"')] or mentioned
        for table in mentioned:
            for column in self._grid.table(table).schema.columns:
                yield quote_name(column.name), f"{table} {column.type}"
        if words and words[-1] == ".":
            return
        yield from ((quote_name(t), "table") for t in tables)
        lower = typed.islower()
        yield from ((k.lower() if lower else k, "") for k in KEYWORDS)
        if words and words[0] in _TYPE_WORDS:
            yield from ((t.lower() if lower else t, "type") for t in sorted({*SCALARS, *ALIASES}))

    def _command_words(self, before: str) -> Iterable[tuple[str, str]]:
        words = before.split()
        if not words:
            yield from ((name, c.help) for c in COMMANDS for name in c.names)
        elif words[0] in ("!describe", "\\d"):
            yield from ((quote_name(t), "table") for t in self._grid.tables())
        elif words[0] in ("!outputformat", "!format"):
            yield from ((name, "") for name in FORMATS)


def _ends_with_table_word(before: str) -> bool:
    words = before.split()
    return bool(words) and words[-1].upper() in _TABLE_WORDS
