"""Passwords in a statement's text: kept out of messages, of the history, and of the shell's file of what was typed."""

from __future__ import annotations

import re

from .cutter import split_statements

_LITERAL = r"'(?:[^']|'')*(?:'|\Z)|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
_NAMED = re.compile(rf"\b(?:PASSWORD|IDENTIFIED\s+BY)\s*=?\s*(?P<literal>{_LITERAL})", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LEXEME = re.compile(rf'(?:{_LITERAL})|"(?:[^"]|"")*(?:"|\Z)|[\w$]+|\s+|.', re.DOTALL)
_GRAMMAR = {"CREATE", "ALTER", "USER", "IF", "NOT", "EXISTS", "WITH", "PASSWORD"}
_OTHERS = {"TABLE", "INDEX", "UNIQUE", "SPATIAL", "VIEW", "SCHEMA"}


def hide_passwords(text: str) -> str:
    """The text with ``*`` for every sign of a password; all else stays where it is.

    In CREATE USER and ALTER USER everything is hidden but the grammar's words and the user's name, so that a mistake in
    such a statement shows nothing either.

    >>> hide_passwords("CREATE USER KATE WITH PASSWORD 'warm kitty'; SELECT 'cold'")
    "CREATE USER KATE WITH PASSWORD '**********'; SELECT 'cold'"
    """
    upper = text.upper()
    if "PASSWORD" not in upper and "IDENTIFIED" not in upper and "USER" not in upper:
        return text
    text = _NAMED.sub(lambda m: m[0][: m.start("literal") - m.start()] + _starred(m["literal"]), text)
    parts, at = [], 0
    for statement in split_statements(text):
        if is_about_users(statement.text):
            parts += [text[at : statement.start], _hidden(statement.text)]
            at = statement.end
    return "".join([*parts, text[at:]])


def is_about_users(statement: str) -> bool:
    """Whether a statement makes or alters a user, or tries to."""
    words = _COMMENT.sub(" ", statement).upper().split(None, 4)[:4]
    return len(words) > 1 and words[0] in ("CREATE", "ALTER") and words[1] not in _OTHERS and "USER" in words


def _hidden(statement: str) -> str:
    out, named = [], False
    for match in _LEXEME.finditer(statement):
        part = match.group()
        if part.upper() in _GRAMMAR or part.isspace():
            out.append(part)
        elif not named and not part.startswith("'"):
            named = True
            out.append(part)
        else:
            out.append(_starred(part))
    return "".join(out)


def _starred(part: str) -> str:
    """Stars, but for line ends and the quotes around it: the text must be cut into the same lines and literals."""
    if part.startswith("'"):
        closed = len(part) > 1 and part.endswith("'")
        return "'" + _starred(part[1 : len(part) - closed]) + "'" * closed
    return re.sub(r"[^\n]", "*", part)
