"""The SQL that is spoken here: Apache Ignite 2.x (H2's flavour), parsed by sqlglot and run by DuckDB.

``Ignite`` is DuckDB's dialect with Ignite's rules where both would read a text differently: names that are
not quoted are upper case, nulls sort as the smallest, ``FLOAT`` is a double, ``INT8`` has 8 bits, ``MERGE
INTO t VALUES`` is an upsert, and H2's functions are there. What DuckDB has beyond that (lists, structs,
``QUALIFY``, ``EXCLUDE``) can be written too.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from typing import Any

from sqlglot import exp, parser
from sqlglot.dialects.dialect import NormalizationStrategy
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, ParseError, TokenError, UnsupportedError
from sqlglot.tokens import Token, TokenType

from ...errors import GridEnvironmentError, GridflowError, SqlError
from ...schema import quote_name
from ..text.cutter import open_quote
from ..text.params import MarkList
from ..text.places import syntax_error
from .division import DIVISIONS, guard_divisors
from .functions import FUNCTIONS
from .nesting import (
    FEW_TOKENS,
    balanced,
    balanced_texts,
    balanced_unions,
    check_depth,
    deep_generator,
    deep_parser,
    is_deep,
    is_deep_tree,
)
from .runs import STAND_IN, LiteralList, LiteralRows, shortened
from .spelling import is_count, meant_keyword

#: sqlglot's optional compiled parser, the package sqlglotc, takes no subclasses.
_IS_COMPILED = not str(parser.__file__).endswith(".py")

TYPE_WORDS = {
    "BYTE": TokenType.TINYINT,
    "INT8": TokenType.TINYINT,
    "SHORT": TokenType.SMALLINT,
    "INT16": TokenType.SMALLINT,
    "INT32": TokenType.INT,
    "LONG": TokenType.BIGINT,
    "INT64": TokenType.BIGINT,
    "UINT8": TokenType.UTINYINT,
    "UINT16": TokenType.USMALLINT,
    "UINT32": TokenType.UINT,
    "UINT64": TokenType.UBIGINT,
    "FLOAT": TokenType.DOUBLE,
    "FLOAT8": TokenType.DOUBLE,
    "FLOAT64": TokenType.DOUBLE,
    "REAL": TokenType.FLOAT,
    "HALF": TokenType.FLOAT,
    "FLOAT16": TokenType.FLOAT,
    "FLOAT32": TokenType.FLOAT,
    "STRING": TokenType.TEXT,
    "CLOB": TokenType.TEXT,
    "VARCHAR2": TokenType.TEXT,
    "RAW": TokenType.VARBINARY,
    "LONGVARBINARY": TokenType.VARBINARY,
    "TIMESTAMP_TZ": TokenType.TIMESTAMPTZ,
}
#: Operands of a chain of ANDs or ORs up to which its tree is what it would be by hand.
_FEW_OPERANDS = 16
#: Tokens of a statement in which a misspelt keyword is looked for: it is parsed again for each that may be meant.
_MOST_SPELT = 2000
# The brackets of Jinja's templates are no tokens here: some would hide the beginning of a comment.
_JINJA = (TokenType.BLOCK_START, TokenType.BLOCK_END)
_HEX_DIGITS = frozenset(string.hexdigits)
_KEYWORDS = {word: kind for word, kind in DuckDB.Tokenizer.KEYWORDS.items() if kind not in _JINJA}


# What a run of literals or marks is written as, where it is not to be a table of the engine's.
_RUNS: dict[Any, Callable[[Any, Any], str]] = {
    LiteralRows: lambda self, e: e.this,
    LiteralList: lambda self, e: e.this,
    MarkList: lambda self, e: ", ".join("?" * len(e.args["offsets"])),
}


class Ignite(DuckDB):
    """Ignite's SQL. Registered with sqlglot as ``ignite``."""

    NORMALIZATION_STRATEGY = NormalizationStrategy.UPPERCASE
    NULL_ORDERING = "nulls_are_small"
    SUPPORTS_VALUES_DEFAULT = True

    class Tokenizer(DuckDB.Tokenizer):
        COMMANDS = set()  # all statements are tokens; what cannot be parsed is refused
        HEX_STRINGS = [("x'", "'"), ("X'", "'")]
        KEYWORDS = {
            **_KEYWORDS,
            **TYPE_WORDS,
            "MINUS": TokenType.EXCEPT,
            "TOP": TokenType.TOP,
        }

    class Parser(DuckDB.Parser):
        FUNCTIONS = {**DuckDB.Parser.FUNCTIONS, **FUNCTIONS}
        FUNCTION_PARSERS = {
            **DuckDB.Parser.FUNCTION_PARSERS,
            "DECODE": parser.Parser.FUNCTION_PARSERS["DECODE"],  # CASE in short, not a character set
            "GROUP_CONCAT": lambda self: self._group_concat(),
        }
        TYPE_CONVERTERS = {
            **DuckDB.Parser.TYPE_CONVERTERS,
            exp.DType.DECIMAL: lambda dtype: _default_decimal(dtype),
            exp.DType.TEXT: lambda dtype: dtype,  # with its length, for CAST
        }
        PLACEHOLDER_PARSERS = {
            **DuckDB.Parser.PLACEHOLDER_PARSERS,
            TokenType.PLACEHOLDER: lambda self: self._positional(),
        }
        PRIMARY_PARSERS = {
            **DuckDB.Parser.PRIMARY_PARSERS,
            TokenType.HEX_STRING: lambda self, token: self._bytes(token),
            STAND_IN: lambda self, token: self.runs[token.start],
        }
        STATEMENT_PARSERS = {
            **DuckDB.Parser.STATEMENT_PARSERS,
            TokenType.MERGE: lambda self: self._upsert(),
        }

        runs: dict[int, exp.Expression] = {}  # by the start of the token that stands for each

        def _parse_value(self, values: bool = True) -> Any:
            if self._match(STAND_IN):
                return self.runs[self._prev.start]
            return super()._parse_value(values)

        def _parse_conjunction(self) -> exp.Expression | None:
            return self._chain(self._parse_equality, self.CONJUNCTION)

        def _parse_disjunction(self) -> exp.Expression | None:
            return self._chain(self._parse_conjunction, self.DISJUNCTION)

        def _chain(self, operand: Callable[[], Any], operators: Any) -> Any:
            """Operands with AND, or OR, between them; of many the tree is balanced."""
            this = operand()
            if not self._match_set(operators):
                return this
            operands, kind = [this], operators[self._prev.token_type]
            while True:
                operands.append(operand())
                if not self._match_set(operators):
                    break

            def join(left: Any, right: Any) -> Any:
                return self.expression(kind(this=left, expression=right))

            return balanced(operands, join) if len(operands) > _FEW_OPERANDS else reduce(join, operands)

        def _parse_set_operations(self, this: Any) -> Any:
            return balanced_unions(super()._parse_set_operations(this))

        def _parse_bitwise(self) -> Any:
            return balanced_texts(super()._parse_bitwise())

        def _parse_types(self, *args: Any, **kwargs: Any) -> exp.Expression | None:
            """A type. What may be one, and then is a call or a list, is not read as one again, at each level twice."""
            if self._curr.token_type not in self.NESTED_TYPE_TOKENS:
                return super()._parse_types(*args, **kwargs)
            types = self.__dict__.setdefault("_types", {})
            key = (self._index, args, tuple(kwargs.items()))
            if key not in types:
                types[key] = super()._parse_types(*args, **kwargs), self._index
                return types[key][0]
            this, index = types[key]
            self._retreat(index)
            return this.copy() if this else this

        def _parse_expression(self) -> exp.Expression | None:
            # Without DuckDB's "name: expression", which would take the colon of a parameter.
            return parser.Parser._parse_expression(self)

        def _bytes(self, token: Token) -> exp.Expression:
            if not _HEX_DIGITS.issuperset(token.text):
                length = token.end - token.start + 1
                raise syntax_error(self.sql, token.start, "bytes are written in hexadecimal digits, x'0AFF'", length)
            return exp.HexString(this=token.text)

        def _positional(self) -> exp.Placeholder:
            """A ``?`` or ``?1``, with its offset: only the text has the order of several (see ``Marks.of``)."""
            mark = exp.Placeholder()
            mark.meta["offset"] = self._prev.start
            number = self._curr
            if number and number.token_type is TokenType.NUMBER and number.start == self._prev.end + 1:
                if not is_count(number.text) or int(number.text) == 0:
                    self.raise_error(f"parameters are numbered from 1, not {number.text}")
                mark.meta["number"] = int(number.text)
                self._advance()
            return mark

        def _group_concat(self) -> exp.Expression:
            """``GROUP_CONCAT([DISTINCT] x [ORDER BY y] [SEPARATOR ','])``: a STRING_AGG."""
            this = self._distinct() if self._match(TokenType.DISTINCT) else self._parse_disjunction()
            order = self._parse_order(this=this)
            if self._match_text_seq("SEPARATOR") or self._match(TokenType.COMMA):
                separator = self._parse_bitwise()
            else:
                separator = exp.Literal.string(",")
            return exp.GroupConcat(this=order or this, separator=separator)

        def _distinct(self) -> exp.Expression:
            return exp.Distinct(expressions=[self._parse_disjunction()])

        def _upsert(self) -> exp.Expression:
            """``MERGE INTO t [(cols)] [KEY (cols)] VALUES ... | SELECT ...``: an INSERT that may replace.

            Also ``MERGE INTO t USING s ON ... WHEN ...``, as ANSI has it.
            """
            for token in self._tokens[self._index :]:
                if token.token_type is TokenType.USING:
                    return self._parse_merge()
                if token.token_type in (TokenType.L_PAREN, TokenType.VALUES, TokenType.SELECT):
                    break
            self._match(TokenType.INTO)
            this = self._parse_table(schema=True)
            keys = self._parse_wrapped_csv(self._parse_id_var) if self._match_text_seq("KEY") else None
            rows = self._parse_derived_table_values() or self._parse_ddl_select()
            if rows is None:
                self.raise_error("expected VALUES, SELECT or USING")
            insert = exp.Insert(this=this, expression=rows)
            insert.meta["merge"] = True
            insert.meta["key"] = keys
            return insert

    class Generator(DuckDB.Generator):
        TRANSFORMS = {**DuckDB.Generator.TRANSFORMS, **_RUNS}


class _Target(DuckDB):
    """The dialect that DuckDB is sent: DuckDB's own, with literals and moments rewritten to mean what Ignite's do."""

    class Generator(DuckDB.Generator):
        TRANSFORMS = {
            **DuckDB.Generator.TRANSFORMS,
            exp.HexString: lambda self, e: f"UNHEX('{even_hex(e.name)}')",
            # Ignite's moment has no time zone, and neither has a TIMESTAMP column.
            exp.CurrentTimestamp: lambda self, e: "CAST(NOW() AS TIMESTAMP)",
            exp.Localtimestamp: lambda self, e: "CAST(NOW() AS TIMESTAMP)",
            exp.CurrentDate: lambda self, e: "CAST(NOW() AS DATE)",
            exp.CurrentTime: lambda self, e: "CAST(CAST(NOW() AS TIMESTAMP) AS TIME)",
            exp.Localtime: lambda self, e: "CAST(CAST(NOW() AS TIMESTAMP) AS TIME)",
            exp.Cast: lambda self, e: _cut_text(self, e),
            **_RUNS,
            MarkList: lambda self, e: f'FROM "{e.args["name"]}"' if "name" in e.args else mark_texts(e),
            LiteralList: lambda self, e: f'FROM "{e.args["name"]}"' if "name" in e.args else e.this,
        }


def _cut_text(generator: DuckDB.Generator, cast: exp.Cast) -> str:
    """CAST(x AS VARCHAR(3)) as a LEFT of three characters, since DuckDB's CAST does not cut."""
    kind = cast.to
    size = kind.expressions[0].name if kind.expressions and kind.this in exp.DataType.TEXT_TYPES else ""
    if is_count(size):
        kind.set("expressions", None)
        return f"LEFT({DuckDB.Generator.cast_sql(generator, cast)}, {size})"
    return DuckDB.Generator.cast_sql(generator, cast)


def mark_texts(node: MarkList) -> str:
    """The marks of a long list, as DuckDB has them."""
    return ", ".join(f"${name}" for name in node.names)


def even_hex(digits: str) -> str:
    """The digits of a hexadecimal literal, with a 0 before an odd number of them: whole bytes."""
    return digits if len(digits) % 2 == 0 else "0" + digits


# Digits in all and after the point of a DECIMAL that says neither, as in schema.py.
_DEFAULT_DECIMAL = (38, 9)


def _default_decimal(dtype: exp.DataType) -> exp.DataType:
    if not dtype.expressions:
        digits = [exp.DataTypeParam(this=exp.Literal.number(n)) for n in _DEFAULT_DECIMAL]
        dtype.set("expressions", digits)
    return dtype


IGNITE = Ignite()
_TARGET = _Target()
_DEEP_PARSER = deep_parser(Ignite.Parser)
_DEEP_GENERATORS = {dialect: deep_generator(dialect.generator_class) for dialect in (IGNITE, _TARGET)}


def tokenize(text: str, safe_text: str | None = None) -> list[Token]:
    """The tokens of a text; ``start`` and ``end`` (inclusive) of each are offsets in it.

    Args:
        text: one statement, or several.
        safe_text: the text without passwords, for the message; None for the text itself.

    Raises:
        SqlError: a quote is never closed.
    """
    with suppress(TokenError):  # it shows the text, so it must not be the cause of our error
        return IGNITE.tokenize(text)
    raise syntax_error(safe_text or text, open_quote(text), "a quote or comment starts here and is never closed")


def parse(tokens: list[Token], text: str) -> exp.Expression:
    """Parse one statement's tokens; names that are not quoted come back in upper case.

    Args:
        tokens: of one statement, without its semicolon.
        text: the whole text that holds the statement.

    Raises:
        SqlError: with line, column and a caret.
        GridEnvironmentError: sqlglot is compiled.
    """
    if _IS_COMPILED:
        raise GridEnvironmentError(
            "the package sqlglotc is installed, and its compiled parser cannot be taught a dialect: remove it, with "
            "'pip uninstall sqlglotc'; sqlglot works without it"
        )
    tokens, runs = shortened(tokens, text)
    reader = _DEEP_PARSER(dialect=IGNITE) if is_deep(tokens) else IGNITE.parser()
    reader.runs = runs
    try:
        trees = reader.parse(tokens, text)
    except ParseError as error:
        misspelling = None
        if len(tokens) <= _MOST_SPELT:
            misspelling = meant_keyword(tokens, text, _offset(error, text), _error_at)
        if misspelling is not None:
            token, keyword = misspelling
            message = f"cannot read {token.text} here; did you mean {keyword}?"
            raise syntax_error(text, token.start, message, len(token.text)) from None
        raise _parse_error(error, text, at_end=not reader._curr) from None
    except GridflowError:
        raise
    except Exception:  # what sqlglot has not thought of
        token = reader._curr or tokens[-1]
        raise syntax_error(text, token.start, f"cannot read {token.text} here", len(token.text)) from None
    tree = trees[0] if trees else None
    if tree is None or isinstance(tree, exp.Command):
        token = tokens[0]
        raise syntax_error(text, token.start, f"cannot read {token.text}", len(token.text))
    if len(tokens) > FEW_TOKENS:
        check_depth(tree, text, tokens[0].start)
    fold(tree)
    return tree


def fold(tree: exp.Expression) -> None:
    """Write names that are not quoted in upper case, in place. A struct's literal keys are no names."""
    for name in tree.find_all(exp.Identifier):
        if not name.args.get("quoted") and "line" in name.meta:
            name.set("this", name.name.upper())


_MESSAGES = (
    (re.compile(r"Invalid expression / Unexpected token"), "cannot read {token} here"),
    (re.compile(r"Required keyword: '(\w+)' missing for .*"), "something is missing {side} {near}"),
    (re.compile(r"Expect(?:ing|ed) (.+?)(?: but got .*)?"), "expected {1}, found {token}"),
)


def _offset(error: ParseError, text: str) -> int:
    """The offset of the token at which sqlglot gave up."""
    details: dict[str, Any] = error.errors[0] if error.errors else {}
    line, column = int(details.get("line") or 1), int(details.get("col") or 1)
    before = sum(len(one) + 1 for one in text.split("\n")[: line - 1])
    return before + max(0, column - len(details.get("highlight") or ""))  # sqlglot counts to the end of the token


def _error_at(text: str) -> int | None:
    """The offset at which sqlglot gives up on a text; None if it parses all of it."""
    try:
        tokens = IGNITE.tokenize(text)
        (_DEEP_PARSER(dialect=IGNITE) if is_deep(tokens) else IGNITE.parser()).parse(tokens, text)
    except ParseError as error:
        return _offset(error, text)
    except Exception:  # of the parser, which has not read it, then
        return 0
    return None


def _parse_error(error: ParseError, text: str, at_end: bool) -> SqlError:
    """sqlglot's error in our words and with the place; ``at_end`` says that the text ended too soon."""
    details: dict[str, Any] = error.errors[0] if error.errors else {}
    near = details.get("highlight") or ""
    message = str(details.get("description") or error)
    offset = _offset(error, text)
    for pattern, words in _MESSAGES:
        match = pattern.fullmatch(message)
        if match:
            token, side = ("the end", "after") if at_end else (near, "before")
            if at_end and message.startswith("Expect"):
                offset, near = offset + len(near), ""
            message = words.format(match.group(), *match.groups(), token=token, side=side, near=near)
            break
    return syntax_error(text, offset, message, len(near) or 1)


def to_duckdb(tree: exp.Expression) -> str:
    """The statement in DuckDB's dialect, every name quoted.

    Raises:
        SqlError: DuckDB has no counterpart of a part of it.
    """
    if tree.find(*DIVISIONS):
        tree = tree.copy()
        guard_divisors(tree, to_ignite)
    try:
        return _write(tree, _TARGET, identify=True, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise SqlError(str(error).replace(" when targeting _Target", "")) from None


def _write(tree: exp.Expression, dialect: DuckDB, **options: Any) -> str:
    generator = _DEEP_GENERATORS[dialect] if is_deep_tree(tree) else dialect.generator_class
    return generator(dialect=dialect, comments=False, **options).generate(tree)


def to_ignite(tree: exp.Expression) -> str:
    """An expression as a person would write it: it names a result column that has no name."""
    plain = tree.copy()
    for name in plain.find_all(exp.Identifier):
        name.set("quoted", quote_name(name.name) != name.name or name.name != name.name.upper())
    for mark in plain.find_all(exp.Placeholder):
        if "offset" in mark.meta:
            mark.set("this", None)
    return _write(plain, IGNITE, identify=False)
