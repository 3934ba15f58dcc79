"""A statement's tokens read one by one, for the statements whose grammar is ours and not sqlglot's."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ...errors import SqlError
from ..text.places import syntax_error


class Tokens:
    """A statement's tokens, read one by one."""

    def __init__(self, tokens: list[Token], text: str):
        self.tokens, self.text, self.at = tokens, text, 0

    @property
    def now(self) -> Token | None:
        """The next token; None at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def word(self, ahead: int = 0) -> str:
        """The token as a keyword or sign: upper case; nothing for quoted ones."""
        at = self.at + ahead
        if at >= len(self.tokens) or self.tokens[at].token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            return ""
        return self.tokens[at].text.upper()

    def accept(self, *words: str) -> bool:
        """Whether these come next; then they are read. ``PRIMARY KEY`` may be one token or two."""
        at, left = self.at, " ".join(words)
        while left:
            found = self.word(at - self.at)
            if not found or not (left + " ").startswith(found + " "):
                return False
            left, at = left[len(found) :].strip(), at + 1
        self.at = at
        return True

    def expect(self, *words: str) -> None:
        """Read these, or fail."""
        if not self.accept(*words):
            raise self.fail(f"expected {' '.join(words)}")

    def end(self) -> None:
        """Fail unless all is read."""
        if self.now is not None:
            raise self.fail("expected the end")

    def fail(self, message: str) -> SqlError:
        """An error that points at the next token."""
        token = self.now
        if token is None:
            last = self.tokens[-1]
            return syntax_error(self.text, last.end + 1, f"{message}, found the end")
        return syntax_error(self.text, token.start, f"{message}, found {token.text}", len(token.text))

    def name(self, what: str) -> str:
        """An identifier: a quoted one as it is, another in upper case."""
        token = self.now
        quoted = token is not None and token.token_type is TokenType.IDENTIFIER
        if token is None or not (quoted or (is_plain(token.text) and token.token_type is not TokenType.STRING)):
            raise self.fail(f"expected {what}")
        self.at += 1
        return token.text if quoted else token.text.upper()

    def table_and_columns(self) -> tuple[exp.Table, tuple[exp.Identifier, ...]]:
        """``[schema.]name [(column, column)]``"""
        table = self.table()
        columns: list[exp.Identifier] = []
        if self.accept("("):
            while True:
                token = self.now
                columns.append(identifier(self.name("a column's name"), token))
                if not self.accept(","):
                    break
            self.expect(")")
        return table, tuple(columns)

    def table(self) -> exp.Table:
        """``[schema.]name``"""
        first = self.now
        name = self.name("a table's name")
        db = None
        if self.accept("."):
            db, first = identifier(name, first), self.now
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
    """``WITH "a=1,b=2"``, quoted either way, or ``WITH a=1, b=2``."""
    texts: list[str] = []
    if not reader.accept("WITH"):
        return ()
    while True:
        token = reader.now
        if token is not None and token.token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            reader.at += 1
            texts.append(token.text)
        else:
            name = reader.name("an option")
            reader.expect("=")
            value = reader.now
            if value is None:
                raise reader.fail(f"expected the value of {name}")
            reader.at += 1
            texts.append(f"{name}={value.text}")
        if not reader.accept(","):
            return tuple(texts)


def is_plain(text: str) -> bool:
    """Whether a text can be a name without quotes."""
    return bool(text) and (text[0].isalpha() or text[0] == "_") and text.replace("$", "_").isidentifier()


def identifier(name: str, token: Token | None) -> exp.Identifier:
    """A name that remembers where it stands."""
    assert token is not None  # name() has read it
    found = exp.Identifier(this=name, quoted=token.token_type is TokenType.IDENTIFIER)
    found.meta.update(start=token.start, end=token.end, line=token.line)
    return found


def parse_table_name(tokens: list[Token], text: str) -> exp.Table:
    """Tokens that are a table's name and nothing else."""
    reader = Tokens(tokens, text)
    table = reader.table()
    reader.end()
    return table
