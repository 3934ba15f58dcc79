"""The grammar of COPY, which is Ignite's with more options, and PostgreSQL's ``COPY ... TO``."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ...config import MOST_RECORD_BYTES
from ...deprecation import deprecated
from ...errors import SqlError, did_you_mean
from ...storage.formats.source import CsvStyle
from ..text.places import syntax_error
from .dialect import parse
from .spelling import is_count
from .tokens import QUERY_STARTS, Tokens

_FORMATS = ("CSV", "JSON", "PARQUET", "ARROW", "TFRECORD", "NPZ")
#: Options with which a .tsv is CSV with tabs, and not what TSV files are otherwise.
_STYLE = ("DELIMITER", "QUOTE", "ESCAPE", "NULL")
_SWITCH = {"ON": True, "OFF": False, "TRUE": True, "FALSE": False}
_CHARACTER, _TEXT, _COUNT, _CHARSET = "one character", "a text in quotes", "a whole number", "a character set"
_ALL = frozenset(_FORMATS)
_CSV, _LINES, _COLUMNAR = frozenset(["CSV"]), frozenset(["CSV", "JSON"]), frozenset(["PARQUET", "ARROW"])

# option -> its domain (words, or a kind of literal), whether COPY FROM has it, whether COPY TO has it, and the formats
_OPTIONS: dict[str, tuple[Any, bool, bool, frozenset[str]]] = {
    "FORMAT": (_FORMATS, True, True, _ALL),
    "HEADER": (_SWITCH, True, True, _CSV),
    "DELIMITER": (_CHARACTER, True, True, _CSV),
    "QUOTE": (_CHARACTER, True, True, _CSV),
    "ESCAPE": (_CHARACTER, True, True, _CSV),
    "NULL": (_TEXT, True, True, _CSV),
    "CHARSET": (_CHARSET, True, True, _CSV),
    "SKIP": (_COUNT, True, False, _CSV),
    "MISSING": (("DEFAULT", "NULL"), True, False, _LINES),
    "ON_ERROR": (("STOP", "SKIP"), True, False, _LINES),
    "REJECTS": (_TEXT, True, False, _LINES),
    "RECORD_BYTES": (_COUNT, True, False, frozenset(["CSV", "JSON", "TFRECORD"])),
    "ON_DUPLICATE": (("ERROR", "REPLACE", "IGNORE", "STOP"), True, False, _ALL),
    "ARRAY": (_SWITCH, False, True, frozenset(["JSON"])),
    "COMPRESSION": (_TEXT, False, True, _COLUMNAR),
    "PACKET_SIZE": (_COUNT, True, False, _ALL),  # Ignite's: rows travel in packets of ours
}


@dataclass(frozen=True)
class CopyOptions:
    """The options that a COPY has.

    Attributes:
        text: the whole text of the statements.
        values: name of an option -> value.
        places: name of an option -> the token where it stands.
    """

    text: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Token] = field(default_factory=dict)

    def get(self, name: str, otherwise: Any = None) -> Any:
        """The value of an option, or ``otherwise`` where the COPY has it not."""
        return self.values.get(name, otherwise)

    def csv_style(self) -> CsvStyle:
        """The style of CSV that the options describe."""
        return CsvStyle(
            delimiter=self.get("DELIMITER"),
            quote=self.get("QUOTE", '"') or None,
            escape=self.get("ESCAPE") or None,
            charset=self.get("CHARSET", "utf-8"),
            header=self.get("HEADER", True),
            skip=self.get("SKIP", 0),
            null=self.get("NULL", ""),
            base64=True,
            backslashes=None if self.values.keys().isdisjoint(_STYLE) else False,
        )

    def check(self, form: str) -> None:
        """Raise an SqlError for an option that does not apply to files of this format."""
        for name, token in self.places.items():
            if form.upper() not in _OPTIONS[name][3]:
                fitting = ", ".join(sorted(_OPTIONS[name][3]))
                raise self.fail(name, f"{name} is for {fitting}, and the file is {form.upper()}", token)

    def fail(self, name: str, message: str, token: Token | None = None) -> SqlError:
        """An error that points at an option."""
        token = token or self.places[name]
        return syntax_error(self.text, token.start, message, token.end - token.start + 1)


@dataclass(frozen=True)
class CopyFrom:
    """``COPY FROM path INTO table [(columns)] options``; ``path`` is a literal or a parameter."""

    path: exp.Expression
    table: exp.Table
    columns: tuple[exp.Identifier, ...]
    options: CopyOptions


@dataclass
class CopyTo:
    """``COPY table [(columns)] TO path options`` or ``COPY (query) TO path options``.

    Attributes:
        path: a literal or a parameter.
        table: the table to write; None for a query.
        columns: those of the table to write, in order; none for all.
        tokens: the query's.
        options: the options as written.
        query: the query, a Prepared; ``statements`` parses it from the tokens.
    """

    path: exp.Expression
    table: exp.Table | None
    columns: tuple[exp.Identifier, ...]
    tokens: list[Token]
    options: CopyOptions
    query: Any = None


def parse_copy(tokens: list[Token], text: str) -> CopyFrom | CopyTo:
    """``COPY FROM ...`` or ``COPY ... TO ...``; the query of a COPY TO is left as tokens.

    Raises:
        SqlError: points at what cannot be read.
    """
    reader = Tokens(tokens, text)
    reader.expect("COPY")
    if reader.accept("FROM"):
        path = _path_expression(reader)
        reader.expect("INTO")
        table, columns = reader.table_and_columns()
        return CopyFrom(path, table, columns, _options(reader, is_from=True))
    if reader.word() == "(":
        query = _query_tokens(reader)
        reader.expect("TO")
        path = _path_expression(reader)
        return CopyTo(path, None, (), query, _options(reader, is_from=False))
    table, columns = reader.table_and_columns()
    if reader.word() == "FROM":
        raise reader.fail("write COPY FROM 'file' INTO table")
    reader.expect("TO")
    path = _path_expression(reader)
    return CopyTo(path, table, columns, [], _options(reader, is_from=False))


def _path_expression(reader: Tokens) -> exp.Expression:
    token = reader.token
    if token is not None and token.token_type is TokenType.STRING:
        reader.at += 1
        return exp.Literal.string(token.text)
    if token is not None and token.token_type in (TokenType.PLACEHOLDER, TokenType.COLON):
        following = reader.tokens[reader.at + 1] if reader.at + 1 < len(reader.tokens) else None
        has_number = following is not None and following.token_type is TokenType.NUMBER  # ?1
        width = 2 if has_number or token.token_type is TokenType.COLON else 1
        mark = parse(reader.tokens[reader.at : reader.at + width], reader.text)
        reader.at += width
        return mark
    raise reader.fail("expected a file's name in quotes")


def _query_tokens(reader: Tokens) -> list[Token]:
    """The tokens between a parenthesis and the one that closes it."""
    begin, depth = reader.at + 1, 0
    while reader.token is not None:
        word = reader.word()
        depth += (word == "(") - (word == ")")
        reader.at += 1
        if depth == 0:
            break
    else:
        raise reader.fail("expected )")
    tokens = reader.tokens[begin : reader.at - 1]
    if not tokens or tokens[0].text.upper() not in QUERY_STARTS:
        reader.at = begin
        raise reader.fail("expected a query")
    return tokens


def _options(reader: Tokens, is_from: bool) -> CopyOptions:
    direction = "FROM" if is_from else "TO"
    names = [name for name, (_, f, t, _) in _OPTIONS.items() if (f if is_from else t)]
    values: dict[str, Any] = {}
    places: dict[str, Token] = {}
    while reader.token is not None:
        name, token = reader.word(), reader.token
        if name not in names:
            raise reader.fail(f"COPY {direction} has no such option; {did_you_mean(name, names)}")
        if name in values:
            raise reader.fail(f"{name} is given twice")
        reader.at += 1
        values[name] = _option_value(reader, name, _OPTIONS[name][0])
        places[name] = token
        reader.accept(",")
    return CopyOptions(reader.text, values, places)


def _option_value(reader: Tokens, name: str, domain: Any) -> Any:
    """Read the value of an option; ``domain`` is what ``_OPTIONS`` says that it takes."""
    if domain is _SWITCH:
        word = reader.word()
        if word in _SWITCH:
            reader.at += 1
        return _SWITCH.get(word, True)
    token = reader.token
    if isinstance(domain, tuple):
        if token is None or token.text.upper() not in domain:
            raise reader.fail(f"{name} is {' or '.join(domain)}")
        reader.at += 1
        word = token.text.upper()
        if (name, word) == ("ON_DUPLICATE", "STOP"):
            deprecated("ON_DUPLICATE STOP", "ON_DUPLICATE ERROR")
            return "ERROR"
        return word
    value = token.text if token is not None else ""
    if token is None or token.token_type is not (TokenType.NUMBER if domain is _COUNT else TokenType.STRING):
        raise reader.fail(f"{name} takes {domain}")
    if domain is _COUNT and not is_count(value):
        raise reader.fail(f"{name} takes {domain}")
    if name == "RECORD_BYTES" and not 0 < int(value) <= MOST_RECORD_BYTES:
        raise reader.fail(f"{name} is from 1 to {MOST_RECORD_BYTES}")
    if domain is _CHARACTER:
        written, value = value, character(value)
        if not value and (written or name == "DELIMITER"):
            raise reader.fail(f"{name} takes one ASCII character, '\\t' for a tab")
    if domain is _CHARSET:
        try:
            codecs.lookup(value)
        except (LookupError, ValueError):
            raise reader.fail("CHARSET: there is no such character set; UTF-8, LATIN1, UTF-16 are some") from None
    reader.at += 1
    return int(value) if domain is _COUNT else value


def character(text: str) -> str:
    """The delimiter, quote or escape that a text means, ``\\t`` being a tab; empty where it means none."""
    text = "\t" if text == "\\t" else text
    return text if len(text) == 1 and text.isascii() and text not in "\r\n\0" else ""
