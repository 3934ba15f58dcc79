"""What a dataset shows of values, made from the values alone, to compare it with what the ops read from files."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from gridflow.schema import Schema, Type

Leaf = tuple[str, ...]  # names from the column down
_WIDE = decimal.Context(prec=60)


def shown(t: Type, value: Any) -> Any:
    """A scalar or a tensor, not null, as ``numpy().tolist()`` gives it."""
    if t.kind == "TENSOR":
        return value.tolist()
    if t.kind in ("INT64", "UINT64") or t.kind.startswith(("INT", "UINT")) or t.kind == "BOOL":
        return value
    if t.kind.startswith("FLOAT"):
        return np.dtype(t.dtype).type(value).item()
    if t.kind == "STRING":
        return value.encode()
    if t.kind == "BINARY":
        return value
    if t.kind == "UUID":
        return value.bytes
    if t.kind == "DECIMAL":
        return format(value.quantize(decimal.Decimal(1).scaleb(-t.scale), context=_WIDE), "f").encode()
    if t.kind == "DATE":
        return (value - datetime.date(1970, 1, 1)).days
    if t.kind == "TIME":
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond
    assert t.kind == "TIMESTAMP"
    if isinstance(value, datetime.datetime):
        value = np.datetime64(value.replace(tzinfo=None), "us")
    return int(value.astype(f"datetime64[{t.unit}]").astype(np.int64))


def zero(t: Type) -> Any:
    """What nulls="mask" has in the place of a null."""
    if t.kind == "TENSOR":
        return np.zeros(t.shape, t.dtype).tolist()
    if t.kind == "DECIMAL":
        return format(decimal.Decimal(0).scaleb(-t.scale, _WIDE), "f").encode()
    if t.kind in ("STRING", "BINARY", "UUID"):
        return bytes(16) if t.kind == "UUID" else b""
    return {"BOOL": False}.get(t.kind, 0.0 if t.kind.startswith("FLOAT") else 0)


def leaves(name: str, t: Type) -> Iterator[tuple[Leaf, Type]]:
    """The parts of a column that become components, and their types."""
    if t.kind == "LIST":
        yield from leaves(name, t.children[0][1])
    elif t.children:
        for part, child in t.children:
            yield from (((name, *path), kind) for path, kind in leaves(part, child))
    else:
        yield (name,), t


def of_leaf(t: Type, value: Any, parts: Leaf, fill: Any, valid: bool = False) -> Any:
    """What a column's value shows at a leaf (``parts`` below the column); nested lists of whether it is there if so."""
    if t.kind == "LIST":
        return [of_leaf(t.children[0][1], item, parts, fill, valid) for item in value or []]
    if t.kind == "MAP":
        which = ("key", "value").index(parts[0])
        return [of_leaf(t.children[which][1], pair[which], parts[1:], fill, valid) for pair in (value or {}).items()]
    if t.kind == "STRUCT":
        inner = None if value is None else value[parts[0]]
        return of_leaf(dict(t.children)[parts[0]], inner, parts[1:], fill, valid)
    if value is None:
        return fill
    return True if valid else shown(t, value)


def has_value(t: Type, value: Any, parts: Leaf) -> bool:
    """Whether a row has a value at a leaf, or a list."""
    if value is None or t.kind != "STRUCT":
        return value is not None
    return has_value(dict(t.children)[parts[0]], value[parts[0]], parts[1:])


def may_be_null(t: Type, parts: Leaf, items: bool) -> bool:
    """Whether ``has_value`` may be false, or an item of the innermost list may be null."""
    if t.kind in ("LIST", "MAP"):
        which = 0 if t.kind == "LIST" else ("key", "value").index(parts[0])
        inner = t.children[which][1]
        rest = parts if t.kind == "LIST" else parts[1:]
        if not items:
            return t.nullable
        return may_be_null(inner, rest, True) if _has_list(inner, rest) else may_be_null(inner, rest, False)
    if t.kind == "STRUCT":
        inner = dict(t.children)[parts[0]]
        if items:
            return _has_list(inner, parts[1:]) and may_be_null(inner, parts[1:], True)
        return t.nullable or may_be_null(inner, parts[1:], False)
    return t.nullable and not items


def _has_list(t: Type, parts: Leaf) -> bool:
    if t.kind in ("LIST", "MAP"):
        return True
    return t.kind == "STRUCT" and _has_list(dict(t.children)[parts[0]], parts[1:])


def flat(schema: Schema, value: dict[str, Any], columns: list[str], fills: dict[Leaf, Any] | None) -> dict[Leaf, Any]:
    """Columns of a row as their leaves show it; nulls as ``fills`` says, with masks if that is None."""
    result = {}
    for name in columns:
        t, cell = schema[name].type, value[name]
        for path, kind in leaves(name, t):
            rest = path[1:]
            result[path] = of_leaf(t, cell, rest, zero(kind) if fills is None else fills.get(path))
            if fills is None and may_be_null(t, rest, items=False):
                result[(*path[:-1], f"{path[-1]}_valid")] = has_value(t, cell, rest)
            if fills is None and may_be_null(t, rest, items=True):
                result[(*path[:-1], f"{path[-1]}_items_valid")] = of_leaf(t, cell, rest, False, valid=True)
    return result


def rows_of(dataset: tf.data.Dataset, batched: bool) -> list[tuple[Any, dict[Leaf, Any]]]:
    """All rows: the key, and the leaves of the value."""
    rows = []
    for element in dataset:
        keys = {path: plain(tensor) for path, tensor in _paths((), element["key"])}
        parts = {path: plain(tensor) for path, tensor in _paths((), element["val"])}
        if not batched:
            keys, parts = ({path: [part] for path, part in of.items()} for of in (keys, parts))
        for i in range(len(next(iter(keys.values())))):
            key = tuple(keys[path][i] for path in sorted(keys))
            rows.append((key if len(key) > 1 else key[0], {path: part[i] for path, part in parts.items()}))
    return rows


def plain(tensor: Any) -> Any:
    if isinstance(tensor, tf.RaggedTensor):
        return tensor.to_list()
    value = tensor.numpy()
    return value if isinstance(value, bytes) else value.tolist()


def _paths(path: Leaf, part: Any) -> Iterator[tuple[Leaf, Any]]:
    if not isinstance(part, dict):
        yield path, part
        return
    for name, inner in part.items():
        yield from _paths((*path, name), inner)
