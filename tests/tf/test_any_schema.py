"""Any schema and any rows: a dataset shows what was put, as rows and as batches, and nulls as it was told."""

from __future__ import annotations

import pytest
import tensorflow as tf
from elements import flat, leaves, rows_of, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import keys, rows, schemas, types, values

import gridflow
from gridflow.testing import temporary_home

ADDED = "ADDED_LATER"  # longer than any name that `schemas` draws


def key_shown(schema, key):
    parts = key if len(schema.key) > 1 else (key,)
    named = dict(zip(schema.key, parts, strict=True))
    found = {name: shown(schema[name].type, part) for name, part in named.items()}
    return tuple(found[name] for name in sorted(found)) if len(found) > 1 else next(iter(found.values()))


def fill_table(data, grid, schema):
    """Rows in several segments and in memory, some deleted or overwritten, some older than a column; what is there."""
    table = grid.create_table("T", schema, schema.key)
    alive = {}

    def write(times):
        for _ in range(times):
            for key, value in data.draw(st.lists(st.tuples(keys(table.schema), rows(table.schema)), max_size=4)):
                table.put(key, value)
                alive[repr(key)] = key, value
            gone = data.draw(st.sampled_from(sorted(alive))) if alive and data.draw(st.booleans()) else None
            if gone is not None:
                table.remove(alive.pop(gone)[0])
            if data.draw(st.booleans()):
                table.flush()

    write(2)
    added = data.draw(types(3))
    fill = data.draw(values(added))
    if fill is not None or added.nullable:
        grid.alter_table("T", add={ADDED: added}, fill={} if fill is None else {ADDED: fill})
        table = grid.table("T")
        for _, value in alive.values():
            value[ADDED] = fill
        write(2)
    return table, list(alive.values())


def normal(found):
    """In an order of its own, and so that NaN is like NaN."""
    return sorted(repr((key, sorted(parts.items()))) for key, parts in found)


def check(table, pairs, fills, nulls, columns=None):
    schema = table.schema
    names = [column.name for column in schema.value_columns] if columns is None else columns
    expected = [(key_shown(schema, key), flat(schema, value, names, fills)) for key, value in pairs]
    for batch_size in (None, 1, 3, 100):
        dataset = gridflow.Dataset(table, grid=table.grid, batch_size=batch_size, nulls=nulls, columns=columns)
        assert normal(rows_of(dataset, batch_size is not None)) == normal(expected)


@settings(max_examples=50)
@given(st.data())
def test_rows_and_batches_of_any_schema(data):
    with temporary_home() as home, gridflow.connect(home) as grid:
        table, pairs = fill_table(data, grid, data.draw(schemas(3)))
        columns = table.schema.value_columns
        check(table, pairs, None, "mask")

        kinds = {path: kind for column in columns for path, kind in leaves(column.name, column.type)}
        fills = {path: data.draw(values(kind.not_null())) for path, kind in kinds.items()}
        named = {".".join(path): fill for path, fill in fills.items()}
        if len(named) == len(kinds):  # else a name with a point in it is also a path
            check(table, pairs, {path: shown(kinds[path], fill) for path, fill in fills.items()}, named)

        for column in columns:
            if all(holds_no_null(column.type, value[column.name]) for _, value in pairs):
                check(table, pairs, {}, "error", columns=[column.name])
            else:
                with pytest.raises(tf.errors.InvalidArgumentError, match="null"):
                    list(gridflow.Dataset(table, grid=grid, columns=[column.name], batch_size=3))
        assert grid.check() == []


def holds_no_null(t, value):
    if value is None:
        return False
    if t.kind == "LIST":
        return all(holds_no_null(t.children[0][1], item) for item in value)
    if t.kind == "MAP":
        return all(holds_no_null(t.children[1][1], item) for item in value.values())
    if t.kind == "STRUCT":
        return all(holds_no_null(child, value[name]) for name, child in t.children)
    return True
