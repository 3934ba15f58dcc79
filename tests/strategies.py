"""Hypothesis strategies for column types, schemas, keys and values, and when two values are the same."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gridflow.schema import FLOATS, INTEGERS, SCALARS, TENSOR_ELEMENTS, Column, Schema, Type

NAMES = st.one_of(
    st.from_regex(r"[A-Z_][A-Z0-9_]{0,7}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=6),
)


@st.composite
def scalars(draw: st.DrawFn, kinds: tuple[str, ...] = SCALARS) -> Type:
    """A scalar type that is nullable or not."""
    kind = draw(st.sampled_from(kinds))
    nullable = draw(st.booleans())
    if kind == "DECIMAL":
        precision = draw(st.integers(1, 38))
        return Type(kind, nullable, precision=precision, scale=draw(st.integers(0, precision)))
    if kind == "TIMESTAMP":
        unit, utc = draw(st.sampled_from([("s", False), ("ms", False), ("us", False), ("ns", False), ("us", True)]))
        return Type(kind, nullable, unit=unit, utc=utc)
    return Type(kind, nullable)


@st.composite
def tensors(draw: st.DrawFn) -> Type:
    """A tensor of up to three small dimensions."""
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    return Type("TENSOR", draw(st.booleans()), element=draw(st.sampled_from(TENSOR_ELEMENTS)), shape=shape)


def _nested(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    lists = st.builds(lambda t, n: Type("LIST", n, children=(("item", t),)), inner, st.booleans())
    maps = st.builds(
        lambda k, v, n: Type("MAP", n, children=(("key", k.not_null()), ("value", v))), scalars(), inner, st.booleans()
    )
    fields = st.lists(st.tuples(NAMES, inner), min_size=1, max_size=3, unique_by=lambda field: field[0])
    structs = st.builds(lambda f, n: Type("STRUCT", n, children=tuple(f)), fields, st.booleans())
    return st.one_of(lists, maps, structs)


def types(leaves: int = 6) -> st.SearchStrategy[Type]:
    """Any type, nested or not."""
    return st.recursive(st.one_of(scalars(), tensors()), _nested, max_leaves=leaves)


@st.composite
def schemas(draw: st.DrawFn, columns: int = 4) -> Schema:
    """A schema of one or two key columns and some others, in any order."""
    keys = draw(st.lists(scalars(), min_size=1, max_size=2))
    values = draw(st.lists(types(), max_size=columns))
    names = draw(
        st.lists(NAMES, min_size=len(keys) + len(values), max_size=len(keys) + len(values), unique=True).filter(
            lambda names: "_VAL" not in names
        )
    )
    pairs = draw(st.permutations(list(zip(names, [k.not_null() for k in keys] + values, strict=True))))
    return Schema(tuple(Column(n, t, i + 1) for i, (n, t) in enumerate(pairs)), tuple(names[: len(keys)]))


def values(t: Type) -> st.SearchStrategy[Any]:
    """Values of a type, as ``get`` returns them; None among them where it may be null."""
    strategy = _present(t)
    return st.one_of(st.none(), strategy) if t.nullable else strategy


def _present(t: Type) -> st.SearchStrategy[Any]:
    kind = t.kind
    if kind in INTEGERS:
        bounds = np.iinfo(kind.lower())
        return st.integers(int(bounds.min), int(bounds.max))
    if kind in FLOATS:
        return st.floats(width=int(kind[5:]))
    if kind == "DECIMAL":
        most = 10**t.precision - 1
        context = decimal.Context(prec=60)
        return st.integers(-most, most).map(lambda i: decimal.Decimal(i).scaleb(-t.scale, context))
    if kind == "TIMESTAMP":
        return _timestamps(t)
    if kind == "TENSOR":
        return _arrays(t)
    if kind == "LIST":
        return st.lists(values(t.children[0][1]), max_size=4)
    if kind == "MAP":
        return st.dictionaries(_map_keys(t.children[0][1]), values(t.children[1][1]), max_size=3)
    if kind == "STRUCT":
        return st.fixed_dictionaries({name: values(child) for name, child in t.children})
    return _PLAIN[kind]


_PLAIN = {
    "BOOL": st.booleans(),
    "STRING": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "BINARY": st.binary(max_size=8),
    "DATE": st.dates(),
    "TIME": st.times().map(lambda t: t.replace(fold=0)),
    "UUID": st.uuids(),
}


def _timestamps(t: Type) -> st.SearchStrategy[Any]:
    if t.unit == "ns":
        return st.integers(-(2**63) + 1, 2**63 - 1).map(lambda i: np.datetime64(i, "ns"))
    if t.utc:
        return st.datetimes(timezones=st.just(datetime.timezone.utc)).map(lambda d: d.replace(fold=0))
    step = {"s": 1_000_000, "ms": 1_000, "us": 1}[t.unit]
    return st.datetimes().map(lambda d: d.replace(microsecond=d.microsecond // step * step, fold=0))


def _arrays(t: Type) -> st.SearchStrategy[np.ndarray]:
    item = _present(Type(t.element, False))
    return st.lists(item, min_size=t.size, max_size=t.size).map(lambda v: np.array(v, t.dtype).reshape(t.shape))


def _map_keys(t: Type) -> st.SearchStrategy[Any]:
    return _present(t).filter(lambda v: v == v)  # a dict would hold NaN several times


def key_parts(t: Type) -> st.SearchStrategy[Any]:
    """Values of a key column: not NaN, and 0.0 for -0.0."""
    if t.kind in FLOATS:
        return _present(t).filter(lambda v: v == v).map(lambda v: v + 0.0)
    return _present(t)


def keys(schema: Schema) -> st.SearchStrategy[Any]:
    """Keys of a table: a value, or a tuple."""
    parts = [key_parts(column.type) for column in schema.key_columns]
    return parts[0] if len(parts) == 1 else st.tuples(*parts)


def rows(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    """Values of a table: dicts of all columns that are not in the key."""
    return st.fixed_dictionaries({column.name: values(column.type) for column in schema.value_columns})


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same, down to the class, the sign of a zero, and NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b and str(a) == str(b) or a != a and b != b)


def as_row(schema: Schema, key: Any, value: dict[str, Any]) -> dict[str, Any]:
    """A row as a dict of all columns, as ``load`` takes it."""
    parts = key if len(schema.key) > 1 else (key,)
    return {**dict(zip(schema.key, parts, strict=True)), **value}


def arrow_form(t: Type, value: Any, nested: bool = False) -> Any:
    """What ``to_pylist`` makes of a value in ``to_arrow``; times of 1 ns stay numpy's, see ``plain``."""
    if value is None:
        return None
    if t.kind == "TENSOR":
        value = value.astype("uint8") if t.element == "BOOL" else value
        return value.reshape(-1).tolist()
    if t.kind == "UUID":
        return value.bytes if nested else value
    if t.kind == "LIST":
        return [arrow_form(t.children[0][1], v, True) for v in value]
    if t.kind == "MAP":
        (_, key), (_, item) = t.children
        return [(arrow_form(key, k, True), arrow_form(item, v, True)) for k, v in value.items()]
    if t.kind == "STRUCT":
        return {name: arrow_form(child, value[name], True) for name, child in t.children}
    return value
