"""What an element looks like for every column type."""

import datetime
import decimal
import uuid

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow.tf import specs

UUIDS = [uuid.UUID(int=n * 0x0123456789ABCDEF) for n in (1, 5, 9)]
NUMBERS = "INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 FLOAT16 FLOAT32 FLOAT64".split()


def rows_of(dataset):
    """Key to value, from single rows."""
    rows = {}
    for element in dataset:
        rows[element["key"].numpy()] = element["val"]
    return rows


def assert_matches_spec(dataset):
    for element in dataset:
        tf.nest.map_structure(
            lambda value, spec: None if spec.is_compatible_with(value) else pytest.fail(f"{spec}: {value}"),
            element,
            dataset.element_spec,
        )


# type, values put, what TensorFlow shows of them (None: the same), dtype
CASES = [
    *[(kind, [0, 1, 7], None, kind.lower()) for kind in NUMBERS],
    ("INT64", [-(2**63), 2**63 - 1, 0], None, "int64"),
    ("UINT64", [2**64 - 1, 0, 1], None, "uint64"),
    ("FLOAT64", [float("inf"), -0.5, 1e300], None, "float64"),
    ("BOOL", [True, False, True], None, "bool"),
    ("STRING", ["", "short", "a string that is too long for a small one, ä"], None, "string"),
    ("BINARY", [b"", b"\x00\xff", bytes(range(256))], None, "string"),
    (
        "DATE",
        [datetime.date(1970, 1, 1), datetime.date(2024, 2, 29), datetime.date(1900, 1, 1)],
        [0, 19782, -25567],
        "int32",
    ),
    (
        "TIME",
        [datetime.time(0), datetime.time(1, 2, 3, 4), datetime.time(23)],
        [0, 3723000004, 82800000000],
        "int64",
    ),
    (
        "TIMESTAMP",
        [
            datetime.datetime(1970, 1, 1),
            datetime.datetime(2000, 1, 1),
            datetime.datetime(1969, 12, 31, 23, 59, 59),
        ],
        [0, 946684800000000, -1000000],
        "int64",
    ),
    ("TIMESTAMP_S", [datetime.datetime(2000, 1, 1)] * 3, [946684800] * 3, "int64"),
    ("UUID", UUIDS, [u.bytes for u in UUIDS], "string"),
    (
        "DECIMAL(10,2)",
        [decimal.Decimal("12.3"), decimal.Decimal("-0.05"), decimal.Decimal("0")],
        [b"12.30", b"-0.05", b"0.00"],
        "string",
    ),
    (
        "DECIMAL(38,0)",
        [decimal.Decimal(10**38 - 1), decimal.Decimal(-(10**38) + 1), decimal.Decimal(7)],
        [b"9" * 38, b"-" + b"9" * 38, b"7"],
        "string",
    ),
    (
        "DECIMAL(38,38)",
        [decimal.Decimal("0." + "1" * 38), decimal.Decimal("-1E-38"), decimal.Decimal(0)],
        [b"0." + b"1" * 38, b"-0." + b"0" * 37 + b"1", b"0." + b"0" * 38],
        "string",
    ),
    ("BOOL[3]", [[True, False, True], [False] * 3, [True] * 3], None, "bool"),
    ("FLOAT16[2,2]", [np.full((2, 2), n, np.float16) for n in (0, 1, 2)], None, "float16"),
    ("INT64[1]", [[5], [6], [7]], None, "int64"),
]


@pytest.mark.parametrize("batch_size", [None, 2, 3, 100])
@pytest.mark.parametrize("kind, values, shown, dtype", CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_type(grid, kind, values, shown, dtype, batch_size):
    table = grid.create_table("T", {"ID": "INT64", "V": kind}, key="ID")
    table.put_all({i: {"V": value} for i, value in enumerate(values)})
    dataset = gridflow.Dataset(table, grid=grid, batch_size=batch_size)
    assert dataset.element_spec["val"]["V"].dtype == tf.as_dtype(dtype)
    assert_matches_spec(dataset)
    flat = dataset if batch_size is None else dataset.unbatch()
    rows = rows_of(flat)
    expected = values if shown is None else shown
    assert len(rows) == len(expected)
    for i, want in enumerate(expected):
        want = want.encode() if isinstance(want, str) else want
        np.testing.assert_array_equal(rows[i]["V"].numpy(), np.asarray(want) if dtype != "string" else want)


@pytest.mark.parametrize("kind", [*NUMBERS, "BOOL", "STRING"])
def test_scalar_keys(grid, kind):
    table = grid.create_table("T", {"K": kind, "V": "INT32"}, key="K")
    keys = ["a", "b"] if kind == "STRING" else [False, True] if kind == "BOOL" else [0, 1]
    table.put_all({key: {"V": i} for i, key in enumerate(keys)})
    rows = rows_of(gridflow.Dataset("T", grid=grid))
    assert sorted(rows) == sorted(k.encode() if kind == "STRING" else k for k in keys)


def test_key_of_several_columns_is_a_dict(grid):
    table = grid.create_table("T", {"V": "INT32", "B": "STRING", "A": "LONG"}, key=["B", "A"])
    table.put_all({("x", 1): {"V": 1}, ("y", 2): {"V": 2}})
    dataset = gridflow.Dataset("T", grid=grid)
    assert sorted(dataset.element_spec["key"]) == ["A", "B"]
    found = {(e["key"]["B"].numpy(), int(e["key"]["A"])): int(e["val"]["V"]) for e in dataset}
    assert found == {(b"x", 1): 1, (b"y", 2): 2}


def test_key_column_in_the_middle(grid):
    table = grid.create_table("T", {"A": "INT32", "ID": "LONG", "B": "STRING"}, key="ID")
    table.put(3, {"A": 1, "B": "b"})
    (element,) = gridflow.Dataset("T", grid=grid)
    assert int(element["key"]) == 3
    assert {n: v.numpy() for n, v in element["val"].items()} == {"A": 1, "B": b"b"}


def test_plain_value_is_the_component(grid):
    cache = grid.cache("PLAIN")
    for i in range(5):
        cache.put(i, i * 1.5)
    dataset = gridflow.Dataset("PLAIN", grid=grid)
    assert dataset.element_spec["val"] == tf.TensorSpec([], tf.float64)
    assert {int(e["key"]): float(e["val"]) for e in dataset} == {i: i * 1.5 for i in range(5)}


def test_struct_is_a_dict_of_its_fields(grid):
    schema = {"ID": "LONG", "META": "STRUCT<size LONG, inner STRUCT<name STRING, flags LIST<BOOL>>>"}
    table = grid.create_table("T", schema, key="ID")
    table.put(1, {"META": {"size": 5, "inner": {"name": "n", "flags": [True, False]}}})
    dataset = gridflow.Dataset("T", grid=grid, batch_size=4)
    assert_matches_spec(dataset)
    (element,) = dataset
    meta = element["val"]["META"]
    assert meta["size"].numpy().tolist() == [5]
    assert meta["inner"]["name"].numpy().tolist() == [b"n"]
    assert meta["inner"]["flags"].to_list() == [[True, False]]


@pytest.mark.parametrize(
    "item, lists",
    [
        ("INT32", [[1, 2, 3], [], [4], [5, 6]]),
        ("FLOAT64", [[0.5], [1.5] * 100, [], [2.5]]),
        ("STRING", [["a", "bb"], ["a string that does not fit into a small one"], [], ["c"]]),
        ("BOOL", [[True], [], [False, True] * 5, [True]]),
        ("UINT8[3]", [[[1, 2, 3]], [], [[4, 5, 6], [7, 8, 9]], [[0, 0, 0]]]),
    ],
)
def test_list(grid, item, lists):
    table = grid.create_table("T", {"ID": "LONG", "L": f"LIST<{item}>"}, key="ID")
    table.put_all({i: {"L": value} for i, value in enumerate(lists)})

    def plain(value):
        return [v.encode() if isinstance(v, str) else v for v in value]

    rows = rows_of(gridflow.Dataset("T", grid=grid))
    for i, want in enumerate(lists):
        assert rows[i]["L"].numpy().tolist() == plain(want)
    for batch_size in (1, 3, 4, 9):
        dataset = gridflow.Dataset("T", grid=grid, batch_size=batch_size)
        assert_matches_spec(dataset)
        for element in dataset:
            assert isinstance(element["val"]["L"], tf.RaggedTensor)
            for key, row in zip(element["key"].numpy(), element["val"]["L"], strict=True):
                assert row.numpy().tolist() == plain(lists[key])


def test_ragged_batches_go_through_transformations(grid):
    table = grid.create_table("T", {"ID": "LONG", "L": "LIST<INT64>"}, key="ID")
    table.put_all({i: {"L": list(range(i))} for i in range(10)})
    dataset = gridflow.Dataset("T", grid=grid, batch_size=4)
    sums = dataset.map(lambda e: tf.reduce_sum(e["val"]["L"], axis=1)).unbatch()
    assert sorted(int(s) for s in sums) == sorted(sum(range(i)) for i in range(10))
    single = {len(e["val"]["L"]) for e in dataset.unbatch()}
    assert single == set(range(10))
    again = gridflow.Dataset("T", grid=grid).ragged_batch(4).map(lambda e: tf.reduce_sum(e["val"]["L"], axis=1))
    assert sorted(int(s) for s in again.unbatch()) == sorted(sum(range(i)) for i in range(10))


def test_columns(grid, images):
    dataset = gridflow.Dataset("IMAGES", grid=grid, columns=["LABEL"], batch_size=10)
    assert list(dataset.element_spec["val"]) == ["LABEL"]
    assert gridflow.Dataset("IMAGES", grid=grid, columns="LABEL").element_spec["val"].keys() == {"LABEL"}
    assert gridflow.Dataset("IMAGES", grid=grid, columns=[]).element_spec["val"] == {}
    assert {int(e["key"]) for e in gridflow.Dataset("IMAGES", grid=grid, columns=[])} == set(range(1000))
    with pytest.raises(gridflow.ColumnNotFoundError, match="table IMAGES has no column LABLE; did you mean LABEL"):
        gridflow.Dataset("IMAGES", grid=grid, columns=["LABLE"])


def test_names(grid, images):
    for name in ("IMAGES", "SQL_PUBLIC_IMAGES", images):
        assert len(gridflow.Dataset(name, grid=grid)) == 1000
    with pytest.raises(gridflow.TableNotFoundError, match="IMAGES"):
        gridflow.Dataset("IMAGE", grid=grid)


def test_empty_table_has_its_spec_and_no_elements(grid):
    kinds = {"ID": "LONG", "A": "UINT8[2,3]", "B": "LIST<STRING>", "C": "STRUCT<X BOOL>"}
    grid.create_table("T", kinds, key="ID")
    dataset = gridflow.Dataset("T", grid=grid, batch_size=8, drop_remainder=True)
    assert dataset.element_spec == {
        "key": tf.TensorSpec([8], tf.int64),
        "val": {
            "A": tf.TensorSpec([8, 2, 3], tf.uint8),
            "B": tf.RaggedTensorSpec([8, None], tf.string, 1, tf.int64),
            "C": {"X": tf.TensorSpec([8], tf.bool)},
        },
    }
    assert len(dataset) == 0
    assert list(dataset) == []
    assert list(gridflow.Dataset("T", grid=grid)) == []


def test_structure_is_flattened_as_tensorflow_does():
    schema = gridflow.Schema.of({"b": "INT32", "B": "INT32", "a": "STRUCT<y INT8, x INT16>"}, key="b")
    leaves = tf.nest.flatten(specs.structure(schema))
    assert [leaf.path.split("\x1f", 1)[1] for leaf in leaves] == ["b", "B", "a\x1fx", "a\x1fy"]


def test_leaves_say_what_they_are_and_how_they_are_read():
    kinds = {"ID": "LONG", "P": "UINT8[28,28]", "S": "STRING", "L": "LIST<MAP<UUID, BOOL>>", "D": "DECIMAL(5,2)"}
    leaves = specs.structure(gridflow.Schema.of(kinds, key="ID"), nulls="mask")["val"]
    view = "a view where the values lie together and begin at a multiple of 64 bytes, else one copy"
    assert str(leaves["P"]) == f"uint8[28, 28]: {view}"
    assert str(leaves["P_valid"]) == "bool[]: made of the column's nulls"
    assert str(leaves["S"]) == "string[]: shared views, but copies of up to 22 bytes"
    assert str(leaves["L"]["key"]) == "string[n, n]: a copy: a string holds 16 bytes itself"
    assert str(leaves["L"]["value_items_valid"]) == "bool[n, n]: made of the column's nulls"
    assert str(leaves["D"]) == "string[]: a copy: numbers become text"
