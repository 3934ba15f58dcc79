"""Functions of Ignite and H2 that DuckDB calls otherwise: name -> what the call becomes."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp, parse_one

_UNITS = {
    **{f"SQL_TSI_{u}": u for u in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND")},
    **{"YYYY": "YEAR", "YY": "YEAR", "MM": "MONTH", "M": "MONTH", "DD": "DAY", "D": "DAY", "HH": "HOUR"},
    **{"MI": "MINUTE", "N": "MINUTE", "SS": "SECOND", "S": "SECOND", "MS": "MILLISECOND"},
}


def _unit(arg: exp.Expression) -> exp.Var:
    """The unit of a date function: written as a name or as a string."""
    word = arg.name.upper()
    return exp.var(_UNITS.get(word, word))


def _call(name: str, *args: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this=name, expressions=list(args))


def _template(sql: str) -> Callable[[list], exp.Expression]:
    """A call as a DuckDB expression in which ``_1``, ``_2`` stand for the arguments."""
    tree = parse_one(sql, dialect="duckdb")

    def build(args: list) -> exp.Expression:
        given = {f"_{i + 1}": arg for i, arg in enumerate(args)}

        def put(node: exp.Expression) -> exp.Expression:
            if isinstance(node, exp.Column) and node.name in given:
                return exp.paren(given[node.name].copy(), copy=False)
            return node

        return exp.paren(tree.copy().transform(put), copy=False)

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


def _pad(name: str) -> Callable[[list], exp.Expression]:
    return lambda args: _call(name, *args, *([exp.Literal.string(" ")] if len(args) == 2 else []))


def _renamed(name: str) -> Callable[[list], exp.Expression]:
    return lambda args: _call(name, *args)


def _locate(args: list) -> exp.Expression:
    """LOCATE(search, string [, start]): 1-based, 0 where it is not."""
    if len(args) == 3:
        return _template(
            "CASE WHEN STRPOS(SUBSTRING(_2, _3), _1) = 0 THEN 0 ELSE STRPOS(SUBSTRING(_2, _3), _1) + _3 - 1 END"
        )(args)
    return _call("STRPOS", *reversed(args))


FUNCTIONS: dict[str, Callable[[list], exp.Expression]] = {
    "BITAND": _template("_1 & _2"),
    "BITOR": _template("_1 | _2"),
    "BITXOR": _renamed("XOR"),
    "CASEWHEN": _template("CASE WHEN _1 THEN _2 ELSE _3 END"),
    "CHAR_LENGTH": _renamed("LENGTH"),
    "CHARACTER_LENGTH": _renamed("LENGTH"),
    "CURDATE": _template("CAST(NOW() AS DATE)"),
    "CURRENT_TIMESTAMP": _template("CAST(NOW() AS TIMESTAMP)"),
    "CURTIME": _template("CAST(CAST(NOW() AS TIMESTAMP) AS TIME)"),
    "DATEADD": _date_add,
    "DATEDIFF": _date_diff,
    "DATE_DIFF": _date_diff,
    "TIMESTAMPADD": _date_add,
    "TIMESTAMPDIFF": _date_diff,
    "DAY_OF_MONTH": _renamed("DAYOFMONTH"),
    "DAY_OF_WEEK": _template("DAYOFWEEK(_1) + 1"),
    "DAYOFWEEK": _template("DAYOFWEEK(_1) + 1"),
    "DAY_OF_YEAR": _renamed("DAYOFYEAR"),
    "DIVIDE": _template("_1 // _2"),
    "INSTR": _renamed("STRPOS"),
    "LOCATE": _locate,
    "LPAD": _pad("LPAD"),
    "RPAD": _pad("RPAD"),
    "NOW": _template("CAST(NOW() AS TIMESTAMP)"),
    "RAND": _template("RANDOM()"),
    "RANDOM_UUID": _template("UUID()"),
    "RAWTOHEX": _renamed("HEX"),
    "REGEXP_LIKE": _renamed("REGEXP_MATCHES"),
    "SPACE": _template("REPEAT(' ', _1)"),
    "SYSDATE": _template("CAST(NOW() AS TIMESTAMP)"),
    "TRUNCATE": _renamed("TRUNC"),
}
