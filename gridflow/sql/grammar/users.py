"""The grammar of CREATE USER, ALTER USER and DROP USER."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot.tokens import Token, TokenType

from ..text.secrets import hide_passwords
from .tokens import Tokens


@dataclass(frozen=True)
class ChangeUser:
    """A parsed statement about a user.

    Attributes:
        name: the user's; without quotes it was folded to upper case.
        password: what it shall be; empty for DROP USER.
        if_exists: of DROP USER: whether a missing user is fine. Of CREATE USER: whether an existing one is.
    """

    name: str
    password: str = field(default="", repr=False)
    if_exists: bool = False


def parse_create(tokens: list[Token], text: str) -> ChangeUser:
    """``CREATE USER [IF NOT EXISTS] name WITH PASSWORD 'password'``"""
    reader = _reader(tokens, text)
    reader.expect("CREATE", "USER")
    if_exists = reader.accept("IF", "NOT", "EXISTS")
    return ChangeUser(reader.name("a user's name"), _password(reader, tokens), if_exists)


def parse_alter(tokens: list[Token], text: str) -> ChangeUser:
    """``ALTER USER name WITH PASSWORD 'password'``"""
    reader = _reader(tokens, text)
    reader.expect("ALTER", "USER")
    return ChangeUser(reader.name("a user's name"), _password(reader, tokens))


def parse_drop(tokens: list[Token], text: str) -> ChangeUser:
    """``DROP USER [IF EXISTS] name``"""
    reader = Tokens(tokens, text)
    reader.expect("DROP", "USER")
    if_exists = reader.accept("IF", "EXISTS")
    name = reader.name("a user's name")
    reader.end()
    return ChangeUser(name, if_exists=if_exists)


def _reader(tokens: list[Token], text: str) -> Tokens:
    """The tokens without what may be a password: errors show only what was read here."""
    named = False
    shown = []
    for token in tokens:
        is_literal = token.token_type is TokenType.STRING
        is_grammar = token.token_type is not TokenType.IDENTIFIER and token.text.upper() in _WORDS
        if is_grammar or (not named and not is_literal):
            named = named or not is_grammar
            shown.append(token)
        else:
            shown.append(Token(token.token_type, "***", token.line, token.col, token.start, token.end))
    return Tokens(shown, hide_passwords(text))


_WORDS = {"CREATE", "ALTER", "USER", "IF", "NOT", "EXISTS", "WITH", "PASSWORD"}


def _password(reader: Tokens, tokens: list[Token]) -> str:
    reader.expect("WITH")
    reader.expect("PASSWORD")
    if reader.now is None or reader.now.token_type is not TokenType.STRING:
        raise reader.fail("expected the password in single quotes")
    password = tokens[reader.at].text
    reader.at += 1
    reader.end()
    return password
