"""A statement's tokens read one by one, for the statements whose grammar is ours and not sqlglot's."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ...errors import SqlError
from ..text.places import syntax_error

#: The words with which a query begins inside another statement.
QUERY_STARTS = frozenset(["SELECT", "WITH", "VALUES", "FROM", "("])


class Tokens:
    """A statement's tokens, read one by one; ``at`` is the index of the next.

    Args:
        tokens: of one statement.
        text: the whole text, for messages.
    """

    def __init__(self, tokens: list[Token], text: str):
        self.tokens, self.text, self.at = tokens, text, 0

    @property
    def token(self) -> Token | None:
        """The next token; None at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def word(self, ahead: int = 0) -> str:
        """The token ``ahead`` of the next as a keyword or sign, in upper case; empty for a quoted one or no token."""
        at = self.at + ahead
        if at >= len(self.tokens) or self.tokens[at].token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            return ""
        return self.tokens[at].text.upper()

    def accept(self, *words: str) -> bool:
        """Read these words if they come next; returns whether they do. ``PRIMARY KEY`` may be one token or two."""
        at, rest = self.at, " ".join(words)
        while rest:
            word = self.word(at - self.at)
            if not word or not (rest + " ").startswith(word + " "):
                return False
            rest, at = rest[len(word) :].strip(), at + 1
        self.at = at
        return True

    def expect(self, *words: str) -> None:
        """Read these words; raises an SqlError if others come next."""
        if not self.accept(*words):
            raise self.fail(f"expected {' '.join(words)}")

    def end(self) -> None:
        """Raise an SqlError unless all tokens are read."""
        if self.token is not None:
            raise self.fail("expected the end")

    def fail(self, message: str) -> SqlError:
        """An error that points at the next token, or behind the last one."""
        token = self.token
        if token is None:
            last = self.tokens[-1]
            return syntax_error(self.text, last.end + 1, f"{message}, found the end")
        return syntax_error(self.text, token.start, f"{message}, found {token.text}", len(token.text))

    def name(self, what: str) -> str:
        """Read an identifier: a quoted one as it is, another in upper case. ``what`` names it in the error."""
        token = self.token
        quoted = token is not None and token.token_type is TokenType.IDENTIFIER
        if token is None or not (quoted or (is_bare_name(token.text) and token.token_type is not TokenType.STRING)):
            raise self.fail(f"expected {what}")
        self.at += 1
        return token.text if quoted else token.text.upper()

    def table_and_columns(self) -> tuple[exp.Table, tuple[exp.Identifier, ...]]:
        """``[schema.]name [(column, column)]``"""
        table = self.table()
        columns: list[exp.Identifier] = []
        if self.accept("("):
            while True:
                token = self.token
                columns.append(identifier(self.name("a column's name"), token))
                if not self.accept(","):
                    break
            self.expect(")")
        return table, tuple(columns)

    def table(self) -> exp.Table:
        """``[schema.]name``"""
        first = self.token
        name = self.name("a table's name")
        db = None
        if self.accept("."):
            db, first = identifier(name, first), self.token
            name = self.name("a table's name")
        return exp.Table(this=identifier(name, first), db=db)


def key_list(reader: Tokens) -> tuple[str, ...]:
    """``(column, ...)``"""
    reader.expect("(")
    names = [reader.name("a column's name")]
    while reader.accept(","):
        names.append(reader.name("a column's name"))
    reader.expect(")")
    return tuple(names)


def with_texts(reader: Tokens) -> tuple[str, ...]:
    """``WITH "a=1,b=2"``, quoted either way, or ``WITH a=1, b=2``: each text, or each pair as a text."""
    texts: list[str] = []
    if not reader.accept("WITH"):
        return ()
    while True:
        token = reader.token
        if token is not None and token.token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            reader.at += 1
            texts.append(token.text)
        else:
            name = reader.name("an option")
            reader.expect("=")
            value = reader.token
            if value is None:
                raise reader.fail(f"expected the value of {name}")
            reader.at += 1
            texts.append(f"{name}={value.text}")
        if not reader.accept(","):
            return tuple(texts)


def is_bare_name(text: str) -> bool:
    """Whether a text can be a name without quotes."""
    return bool(text) and (text[0].isalpha() or text[0] == "_") and text.replace("$", "_").isidentifier()


def identifier(name: str, token: Token | None) -> exp.Identifier:
    """A name with its place in the text."""
    assert token is not None  # name() has read it
    node = exp.Identifier(this=name, quoted=token.token_type is TokenType.IDENTIFIER)
    node.meta.update(start=token.start, end=token.end, line=token.line)
    return node


def parse_table_name(tokens: list[Token], text: str) -> exp.Table:
    """Tokens that are a table's name and nothing else."""
    reader = Tokens(tokens, text)
    table = reader.table()
    reader.end()
    return table
