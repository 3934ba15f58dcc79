"""Lists of structs, maps, lists of lists, and what can be made of them; and such files damaged."""

import datetime as dt
import decimal
import random
import struct
import uuid

import numpy as np
import pytest
import tensorflow as tf
from damage import replace, reseal, rows_at
from elements import rows_of

import gridflow

LONG = "a string that is too long to lie in a tstring itself"
ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    "kind, value, shown",
    [
        ("LIST<STRUCT<A INT32, B STRING>>", [{"A": 1, "B": LONG}, {"A": 2, "B": "x"}], {"A": [1, 2], "B": [LONG, "x"]}),
        ("LIST<STRUCT<A INT32>>", [], {"A": []}),
        ("MAP<STRING, FLOAT32>", {"a": 1.5, LONG: -2.0}, {"key": ["a", LONG], "value": [1.5, -2.0]}),
        ("MAP<INT64, BOOL>", {}, {"key": [], "value": []}),
        ("LIST<LIST<INT32>>", [[1, 2], [], [3]], [[1, 2], [], [3]]),
        ("LIST<LIST<INT32>>", [], []),
        ("LIST<LIST<LIST<STRING>>>", [[], [["a"], [], ["b", LONG]]], [[], [["a"], [], ["b", LONG]]]),
        ("LIST<LIST<UINT8[2]>>", [[[1, 2]], [[3, 4], [5, 6]]], [[[1, 2]], [[3, 4], [5, 6]]]),
        ("LIST<STRUCT<A LIST<BOOL>, B INT8>>", [{"A": [True], "B": 1}], {"A": [[True]], "B": [1]}),
        ("MAP<DATE, LIST<TIME>>", {dt.date(1970, 1, 3): [dt.time(0, 0, 1)]}, {"key": [2], "value": [[1000000]]}),
        ("MAP<UUID, STRUCT<A INT8>>", {ID: {"A": 5}}, {"key": [ID.bytes], "value": {"A": [5]}}),
        ("MAP<INT8, MAP<INT8, STRING>>", {1: {2: "x"}}, {"key": [1], "value": {"key": [[2]], "value": [["x"]]}}),
        ("STRUCT<M MAP<STRING, DECIMAL(4,1)>>", {"M": {"k": 2}}, {"M": {"key": ["k"], "value": ["2.0"]}}),
        ("LIST<TIMESTAMP_S>", [dt.datetime(1970, 1, 1, 0, 1)], [60]),
        ("LIST<DECIMAL(3,2)>", [decimal.Decimal("1.5")], ["1.50"]),
        ("LIST<UUID>", [ID, ID], [ID.bytes, ID.bytes]),
    ],
)
def test_nested(grid, kind, value, shown):
    table = grid.create_table("T", {"ID": "LONG", "V": kind}, key="ID")
    table.put_all({i: {"V": value} for i in range(7)})
    for batch_size in (None, 1, 3, 7):
        dataset = gridflow.Dataset(table, grid=grid, batch_size=batch_size)
        for element in dataset:
            tf.nest.map_structure(
                lambda part, spec: pytest.fail() if not spec.is_compatible_with(part) else 0,
                element,
                dataset.element_spec,
            )
        rows = rows_of(dataset, batch_size is not None)
        assert len(rows) == 7
        for _, row in rows:
            assert {path[1:]: part for path, part in row.items()} == dict(paths((), shown))


def paths(path, part):
    if isinstance(part, dict):
        for name, inner in part.items():
            yield from paths((*path, name), inner)
    else:
        yield path, encoded(part)


def encoded(part):
    return (
        [encoded(item) for item in part] if isinstance(part, list) else part.encode() if isinstance(part, str) else part
    )


def test_specs(grid):
    kinds = {"L": "LIST<LIST<INT32>>", "M": "MAP<STRING, FLOAT32[3]>", "S": "LIST<STRUCT<A LIST<LIST<INT8>>>>"}
    table = grid.create_table("T", {"ID": "LONG", **kinds}, key="ID")
    assert gridflow.Dataset(table, grid=grid).element_spec["val"] == {
        "L": tf.RaggedTensorSpec([None, None], tf.int32, 1, tf.int64),
        "M": {"key": tf.TensorSpec([None], tf.string), "value": tf.TensorSpec([None, 3], tf.float32)},
        "S": {"A": tf.RaggedTensorSpec([None, None, None], tf.int8, 2, tf.int64)},
    }
    batches = gridflow.Dataset(table, grid=grid, batch_size=4, drop_remainder=True)
    assert batches.element_spec["val"] == {
        "L": tf.RaggedTensorSpec([4, None, None], tf.int32, 2, tf.int64),
        "M": {
            "key": tf.RaggedTensorSpec([4, None], tf.string, 1, tf.int64),
            "value": tf.RaggedTensorSpec([4, None, 3], tf.float32, 1, tf.int64),
        },
        "S": {"A": tf.RaggedTensorSpec([4, None, None, None], tf.int8, 3, tf.int64)},
    }


def test_nested_values_go_through_transformations(grid):
    table = grid.create_table("T", {"ID": "LONG", "L": "LIST<LIST<INT64>>", "M": "MAP<STRING, INT64>"}, key="ID")
    table.put_all({i: {"L": [[i], list(range(i))], "M": {str(j): j for j in range(i)}} for i in range(10)})
    dataset = gridflow.Dataset(table, grid=grid, batch_size=4)

    def totals(element):
        lists = tf.reduce_sum(tf.reduce_sum(element["val"]["L"], axis=2), axis=1)
        return element["key"], lists, tf.reduce_sum(element["val"]["M"]["value"], axis=1)

    for key, lists, values in dataset.map(totals).unbatch():
        assert int(values) == sum(range(int(key))) and int(lists) == int(key) + int(values)
    for element in dataset.unbatch():
        assert element["val"]["L"].to_list()[0] == [int(element["key"])]
    (again,) = gridflow.Dataset(table, grid=grid).ragged_batch(10)
    assert again["val"]["L"].shape == (10, None, None)


def test_lists_of_neighbouring_rows_are_one_view(grid):
    table = grid.create_table("T", {"ID": "LONG", "L": "LIST<LIST<FLOAT32[16]>>"}, key="ID")
    items = {i: np.full(16, i, np.float32) for i in range(20)}
    table.put_all({i: {"L": [[item, item], [], [item]]} for i, item in items.items()})
    for element in gridflow.Dataset(table, grid=grid, batch_size=5):
        flat = element["val"]["L"].flat_values
        assert np.asarray(memoryview(flat)).ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(memoryview(flat))[0] = 1
        keys = element["key"].numpy()
        assert flat.numpy().tolist() == [[float(key)] * 16 for key in np.repeat(keys, 3)]


def test_names_of_any_characters(grid):
    kinds = {"A\x1fB": 'STRUCT<"x\x1fy" INT32>', "A": 'STRUCT<"B\x1fx\x1fy" INT32, " valid" INT32>', "5 fill": "INT32"}
    table = grid.create_table("T", {"ID": "LONG", **kinds}, key="ID")
    value = {"A\x1fB": {"x\x1fy": 1}, "A": {"B\x1fx\x1fy": 2, " valid": 3}, "5 fill": 4}
    table.put(1, value)
    (element,) = gridflow.Dataset(table, grid=grid)
    assert tf.nest.map_structure(int, element["val"]) == value


def test_as_deep_as_a_schema_may_be(grid):
    kind, value = "INT32", 5
    for _ in range(29):
        kind, value = f"LIST<{kind}>", [value, value] if value == 5 else [value]
    table = grid.create_table("T", {"ID": "LONG", "V": kind}, key="ID")
    table.put(1, {"V": value})
    (row,) = gridflow.Dataset(table, grid=grid)
    assert row["val"]["V"].to_list() == value
    (batch,) = gridflow.Dataset(table, grid=grid, batch_size=2)
    assert batch["val"]["V"].to_list() == [value]


NESTED = [
    ("LIST<LIST<INT32>>", [[1], [2, 3]], "V"),
    ("MAP<STRING, LIST<STRING>>", {"a": ["x", LONG], "b": []}, r"V\.\w+"),
    ("LIST<STRUCT<A LIST<INT16>, B STRING>>", [{"A": [1, 2], "B": "b"}, {"A": [3], "B": "c"}], r"V\.\w"),
]


@pytest.mark.parametrize("kind, value, name", NESTED)
@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("nulls", ["error", "mask"])
def test_damaged_offsets(tmp_path, kind, value, name, batch_size, nulls):
    """Every run of offsets there is, damaged in its middle: an error that names file and column, and no crash."""
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": kind}, key="ID")
        table.put_all({i: {"V": value} for i in range(64)})
        table.flush()
        dataset = gridflow.Dataset(table, grid=grid, batch_size=batch_size, nulls=nulls)
        (path,) = (tmp_path / "grid" / "tables" / str(table.table_id)).glob("*.seg")
    sound = path.read_bytes()
    damaged = 0
    for form in "qi":
        size = struct.calcsize(form)
        for at in range(0, len(sound) - 65 * size, 64):
            offsets = struct.unpack_from(f"<65{form}", sound, at)
            if (
                offsets[0]
                or offsets[64] < 65
                or any(b < a or b - a > 1000 for a, b in zip(offsets, offsets[1:], strict=False))
            ):
                continue
            for wrong in (-1, 1 << 30, -(1 << 31)):
                data = bytearray(sound)
                struct.pack_into(f"<{form}", data, at + 20 * size, wrong)
                replace(path, reseal(data))
                with pytest.raises(
                    tf.errors.DataLossError, match=rf"damaged at byte \d+: column {name} has impossible"
                ):
                    list(dataset)
            damaged += 1
    assert damaged >= 2


def test_damaged_anywhere(tmp_path):
    """Whatever the bytes say, reading ends in values or in an error, not in a crash."""
    kinds = {f"V{i}": kind for i, (kind, _, _) in enumerate(NESTED)}
    row = {f"V{i}": value for i, (_, value, _) in enumerate(NESTED)}
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", **kinds}, key="ID")
        table.put_all(dict.fromkeys(range(40), row))
        table.put_all(dict.fromkeys(range(40, 44), dict.fromkeys(kinds)))
        datasets = [
            gridflow.Dataset(table, grid=grid, batch_size=7),
            gridflow.Dataset(table, grid=grid, nulls="mask", partitions=[*range(100, 300), *range(500, 1000)]),
        ]
        (path,) = (tmp_path / "grid" / "tables" / str(table.table_id)).glob("*.seg")
    sound = path.read_bytes()
    chance = random.Random(1)
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(chance.choice([1, 4, 200])):
            data[chance.choice(rows_at(sound))] = chance.choice([0, 1, 127, 128, 255])
        replace(path, reseal(data))
        for dataset in datasets:
            try:
                list(dataset)
            except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
                pass
