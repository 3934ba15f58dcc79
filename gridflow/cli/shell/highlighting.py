"""Colours of the input line: Gridflow's SQL, and the shell's commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer, PygmentsLexer
from pygments.lexers.sql import SqlLexer
from pygments.token import Keyword, Name, _TokenType

from .scripts import is_command
from .words import FUNCTIONS, KEYWORDS, TYPES

_WORDS = {**dict.fromkeys(KEYWORDS, Keyword), **dict.fromkeys(TYPES, Keyword.Type)}


class _IgniteLexer(SqlLexer):
    """SQL whose keywords, types and functions are Gridflow's, and no others."""

    def get_tokens_unprocessed(self, text: str, *args: Any) -> Iterator[tuple[int, _TokenType, str]]:
        for index, kind, value in super().get_tokens_unprocessed(text, *args):
            if kind in Name or kind in Keyword:
                word = value.upper()
                rest = text[index + len(value) : index + len(value) + 2].lstrip(" ")
                if rest.startswith("(") and word in FUNCTIONS:
                    kind = Name.Function
                elif word in _WORDS:
                    kind = _WORDS[word]
                elif kind in Keyword:
                    kind = Name
            yield index, kind, value


class ShellLexer(Lexer):
    """Colours SQL, and of a command the name."""

    def __init__(self) -> None:
        self._sql = PygmentsLexer(_IgniteLexer)

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        if not is_command(document.text):
            return self._sql.lex_document(document)

        def line(number: int) -> StyleAndTextTuples:
            text = document.lines[number] if number < len(document.lines) else ""
            name, space, rest = text.partition(" ")
            return [("class:pygments.keyword", name), ("", space + rest)]

        return line
