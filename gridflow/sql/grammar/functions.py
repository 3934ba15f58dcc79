"""Functions of Ignite and H2 that DuckDB calls otherwise: name -> what the call becomes."""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlglot import exp, parse_one

from ...errors import SqlError, did_you_mean
from .date_patterns import java_format, oracle_format

_UNITS = {
    **{f"SQL_TSI_{u}": u for u in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND")},
    **{"YYYY": "YEAR", "YY": "YEAR", "MM": "MONTH", "M": "MONTH", "DD": "DAY", "D": "DAY", "HH": "HOUR"},
    **{"MI": "MINUTE", "N": "MINUTE", "SS": "SECOND", "S": "SECOND", "MS": "MILLISECOND"},
    **{"DAY_OF_YEAR": "DAY", "DAYOFYEAR": "DAY", "DY": "DAY", "DAY_OF_MONTH": "DAY", "WW": "WEEK", "WK": "WEEK"},
    **{"Q": "QUARTER", "QQ": "QUARTER", "MCS": "MICROSECOND", "US": "MICROSECOND", "NS": "NANOSECOND"},
}
_KNOWN_UNITS = "YEAR QUARTER MONTH WEEK DAY HOUR MINUTE SECOND MILLISECOND MICROSECOND NANOSECOND".split()


def _unit(arg: exp.Expression) -> exp.Var:
    """The unit of a date function: written as a name or as a string."""
    word = arg.name.upper()
    unit = _UNITS.get(word, word)
    if unit not in _KNOWN_UNITS:
        raise SqlError(f"no unit of time {arg.name}; {did_you_mean(word, _KNOWN_UNITS)}")
    return exp.var(unit)


def _call(name: str, *args: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this=name, expressions=list(args))


def _template(sql: str) -> Callable[[list], exp.Expression]:
    """A call as a DuckDB expression in which ``_1``, ``_2`` stand for the arguments."""
    tree = parse_one(sql, dialect="duckdb")

    def build(args: list) -> exp.Expression:
        arguments = {f"_{i + 1}": arg for i, arg in enumerate(args)}
        used: set[str] = set()

        def fill(node: exp.Expression) -> exp.Expression:
            if isinstance(node, exp.Column) and node.name in arguments:
                argument = arguments[node.name]
                argument = argument.copy() if node.name in used else argument
                used.add(node.name)
                return exp.paren(argument, copy=False)
            return node

        return exp.paren(tree.copy().transform(fill), copy=False)

    return build


def _date_add(args: list) -> exp.Expression:
    if len(args) != 3:
        return _call("DATEADD", *args)
    unit, amount, moment = args
    step = exp.Interval(this=exp.paren(amount, copy=False), unit=_unit(unit))
    return exp.paren(exp.Add(this=moment, expression=step), copy=False)


def _date_diff(args: list) -> exp.Expression:
    if len(args) != 3:
        return _call("DATEDIFF", *args)
    return _call("DATE_DIFF", exp.Literal.string(_unit(args[0]).name.lower()), args[1], args[2])


#: Characters of the longest text that one call makes of a short one: nothing can end a call that is at it.
_LONGEST_TEXT = 1 << 24


def _at_most(length: str, count: exp.Expression, *others: exp.Expression, function: str) -> exp.Expression:
    """A count, unless the length that follows from it is too great; ``_1`` stands for it, ``_2`` for others."""
    if isinstance(count, exp.Literal) and count.is_int and length == "_1" and int(count.name) <= _LONGEST_TEXT:
        return count
    message = f"{function} makes texts of at most {_LONGEST_TEXT:,} characters"
    check = f"CASE WHEN {length} > {_LONGEST_TEXT} THEN ERROR('{message}') ELSE _1 END"
    return _template(check)([count, *others])


def _pad(name: str) -> Callable[[list], exp.Expression]:
    def build(args: list) -> exp.Expression:
        if len(args) not in (2, 3):
            return _call(name, *args)
        filling = args[2] if len(args) == 3 else exp.Literal.string(" ")
        return _call(name, args[0], _at_most("_1", args[1], function=name), filling)

    return build


def _repeat(args: list) -> exp.Expression:
    if len(args) != 2:
        return _call("REPEAT", *args)
    text, count = args
    return _call("REPEAT", text, _at_most("LENGTH(_2) * CAST(_1 AS BIGINT)", count, text, function="REPEAT"))


def _space(args: list) -> exp.Expression:
    if len(args) != 1:
        return _call("SPACE", *args)
    return _call("REPEAT", exp.Literal.string(" "), _at_most("_1", args[0], function="SPACE"))


def _alias(name: str) -> Callable[[list], exp.Expression]:
    """The same call under DuckDB's name."""
    return lambda args: _call(name, *args)


def _locate(args: list) -> exp.Expression:
    """LOCATE(search, string [, start]): the place from 1, or 0 where the string does not hold the search."""
    if len(args) == 3:
        is_short = all(isinstance(arg.unnest(), (exp.Column, exp.Literal, exp.Placeholder)) for arg in args)
        return (_LOCATE_FROM if is_short else _LOCATE_ONCE)(args)
    return _call("STRPOS", *reversed(args))


_LOCATE_FROM = _template(
    "CASE WHEN STRPOS(SUBSTRING(_2, _3), _1) = 0 THEN 0 ELSE STRPOS(SUBSTRING(_2, _3), _1) + _3 - 1 END"
)
# The same with each argument once: calls within each other would double the text at each level.
_LOCATE_ONCE = _template(
    """LIST_EXTRACT(LIST_TRANSFORM([{'a': _1, 'b': _2, 'c': _3}], lambda x:
    CASE WHEN STRPOS(SUBSTRING(x.b, x.c), x.a) = 0 THEN 0 ELSE STRPOS(SUBSTRING(x.b, x.c), x.a) + x.c - 1 END), 1)"""
)


def _text(args: list, i: int, function: str) -> str:
    """The text of the i-th argument, which the function takes only as a literal."""
    node = args[i].unnest() if len(args) > i else None
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise SqlError(f"{function}: argument {i + 1} is a text in quotes")
    return node.name


def _format_datetime(args: list) -> exp.Expression:
    pattern = java_format(_text(args, 1, "FORMATDATETIME"))
    return _call("STRFTIME", args[0], exp.Literal.string(pattern))


def _parse_datetime(args: list) -> exp.Expression:
    pattern = java_format(_text(args, 1, "PARSEDATETIME"))
    return _call("STRPTIME", args[0], exp.Literal.string(pattern))


def _to_char(args: list) -> exp.Expression:
    if len(args) == 1:
        return exp.cast(args[0], exp.DType.TEXT)
    return _call("STRFTIME", args[0], exp.Literal.string(oracle_format(_text(args, 1, "TO_CHAR"))))


def _cast_of_text(name: str, kind: str) -> Callable[[list], exp.Expression]:
    """TO_DATE and TO_TIMESTAMP: of a text and a pattern, or of a text alone."""

    def build(args: list) -> exp.Expression:
        if len(args) == 2:
            args = [_call("STRPTIME", args[0], exp.Literal.string(oracle_format(_text(args, 1, name))))]
        return exp.cast(args[0], kind) if len(args) == 1 else _call(name, *args)

    return build


def _regexp_replace(args: list) -> exp.Expression:
    """REGEXP_REPLACE replaces all matches, as in Java; Java's ``$1`` is DuckDB's ``\\1``."""
    if len(args) not in (3, 4):
        return _call("REGEXP_REPLACE", *args)
    text, pattern, new = args[:3]
    if isinstance(new, exp.Literal) and new.is_string:
        new = exp.Literal.string(re.sub(r"\$(\d)", r"\\\1", new.name))
    flags = _text(args, 3, "REGEXP_REPLACE") if len(args) == 4 else ""
    return _call("REGEXP_REPLACE", text, pattern, new, exp.Literal.string(flags.replace("g", "") + "g"))


_HASHES = {"SHA256": "SHA256", "SHA-256": "SHA256", "SHA1": "SHA1", "SHA-1": "SHA1", "MD5": "MD5"}


def _hash(args: list) -> exp.Expression:
    """``HASH('SHA256', data [, 1])`` gives bytes; ``HASH(data)`` is DuckDB's, a number."""
    if len(args) == 1:
        return _call("HASH", *args)
    name = _text(args, 0, "HASH")
    if name.upper() not in _HASHES:
        raise SqlError(f"HASH: no algorithm {name}; there are {', '.join(dict.fromkeys(_HASHES.values()))}")
    if len(args) == 3 and args[2].name != "1":
        raise SqlError("HASH: it is applied once; leave the third argument out")
    return _call("UNHEX", _call(_HASHES[name.upper()], args[1]))


def _log(args: list) -> exp.Expression:
    return _call("LN" if len(args) == 1 else "LOG", *args)


def _with_default(name: str, count: int, default: exp.Expression) -> Callable[[list], exp.Expression]:
    """A call whose last argument may be left out."""
    return lambda args: _call(name, *args, *([default.copy()] if len(args) == count else []))


def _instr(args: list) -> exp.Expression:
    return _locate([args[1], args[0], *args[2:]]) if len(args) in (2, 3) else _call("INSTR", *args)


def _system_range(args: list) -> exp.Expression:
    """H2's SYSTEM_RANGE, a table of one column X; the range includes both ends."""
    series = exp.GenerateSeries(start=args[0] if args else None, end=args[1] if len(args) > 1 else None)
    if len(args) > 2:
        series.set("step", args[2])
    series.meta["column"] = "X"
    return series


FUNCTIONS: dict[str, Callable[[list], exp.Expression]] = {
    "BITAND": _template("_1 & _2"),
    "BITOR": _template("_1 | _2"),
    "BITXOR": _alias("XOR"),
    "BITGET": _template("(_1 >> _2) & 1 = 1"),
    "BITNOT": _template("~_1"),
    "LSHIFT": _template("_1 << _2"),
    "RSHIFT": _template("_1 >> _2"),
    "ARRAY_GET": _alias("LIST_EXTRACT"),
    "CASEWHEN": _template("CASE WHEN _1 THEN _2 ELSE _3 END"),
    "CHAR_LENGTH": _alias("LENGTH"),
    "CHARACTER_LENGTH": _alias("LENGTH"),
    "CURDATE": _template("CAST(NOW() AS DATE)"),
    "CURRENT_TIMESTAMP": _template("CAST(NOW() AS TIMESTAMP)"),
    "CURRENT_TIME": _template("CAST(CAST(NOW() AS TIMESTAMP) AS TIME)"),
    "CURTIME": _template("CAST(CAST(NOW() AS TIMESTAMP) AS TIME)"),
    "DATEADD": _date_add,
    "DATEDIFF": _date_diff,
    "DATE_DIFF": _date_diff,
    "TIMESTAMPADD": _date_add,
    "TIMESTAMPDIFF": _date_diff,
    "DAY_OF_MONTH": _alias("DAYOFMONTH"),
    "DAY_OF_WEEK": _template("DAYOFWEEK(_1) + 1"),
    "DAYOFWEEK": _template("DAYOFWEEK(_1) + 1"),
    "DAY_OF_YEAR": _alias("DAYOFYEAR"),
    "DIVIDE": _template("_1 // _2"),
    "EVERY": _alias("BOOL_AND"),
    "FORMATDATETIME": _format_datetime,
    "HASH": _hash,
    "HEXTORAW": _alias("UNHEX"),
    "INSTR": _instr,
    "ISNULL": _alias("IFNULL"),
    "ISO_DAY_OF_WEEK": _alias("ISODOW"),
    "ISO_WEEK": _alias("WEEK"),
    "ISO_YEAR": _alias("ISOYEAR"),
    "JSON_QUERY": _alias("JSON_EXTRACT"),
    "LOCATE": _locate,
    "LOG": _log,
    "LPAD": _pad("LPAD"),
    "RPAD": _pad("RPAD"),
    "NOW": _template("CAST(NOW() AS TIMESTAMP)"),
    "OCTET_LENGTH": _template("LENGTH(HEX(_1)) // 2"),
    "ORA_HASH": _template("HASH(_1) % 4294967296"),
    "PARSEDATETIME": _parse_datetime,
    "RAND": _template("RANDOM()"),
    "RANDOM_UUID": _template("UUID()"),
    "RAWTOHEX": _alias("HEX"),
    "REPEAT": _repeat,
    "REGEXP_LIKE": _alias("REGEXP_MATCHES"),
    "REGEXP_REPLACE": _regexp_replace,
    "REPLACE": _with_default("REPLACE", 2, exp.Literal.string("")),
    "ROWNUM": _template("ROW_NUMBER() OVER ()"),
    "SPACE": _space,
    "SYSDATE": _template("CAST(NOW() AS TIMESTAMP)"),
    "STRINGTOUTF8": _alias("ENCODE"),
    "SYSTEM_RANGE": _system_range,
    "SYSTIMESTAMP": _template("CAST(NOW() AS TIMESTAMP)"),
    "TODAY": _template("CAST(NOW() AS DATE)"),
    "TO_CHAR": _to_char,
    "TO_DATE": _cast_of_text("TO_DATE", "DATE"),
    "TO_NUMBER": _template("CAST(_1 AS DOUBLE)"),
    "TO_TIMESTAMP": _cast_of_text("TO_TIMESTAMP", "TIMESTAMP"),
    "TRUNCATE": _alias("TRUNC"),
    "UTF8TOSTRING": _alias("DECODE"),
    "ZERO": _template("0"),
}
_BARE = ("SYSDATE", "SYSTIMESTAMP", "TODAY")


def call_bare(tree: exp.Expression, names: set[str]) -> None:
    """Turn names of functions without parentheses into calls and name the column of a SYSTEM_RANGE, in place.

    Args:
        tree: the statement.
        names: of the tables' columns; a column goes before a function of the same name.
    """
    for node in list(tree.find_all(exp.Column, exp.GenerateSeries)):
        if isinstance(node, exp.GenerateSeries):
            table, column = node.parent, node.meta.get("column")
            if column and isinstance(table, exp.Table) and not table.alias_column_names:
                alias = exp.to_identifier(table.alias or "SYSTEM_RANGE", quoted=True)
                columns = [exp.to_identifier(column, quoted=True)]
                table.set("alias", exp.TableAlias(this=alias, columns=columns))
            continue
        is_free = node.name in _BARE and not node.table and not node.this.args.get("quoted") and node.name not in names
        if is_free and not any(alias.alias == node.name for alias in tree.find_all(exp.Alias)):
            call = FUNCTIONS[node.name]([])
            is_column = isinstance(node.parent, exp.Select) and node.arg_key == "expressions"
            node.replace(exp.alias_(call, node.name, quoted=True) if is_column else call)
