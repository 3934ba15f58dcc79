"""What a dataset is asked for: arguments that are refused, conditions with parameters, and the shapes of elements."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow import ColumnNotFoundError, Draw, Follow, SchemaError, Share, SqlError, UsageError


@pytest.fixture
def table(grid):
    table = grid.create_table(
        "T",
        {
            "ID": "LONG",
            "X": "FLOAT32[2]",
            "LABEL": "INT",
            "SPLIT": "VARCHAR",
            "INFO": "STRUCT<W INT, BOX STRUCT<A INT>>",
        },
        key="ID",
    )
    splits = ["train", "test", "it's ? :x"]
    table.put_all(
        (i, {"X": [i, -i], "LABEL": i % 4, "SPLIT": splits[i % 3], "INFO": {"W": i, "BOX": {"A": -i}}})
        for i in range(60)
    )
    return table


def ids(dataset):
    return sorted(int(key) for element in dataset for key in np.ravel(element["key"]))


# ---- arguments that mean nothing ----


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"seed": 1}, r"seed 1 has no effect without shuffle=True, weights= or balance=; that of .shuffle\(n, seed\)"),
        ({"seed": 1, "where": "ID > 1"}, "seed 1 has no effect"),
        ({"shuffle": 1000}, r"shuffle is 1000, and should be True or False: .*\.shuffle\(1000\) shuffles through"),
        ({"shuffle": "no"}, "shuffle is 'no', and should be True or False"),
        ({"batch_size": 2, "drop_remainder": "no"}, "drop_remainder is 'no', and should be True or False"),
        ({"follow": 60.0}, r"follow is 60.0, and should be True or False: True, or gridflow.Follow\(timeout=60.0\)"),
        ({"elements": "keras"}, "elements is 'nested' or 'flat', not 'keras'"),
        ({"params": [1]}, "params are values for the parameters of where=, which is missing"),
        ({"where": "SPLIT = ?", "params": "train"}, "params is a str; give a list or tuple for"),
        ({"share": (0, 2)}, r"share is a gridflow.Share, not \(0, 2\)"),
        ({"draw": True}, "draw is a gridflow.Draw, not True"),
        ({"share": Share((0, 2)), "workers": (0, 2)}, "share= says what workers is: leave workers= out"),
        ({"draw": Draw(shuffle=True), "seed": 1}, "draw= says what seed is: leave seed= out"),
        ({"follow": Follow(1.0), "timeout": 1.0}, "follow= says what timeout is: leave timeout= out"),
        ({"as_supervised": ("X",)}, r"as_supervised is \(features, label\) or \(features, label, weights\)"),
    ],
)
def test_arguments_of_no_effect_were_passed_over(table, arguments, message):
    with pytest.raises(UsageError, match=message):
        table.dataset(**arguments)


def test_a_table_of_another_grid_was_read_without_a_word(grid, table, tmp_path):
    with gridflow.connect(tmp_path / "other") as other:
        other.create_table("T", {"ID": "LONG"}, key="ID")
        with pytest.raises(UsageError, match="grid= and home= both say where table T is: give one of them"):
            gridflow.Dataset("T", grid=grid, home=other.home)
        for wrong in ({"grid": other}, {"home": other.home}):
            with pytest.raises(UsageError, match=f"table T is of grid {grid.home}, not of {other.home}: leave"):
                gridflow.Dataset(table, **wrong)
    for right in ({"grid": grid}, {"home": grid.home}, {}):
        assert len(gridflow.Dataset(table, **right)) == 60


def test_snapshot_is_the_old_name_of_version(table):
    table.tag("v1")
    table.truncate()
    with pytest.warns(DeprecationWarning, match="snapshot= is deprecated: use version="):
        assert len(gridflow.Dataset(table, snapshot="v1")) == 60
    with pytest.raises(UsageError, match="snapshot= is the old name"):
        gridflow.Dataset(table, snapshot="v1", version="v1")
    assert len(table.dataset(version="v1")) == 60 and len(table.dataset()) == 0


def test_a_table_makes_its_dataset_and_imports_tensorflow_only_then(tmp_path):
    script = f"""
import sys, gridflow
with gridflow.connect({str(tmp_path / "grid")!r}) as grid:
    table = grid.create_table("T", {{"ID": "LONG"}}, key="ID")
    table.put_all((i, {{}}) for i in range(5))
    assert "tensorflow" not in sys.modules
    print(sorted(int(row["key"]) for row in table.dataset(where="ID > ?", params=[2])))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "[3, 4]\n", done.stderr


# ---- what belongs together ----


def test_classes_say_what_arguments_say(table):
    def keys(dataset):
        return [int(element["key"]) for element in dataset]

    assert keys(table.dataset(draw=Draw(shuffle=True, seed=1))) == keys(table.dataset(shuffle=True, seed=1))
    assert keys(table.dataset(draw=Draw(balance="LABEL", seed=1))) == keys(table.dataset(balance="LABEL", seed=1))
    shares = [table.dataset(share=Share((i, 3), by="rows", equal_batches="drop")) for i in range(3)]
    plain = [table.dataset(workers=(i, 3), share_by="rows", equal_batches="drop") for i in range(3)]
    assert [keys(share) for share in shares] == [keys(share) for share in plain]
    assert ids(table.dataset(follow=Follow(timeout=0.1))) == list(range(60))
    assert ids(table.dataset(share=Share())) == list(range(60)), "auto: one worker"


# ---- conditions with parameters ----


def test_values_pasted_into_a_condition_were_read_as_sql(table):
    split = "it's ? :x"
    assert ids(table.dataset(where="SPLIT = ?", params=[split])) == list(range(2, 60, 3))
    assert ids(table.dataset().where("SPLIT = ?", [split])) == list(range(2, 60, 3))
    assert ids(table.dataset().where("SPLIT = :split", {"split": "' OR 1 = 1 --"})) == []
    found = table.dataset(columns=["LABEL"]).where("SPLIT = ?", ["test"]).where("ID < ? OR ID = 58", [10])
    assert ids(found) == [1, 4, 7, 58]
    found = table.dataset(where="ID < :n", params={"n": 9}).where("SPLIT = :s OR ID = 0", {"s": "test"})
    assert ids(found) == [0, 1, 4, 7]
    assert ids(table.dataset().where("LABEL = 1").where("ID > ?", [np.int64(50)])) == [53, 57]
    assert 'where SPLIT = ?, params ["test"]' in table.dataset().where("SPLIT = ?", ["test"]).describe()


@pytest.mark.parametrize("condition", ["LABEL = ?", "LABEL + 0 = ?", "ID IN (SELECT ID FROM T WHERE LABEL = ?)"])
def test_the_rows_of_other_parameters_were_not_taken(table, condition):
    """What is known of a condition is known of its parameters."""
    for label in (0, 1, 0, 2, 0.0, True):
        rows = table.dataset(columns=[]).where(condition, [label])
        expected = [i for i in range(60) if i % 4 == label]
        assert ids(rows) == ids(rows.batch(7)) == expected and len(rows) == len(expected)


def test_an_iterator_goes_on_with_its_parameters(table, tmp_path):
    def make(label):
        return iter(table.dataset(columns=[], draw=Draw(shuffle=True, seed=1)).where("LABEL = ?", [label]))

    iterator = make(1)
    first = [int(next(iterator)["key"]) for _ in range(5)]
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "saved"))
    rest = [int(element["key"]) for element in iterator]
    again = make(1)
    tf.train.Checkpoint(iterator=again).restore(path)
    assert [int(element["key"]) for element in again] == rest
    assert sorted(first + rest) == list(range(1, 60, 4))


@pytest.mark.parametrize("value", [b"\x00raw", 1.5, None, [1, 2], np.float32(2)])
def test_parameters_of_every_kind_travel(grid, value):
    table = grid.create_table("P", {"ID": "LONG", "B": "BINARY", "D": "DOUBLE"}, key="ID")
    table.put_all({1: {"B": b"\x00raw", "D": 1.5}, 2: {"B": b"", "D": 2.0}})
    column = "B" if isinstance(value, bytes) else "D"
    condition = "list_contains(?, ID)" if isinstance(value, list) else f"{column} IS NOT DISTINCT FROM ?"
    expected = {bytes: [1], float: [1], type(None): [], list: [1, 2], np.float32: [2]}[type(value)]
    assert ids(table.dataset().where(condition, [value])) == expected


def test_what_is_wrong_with_parameters_is_said_at_once(table):
    for arguments, message in (
        ({"where": "ID = ?"}, "the statement has one parameter|1 parameter"),
        ({"where": "ID = ?", "params": [1, 2]}, "2 given"),
        ({"where": "ID = :i", "params": {"j": 1}}, "no value for parameter :i"),
        ({"where": "ID = 1", "order_by": "ID + ?", "params": [1]}, "parameters can stand in where"),
        ({"where": "ID = 1", "weights": "?", "params": [1]}, "parameters can stand in where"),
    ):
        with pytest.raises(SqlError, match=message):
            table.dataset(**arguments)
    with pytest.raises(SchemaError, match="a parameter of type object cannot be sent"):
        table.dataset(where="ID = ?", params=[object()])
    with pytest.raises(UsageError, match="a condition is SQL text, not function"):
        table.dataset().where(lambda row: True)


@pytest.mark.parametrize(
    "condition, value",
    [
        ("ID = ?", dt.timedelta(1)),
        ("ID IN (?)", [1, 2]),
        ("ID > ?", "abc"),
        ("LABEL = ?", b"x"),
        ("LABEL = ?", {"a": 1}),
    ],
)
def test_a_parameter_of_a_wrong_type_was_found_only_in_the_loop(table, condition, value):
    with pytest.raises(SqlError):
        table.dataset().where(condition, [value])
    assert table.dataset().where("LN(ID) > ? AND CAST(SPLIT AS INT) = 1", [1.0]), "no row need have an ID of 0"


def test_conditions_were_joined_as_text(table):
    """What is no condition by itself was taken, and what is one was not."""
    for condition in ("ID = 2) OR (ID = 3", "ID = 1 ORDER BY ID", "TRUE; SELECT 1"):
        with pytest.raises(SqlError):
            table.dataset().where("ID = 1").where(condition)
    for first in ("ID >= ? -- low", "ID >= ?;", "ID >= ?1", "ID >= ? AND ?1 = ?1".replace("?1", "1")):
        for second in ("ID < ? -- high", "ID < ?1 AND ?1 = ?1", "ID < ?;"):
            assert ids(table.dataset().where(first, [7]).where(second, [9])) == [7, 8]
            assert [int(e["key"]) for e in table.dataset(order_by="ID DESC").where(first, [7]).where(second, [9])] == [
                8,
                7,
            ]
    mixed = table.dataset(where="ID > ?", params=[1]).where("ID < :n", {"n": 9}).where("ID <> :n OR :n = 1", {"n": 4})
    assert ids(mixed) == [2, 3, 5, 6, 7, 8]
    many = ", ".join(["?"] * 40)
    found = table.dataset().where(f"ID IN ({many})", list(range(40))).where(f"ID IN ({many})", list(range(30, 70)))
    assert ids(found) == list(range(30, 40))
    with pytest.raises(ColumnNotFoundError, match="line 2, column 25: no column IDD") as raised:
        table.dataset(where="ID > 1").where("IDD < 3")
    assert "WHERE IDD < 3\n  " + " " * 24 + "^^^" in str(raised.value)


def test_arguments_were_used_up_by_a_call_of_where(table):
    first, params, names = table.dataset(columns=["LABEL"]), [2], ["X"]
    once = table.dataset(partitions=iter(range(1024)), columns=(name for name in ["LABEL"]))
    chosen = once.where("ID < 9")
    assert chosen.element_spec == first.element_spec and ids(chosen) == ids(once.where("ID < 9")) == list(range(9))
    asked = table.dataset(where="ID > ?", params=params, nulls={"LABEL": 0})
    pair = asked.supervised(names, "LABEL")
    params[0] = 57
    names[0] = "LABEL"
    assert ids(asked.where("ID < 5")) == [3, 4] and list(pair.where("ID < 5").element_spec[0]) == ["X"]


def test_a_tag_that_moved_moved_a_dataset_of_it(table):
    table.tag("v")
    dataset = table.dataset(version="v")
    table.keep_versions(5)
    table.put(100, {"LABEL": 1, "SPLIT": "x", "X": np.zeros(2, "f4"), "INFO": {"W": 1, "BOX": {"A": 1}}})
    table.tag("v", replace=True)
    assert ids(dataset.where("ID > 58")) == ids(dataset.where("ID >= 0").where("ID > 58")) == [59]


def test_an_answer_about_another_table_was_remembered(grid, table):
    others = grid.create_table("OTHERS", {"ID": "LONG"}, key="ID")
    chosen = "ID IN (SELECT ID FROM OTHERS)"
    past = "ID < 9 AND ID IN (SELECT ID FROM OTHERS AT (VERSION => 'v'))"
    for key in (3, 4):
        others.put(key, {})
        others.tag("v", replace=True)
        assert ids(table.dataset().where(chosen)) == ids(table.dataset().where(past)) == list(range(3, key + 1))
    dataset = table.dataset().where(past)
    others.untag("v")
    with pytest.raises(tf.errors.FailedPreconditionError, match="table OTHERS has no tag v"):
        list(dataset)


def test_what_share_and_draw_say_was_compared_by_identity(table):
    by = "".join(["part", "itions"])
    assert ids(table.dataset(share=Share((0, 1)), share_by=by)) == list(range(60))
    with pytest.raises(UsageError, match="share= says what workers is"):
        table.dataset(share=Share((0, 2)), workers=np.array([0, 2]))
    for wrong in ({"follow": Follow("x")}, {"follow": True, "timeout": "x"}, {"follow": Follow(True)}):
        with pytest.raises(UsageError, match="timeout is .*, and should be a number of seconds"):
            table.dataset(**wrong)
    for wrong in ({"draw": Draw(True, 1.5)}, {"shuffle": True, "seed": "1"}):
        with pytest.raises(UsageError, match="seed is .*, and should be a whole number"):
            table.dataset(**wrong)


@pytest.mark.parametrize("call", ["shuffle", "batch", "take", "skip", "repeat"])
def test_a_condition_comes_first(table, call):
    dataset = getattr(table.dataset(), call)(5)
    with pytest.raises(UsageError, match="where comes before skip, take, .*; after them call filter"):
        dataset.where("ID > 1")
    with pytest.raises(UsageError, match="supervised comes before .*; after them call map"):
        dataset.supervised("X", "LABEL")


def test_arguments_stay_with_a_condition(table):
    asked = table.dataset(shuffle=True, seed=1, batch_size=4, columns=["LABEL"], drop_remainder=True)
    given = table.dataset(
        where="LABEL > ?", params=[1], shuffle=True, seed=1, batch_size=4, columns=["LABEL"], drop_remainder=True
    )
    found = asked.where("LABEL > ?", [1])
    assert [e["key"].tolist() for e in found.as_numpy_iterator()] == [
        e["key"].tolist() for e in given.as_numpy_iterator()
    ]
    assert ids(asked) == list(range(60)), "it is not changed itself"


# ---- elements ----


def test_supervised(table):
    x, label = next(iter(table.dataset(order_by="ID").supervised("X", "LABEL").skip(5)))
    assert x.numpy().tolist() == [5, -5] and int(label) == 1
    x, label, weight = next(iter(table.dataset(order_by="ID").supervised(["X", "ID"], "LABEL", "ID").skip(5)))
    assert sorted(x) == ["ID", "X"] and int(weight) == 5
    with pytest.raises(ColumnNotFoundError):
        table.dataset().supervised("X", "LABLE")
    rows = table.dataset().where("LABEL = ?", [2]).supervised("X", "LABEL").where("ID < ?", [9])
    assert sorted(x[0] for x, _ in rows.as_numpy_iterator()) == [2, 6]


def test_flat_elements(table):
    (row,) = table.dataset(where="ID = 7", elements="flat").as_numpy_iterator()
    assert list(row) == ["ID", "X", "LABEL", "SPLIT", "INFO.W", "INFO.BOX.A"]
    assert (row["ID"], row["INFO.W"], row["INFO.BOX.A"]) == (7, 7, -7)
    (row,) = table.dataset(where="ID = 7", columns=["LABEL"], elements="flat").as_numpy_iterator()
    assert row == {"LABEL": 3}
    pair = table.dataset(where="ID = 7", as_supervised=(["INFO", "ID"], "LABEL"), elements="flat")
    assert list(pair.as_numpy_iterator()) == [({"INFO.W": 7, "INFO.BOX.A": -7, "ID": 7}, 3)]
    masked = table.dataset(columns=["INFO"], nulls="mask", elements="flat").element_spec
    assert "INFO.BOX.A_valid" in masked and all(isinstance(spec, tf.TensorSpec) for spec in masked.values())
    with pytest.raises(ColumnNotFoundError, match="no column LABLE"):
        table.dataset(columns=["LABLE"], elements="flat")


def test_flat_names_that_are_one_are_refused(grid):
    table = grid.create_table("U", {"ID": "LONG", "A": "STRUCT<B INT>", "A.B": "INT"}, key="ID")
    with pytest.raises(SchemaError, match=r'elements="flat" gives two parts of table U the name A.B'):
        table.dataset(elements="flat")


def test_flat_elements_of_a_cache(grid):
    grid.cache("C").put(1, 5)
    assert list(grid.table("C").dataset(elements="flat").as_numpy_iterator()) == [{"_KEY": 1, "_VAL": 5}]


def test_keras_takes_flat_elements(table):
    inputs = {name: tf.keras.Input(shape, name=name) for name, shape in (("X", (2,)), ("INFO.W", (1,)))}
    joined = tf.keras.layers.Concatenate()(list(inputs.values()))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(joined))
    model.compile(loss="mse", optimizer="sgd")
    rows = table.dataset(elements="flat", as_supervised=(["X", "INFO"], "LABEL", "ID")).batch(16)
    model.fit(rows.map(lambda x, y, w: ({"X": x["X"], "INFO.W": x["INFO.W"][:, None]}, y, w)), verbose=0)
