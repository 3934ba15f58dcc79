"""Hypothesis strategies for conditions of SQL on columns of all types, with constants of all types."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import strategies as st
from strategies import values

from gridflow.schema import FLOATS, Type

OPERATORS = ["=", "<", "<=", ">", ">=", "between", "in", "is null", "reversed", "like"]


def constants(t: Type, pool: list[Any]) -> st.SearchStrategy[Any]:
    """Values of the column, those that are in it above all, and others that SQL compares it with."""
    choices = [values(t)] + [st.sampled_from(pool)] * 4
    if t.kind in FLOATS or t.kind.startswith(("INT", "UINT")) or t.kind == "DECIMAL":
        choices += [
            st.integers(-300, 300),
            st.integers(-(2**63), 2**64 - 1),
            st.floats(width=32),
            st.decimals(-1000, 1000, places=2),
        ]
    elif t.kind == "TIMESTAMP":
        moments = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
        choices += [moments, st.dates(), moments.map(str), st.dates().map(str)]
    elif t.kind == "DATE":
        choices += [st.datetimes(), st.dates().map(str)]
    elif t.kind == "TIME":
        choices.append(st.times().map(lambda time: time.isoformat()))
    elif t.kind == "UUID":
        choices.append(values(t.not_null()).map(str))
    return st.one_of(*choices)


@st.composite
def conditions(draw: st.DrawFn, columns: dict[str, Type], pools: dict[str, list]) -> tuple[str, list[Any]]:
    """A condition on one to three columns, and its parameters."""
    parts, params = [], []
    for name in draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=3)):
        choices = constants(columns[name], pools[name])
        operator = draw(st.sampled_from(OPERATORS))
        if operator == "is null":
            parts.append(f"{name} IS NULL")
            continue
        count = {"between": 2, "in": draw(st.integers(1, 4))}.get(operator, 1)
        if operator == "like":
            if columns[name].kind == "STRING":
                parts.append(f"{name} LIKE ?")
                params.append(draw(st.sampled_from(["{}%", "{}", "_{}", "%{}"])).format(draw(choices)))
            continue
        params += [draw(choices) for _ in range(count)]
        if operator == "between":
            parts.append(f"{name} BETWEEN ? AND ?")
        elif operator == "in":
            parts.append(f"T.{name} IN ({', '.join('?' * count)})")
        else:
            parts.append(f"? > {name}" if operator == "reversed" else f"{name} {operator} ?")
    return " AND ".join(parts or ["ID >= 0"]), params
