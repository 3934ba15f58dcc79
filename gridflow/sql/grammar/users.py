"""The grammar of CREATE USER, ALTER USER and DROP USER."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot.tokens import Token, TokenType

from ..text.secrets import USER_GRAMMAR, hide_passwords
from .tokens import Tokens


@dataclass(frozen=True)
class ChangeUser:
    """A parsed statement about a user.

    Attributes:
        name: the user's, in upper case unless the text quotes it.
        password: the new password; None: the user has none, and for DROP USER.
        if_exists: whether DROP USER takes a missing user, and CREATE USER an existing one, as done.
    """

    name: str
    password: str | None = field(default=None, repr=False)
    if_exists: bool = False


def parse_create_user(tokens: list[Token], text: str) -> ChangeUser:
    """``CREATE USER [IF NOT EXISTS] name [WITH PASSWORD 'password']``"""
    reader = _reader(tokens, text)
    reader.expect("CREATE", "USER")
    if_exists = reader.accept("IF", "NOT", "EXISTS")
    name = reader.name("a user's name")
    return ChangeUser(name, None if reader.token is None else _password(reader, tokens), if_exists)


def parse_alter_user(tokens: list[Token], text: str) -> ChangeUser:
    """``ALTER USER name WITH PASSWORD 'password'``"""
    reader = _reader(tokens, text)
    reader.expect("ALTER", "USER")
    return ChangeUser(reader.name("a user's name"), _password(reader, tokens))


def parse_drop_user(tokens: list[Token], text: str) -> ChangeUser:
    """``DROP USER [IF EXISTS] name``"""
    reader = Tokens(tokens, text)
    reader.expect("DROP", "USER")
    if_exists = reader.accept("IF", "EXISTS")
    name = reader.name("a user's name")
    reader.end()
    return ChangeUser(name, if_exists=if_exists)


def _reader(tokens: list[Token], text: str) -> Tokens:
    """A reader whose errors show stars for any token that may be a password, here or in a statement with a mistake."""
    has_name = False
    safe_tokens = []
    for token in tokens:
        is_literal = token.token_type is TokenType.STRING
        is_grammar = token.token_type is not TokenType.IDENTIFIER and token.text.upper() in USER_GRAMMAR
        if is_grammar or (not has_name and not is_literal):
            has_name = has_name or not is_grammar
            safe_tokens.append(token)
        else:
            safe_tokens.append(Token(token.token_type, "***", token.line, token.col, token.start, token.end))
    return Tokens(safe_tokens, hide_passwords(text))


def _password(reader: Tokens, tokens: list[Token]) -> str:
    reader.expect("WITH")
    reader.expect("PASSWORD")
    if reader.token is None or reader.token.token_type is not TokenType.STRING:
        raise reader.fail("expected the password in single quotes")
    password = tokens[reader.at].text
    reader.at += 1
    reader.end()
    return password
