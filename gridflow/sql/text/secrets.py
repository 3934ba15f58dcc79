"""Passwords in a statement's text, which messages, the list of statements and the shell's history must not show."""

from __future__ import annotations

import re
from itertools import islice

from .cutter import split_statements

# Each expression reads a character once, whatever stands in the text: a server hides passwords in all that it is sent.
_LITERAL = r"'[^']*(?:''[^']*)*(?:'|\Z)|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
_NAMED = re.compile(rf"\b(?:PASSWORD|IDENTIFIED\s+BY)\s*(?:=\s*)?(?P<literal>{_LITERAL})", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"--[^\n]*|/\*.*?\*/|(?P<word>/\*|(?:(?!--|/\*)\S)+)", re.DOTALL)
_PART = re.compile(rf'(?:{_LITERAL})|"[^"]*(?:""[^"]*)*(?:"|\Z)|[\w$]+|\s+|.', re.DOTALL)
_NO_LINE_END = re.compile(r"[^\n]")
#: The words of CREATE USER and ALTER USER, which are no secret.
USER_GRAMMAR = {"CREATE", "ALTER", "USER", "IF", "NOT", "EXISTS", "WITH", "PASSWORD"}
# Objects of CREATE and ALTER that are no users, though one may have the name USER.
_OTHERS = {"TABLE", "INDEX", "UNIQUE", "SPATIAL", "VIEW", "SCHEMA"}


def hide_passwords(text: str) -> str:
    """The text with ``*`` for every character of a password, so that all else keeps its place.

    In CREATE USER and ALTER USER stars hide everything but the grammar's words and the user's name: a mistake in such a
    statement may leave the password anywhere.

    >>> hide_passwords("CREATE USER KATE WITH PASSWORD 'warm kitty'; SELECT 'cold'")
    "CREATE USER KATE WITH PASSWORD '**********'; SELECT 'cold'"
    """
    upper = text.upper()
    if "PASSWORD" not in upper and "IDENTIFIED" not in upper and "USER" not in upper:
        return text
    text = _NAMED.sub(lambda m: m[0][: m.start("literal") - m.start()] + _stars(m["literal"]), text)
    parts, at = [], 0
    for statement in split_statements(text):
        if is_about_users(statement.text):
            parts += [text[at : statement.start], _hide_in_user_statement(statement.text)]
            at = statement.end
    return "".join([*parts, text[at:]])


def is_about_users(statement: str) -> bool:
    """Whether a statement is a CREATE USER or ALTER USER, be it well formed or not."""
    found = (match["word"] for match in _WORD.finditer(statement))
    words = [word.upper() for word in islice(filter(None, found), 4)]
    return len(words) > 1 and words[0] in ("CREATE", "ALTER") and words[1] not in _OTHERS and "USER" in words


def _hide_in_user_statement(statement: str) -> str:
    out, has_name = [], False
    for match in _PART.finditer(statement):
        part = match.group()
        if part.upper() in USER_GRAMMAR or part.isspace():
            out.append(part)
        elif not has_name and not part.startswith("'"):
            has_name = True
            out.append(part)
        else:
            out.append(_stars(part))
    return "".join(out)


def _stars(part: str) -> str:
    """Stars for the characters of a part, except line ends and outer quotes: lines and literals stay the same."""
    if part.startswith("'"):
        closed = len(part) > 1 and part.endswith("'")
        return "'" + _NO_LINE_END.sub("*", part[1 : len(part) - closed]) + "'" * closed
    return _NO_LINE_END.sub("*", part)
