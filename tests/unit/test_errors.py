"""The tree of errors: names, bases, what an error knows of its place, and how it travels."""

import copy
import errno
import importlib
import json
import os
import pickle
import warnings

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow import errors
from gridflow.dbapi.errors import translation
from gridflow.protocols.messages import decode_error, encode_error
from gridflow.server import ServerProcess

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.GridflowError)
]


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        *(("gridflow", old, new) for old, new in errors.OLD_NAMES.items()),
        *(("gridflow.errors", old, new) for old, new in errors.OLD_NAMES.items()),
        ("gridflow.cuda", "RowNotFound", "RowNotFoundError"),
    ],
)
def test_an_old_name_of_an_error_is_the_class_and_warns(module, old, new):
    home = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is deprecated: use {module}\.{new}") as caught:
        assert getattr(home, old) is getattr(home, new)
    assert caught[0].filename == __file__


def test_the_names_of_all_errors_end_in_error():
    assert len(CLASSES) > 20
    assert [cls.__name__ for cls in CLASSES if not cls.__name__.endswith("Error")] == []
    public = [getattr(gridflow, name) for name in gridflow.__all__ if name not in ("Dataset", "sample_from")]
    raised = [value for value in public if isinstance(value, type) and issubclass(value, BaseException)]
    assert [cls.__name__ for cls in raised if not cls.__name__.endswith("Error")] == []


def test_a_name_that_never_was_is_an_attribute_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for module in (gridflow, errors, importlib.import_module("gridflow.cuda")):
            with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'TableLost'"):
                _ = module.TableLost


# ---- bases ----


def test_each_error_has_a_builtin_base():
    for cls in CLASSES:
        if cls is not errors.GridflowError:
            builtin = [base for base in cls.__mro__ if base.__module__ == "builtins"]
            assert builtin[0] not in (Exception, BaseException, object), cls
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.GridEnvironmentError, RuntimeError)


def test_a_conflict_is_no_usage_error():
    """``except UsageError: give up`` took a conflict, after which the transaction should have been run again."""
    assert not issubclass(errors.TransactionConflictError, errors.UsageError)
    assert [cls.__name__ for cls in CLASSES if cls.retryable] == ["TransactionConflictError", "TableBusyError"]


def test_a_conflict_says_that_it_may_be_run_again(tmp_path):
    with gridflow.connect(tmp_path) as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
        table.put(1, {"X": 1})
        transaction = grid.transaction()
        transaction.table("T").put(1, {"X": transaction.table("T").get(1)["X"] + 1})
        table.put(1, {"X": 5})
        with pytest.raises(errors.TransactionConflictError) as caught:
            transaction.commit()
    assert caught.value.retryable
    assert (caught.value.table, caught.value.key) == ("T", 1)


# ---- what an error knows of its place ----


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.create_table("T", {"ID": "LONG", "X": "INT NOT NULL"}, key="ID").put(1, {"X": 1})
        yield grid


def place(error):
    return error.table, error.key, error.column, error.line


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda grid: grid.table("LOST"), ("LOST", None, None, None)),
        (lambda grid: grid.create_table("T", {"ID": "LONG"}, key="ID"), ("T", None, None, None)),
        (lambda grid: grid.table("T")[7], ("T", 7, None, None)),
        (lambda grid: grid.table("T").put(1, {"X": "one"}), ("T", None, "X", None)),
        (lambda grid: grid.table("T").put("one", {"X": 1}), ("T", None, "ID", None)),
        (lambda grid: grid.table("T").put(1, {"X": 1, "Y": 2}), ("T", None, "Y", None)),
        (lambda grid: grid.table("T").put(1, 5), ("T", None, None, None)),
        (lambda grid: grid.table("T").load({"ID": [1], "Y": [1]}), ("T", None, "Y", None)),
        (lambda grid: grid.table("T").load({"ID": [1], "X": ["a"]}), ("T", None, "X", None)),
        (lambda grid: grid.table("T").load(pa.table({"ID": [1], "X": ["a"]})), ("T", None, "X", None)),
        (lambda grid: grid.table("T").load({"ID": np.arange(1), "X": np.ones((1, 2))}), ("T", None, "X", None)),
        (lambda grid: grid.table("T").to_arrow(["Y"]), ("T", None, "Y", None)),
        (lambda grid: grid.table("T").untag("v1"), ("T", None, None, None)),
        (lambda grid: grid.alter_table("T", drop=["Y"]), ("T", None, "Y", None)),
        (lambda grid: grid.sql("INSERT INTO T VALUES (1, 2)"), ("T", 1, None, None)),
        (lambda grid: grid.sql("INSERT INTO T SELECT ID, X FROM T"), ("T", 1, None, None)),
        (lambda grid: grid.sql("SELECT *\nFROM LOST"), ("LOST", None, None, 2)),
        (lambda grid: grid.sql("SELECT\n\nY FROM T"), ("T", None, "Y", 3)),
        (lambda grid: grid.sql("UPDATE T\nSET Y = 1"), ("T", None, "Y", 2)),
        (lambda grid: grid.sql("SELECT 1;\nSELEKT 2"), (None, None, None, 2)),
        (lambda grid: grid.sql("SELECT 1 +\nSUBSTRIN('a', 1) FROM T"), (None, None, None, 2)),
        (lambda grid: grid.sql("UPDATE T SET X = NULL"), ("T", None, "X", None)),
        (lambda grid: grid.sql("INSERT INTO T VALUES (5, 'two')"), ("T", None, "X", None)),
        (lambda grid: grid.sql("INSERT INTO T VALUES (?, ?)", [5, "two"]), ("T", None, "X", None)),
        (lambda grid: grid.sql("INSERT INTO T (_KEY, _VAL) VALUES (5, {'X': 'two'})"), ("T", None, "X", None)),
        (lambda grid: grid.sql("MERGE INTO T VALUES (5, 'two')"), ("T", None, "X", None)),
        (lambda grid: grid.sql("UPDATE T SET X = 'two' WHERE ID = 1"), ("T", None, "X", None)),
        (lambda grid: grid.sql("SELECT 1;\n\nINSERT INTO T VALUES (1, 2);\nSELECT 1"), ("T", 1, None, 3)),
        (lambda grid: grid.sql("SELECT 1;\nINSERT INTO T VALUES (5, 'two')"), ("T", None, "X", 2)),
        (lambda grid: grid.sql("SELECT 1;\nSELECT\nY FROM T"), ("T", None, "Y", 3)),
    ],
)
def test_an_error_names_what_it_is_about(grid, call, expected):
    """Only the message did, and a program had to cut it out of that."""
    with pytest.raises(errors.GridflowError) as caught:
        call(grid)
    assert place(caught.value) == expected


@pytest.mark.parametrize(
    ("name", "text", "column"),
    [
        ("a.csv", "ID,X\n1,1\n2,two\n", "X"),
        ("a.json", '{"ID": 1, "X": 1}\n\n{"ID": 2, "X": "two"}\n', "X"),
        ("b.json", '{"ID": 1, "X": 1}\n\n{"ID": 2, "X"\n', None),
    ],
)
def test_an_error_in_a_file_has_its_line_and_column(grid, tmp_path, name, text, column):
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.SchemaError) as caught:
        grid.sql(f"COPY FROM '{tmp_path / name}' INTO T")
    assert caught.value.line == 3
    assert caught.value.column == column
    assert caught.value.table == "T"


def test_an_error_of_nothing_known_knows_nothing():
    assert place(errors.UsageError("no")) == (None, None, None, None)
    assert not errors.UsageError("no").retryable


# ---- on its way ----

KEYS = [None, 1, "one", b"\x00\xff", (1, "one"), np.datetime64("2024-02-29T12:00:00.000000001")]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("send", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"])
def test_an_error_keeps_what_it_knows_in_another_process(cls, send):
    for key in KEYS:
        error = cls("no", table="T", key=key, column="C", line=3)
        other = send(error)
        assert type(other) is cls
        assert (str(other), *place(other), other.retryable) == ("no", "T", key, "C", 3, cls.retryable)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_keeps_what_it_knows_on_its_way_from_a_server(cls):
    for key in KEYS:
        other = decode_error(encode_error(cls("no", table="T", key=key, column="C", line=3)))
        assert type(other) is cls
        assert (str(other), *place(other)) == ("no", "T", key, "C", 3)
    damaged = errors.GridCorruptError("bad", "/grid/log", 12)
    assert (decode_error(encode_error(damaged)).file, decode_error(encode_error(damaged)).offset) == ("/grid/log", 12)


def test_an_error_of_a_served_grid_knows_what_it_is_about(tmp_path):
    with ServerProcess(tmp_path / "grid") as server, gridflow.connect(server.home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR", "X": "INT NOT NULL"}, key=["ID", "NAME"])
        table.put((1, "one"), {"X": 1})
        for call, expected in (
            (lambda: grid.sql("INSERT INTO T VALUES (1, 'one', 2)"), ("T", (1, "one"), None, None)),
            (lambda: table.insert_all([((1, "one"), {"X": 2})]), ("T", (1, "one"), None, None)),
            (lambda: grid.sql("INSERT INTO T SELECT ID, NAME, X FROM T"), ("T", (1, "one"), None, None)),
            (lambda: table.put((1, "one"), {"X": "?"}), ("T", None, "X", None)),
            (lambda: table.untag("v1"), ("T", None, None, None)),
            (lambda: grid.sql("DELETE\nFROM LOST"), ("LOST", None, None, 2)),
            (lambda: grid.alter_table("T", drop=["Y"]), ("T", None, "Y", None)),
        ):
            with pytest.raises(errors.GridflowError) as caught:
                call()
            assert place(caught.value) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"table": 1, "column": [], "line": "x", "offset": -1, "file": {}},
        {"key": 7},
        {"key": [[{"b": [0, 9]}], ""]},
        {"key": [[1, 2], ""]},
        {"key": [[{"b": [0, 1]}], "?"]},
    ],
)
def test_what_a_server_says_wrong_of_a_place_is_left_out(more):
    body = {"error": "GridCorruptError", "message": "bad"} | more
    error = decode_error(json.dumps(body).encode())
    assert (type(error), str(error), *place(error)) == (errors.GridCorruptError, "bad", None, None, None, None)
    assert (error.file, error.offset) == (None, None)


def test_what_is_no_name_of_an_error_makes_none():
    for name in ("OLD_NAMES", "did_you_mean", "Iterable", 1, None, ["UsageError"]):
        body = json.dumps({"error": name, "message": "m"})
        assert type(decode_error(body.encode())) is errors.InternalError


def test_an_error_of_the_dbapi_can_be_pickled_and_keeps_what_it_knows():
    """Its class is made when it is first raised, and pickle could not find it."""
    with pytest.raises(errors.DuplicateKeyError) as caught, translation():
        raise errors.DuplicateKeyError("there", table="T", key=(1, 2))
    other = pickle.loads(pickle.dumps(caught.value))
    assert type(other) is type(caught.value)
    assert (str(other), *place(other)) == ("there", "T", (1, 2), None, None)


CODES = {
    "GridOwnedError": errno.EAGAIN,
    "TableBusyError": errno.ETIMEDOUT,
    "QueryTimeoutError": errno.ETIMEDOUT,
    "GridFullError": errno.ENOSPC,
    "GridNotFoundError": errno.ENOENT,
    "GridAccessError": errno.EACCES,
    "GridConnectionError": errno.ENOTCONN,
}
SYSTEM = [cls for cls in CLASSES if issubclass(cls, OSError)]
SENDS = [
    lambda error: error,
    copy.copy,
    lambda error: pickle.loads(pickle.dumps(error)),
    lambda error: decode_error(encode_error(error)),
]


@pytest.mark.parametrize("send", SENDS, ids=["here", "copy", "pickle", "server"])
@pytest.mark.parametrize("cls", SYSTEM)
def test_an_error_of_the_system_has_what_an_oserror_has(cls, send):
    code = CODES[cls.__name__]
    error = send(cls("no"))
    assert (error.errno, error.strerror, error.filename) == (code, os.strerror(code), None)
    assert send(cls("no", filename="/grid")).filename == "/grid"


@pytest.mark.parametrize("send", SENDS, ids=["here", "copy", "pickle", "server"])
@pytest.mark.parametrize(
    ("code", "cls"),
    [(errno.EROFS, "GridAccessError"), (errno.EDQUOT, "GridFullError"), (errno.ENOENT, "GridNotFoundError")],
)
def test_a_failure_of_the_system_keeps_its_code(send, code, cls):
    error = send(errors.os_failure(OSError(code, os.strerror(code), b"/grid"), "cannot", of_grid=True))
    assert (type(error).__name__, error.errno, error.strerror, error.filename) == (
        cls,
        code,
        os.strerror(code),
        "/grid",
    )
    for other in (OSError("no code"), OSError(errno.ENOENT, "not there")):
        assert type(errors.os_failure(other, "cannot")) is errors.GridAccessError


def test_a_grid_that_cannot_be_made_where_nothing_can_be_is_not_found(tmp_path):
    with pytest.raises(gridflow.GridNotFoundError) as caught:
        gridflow.connect("/proc/nope")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "/proc/nope")
    (tmp_path / "file").touch()
    for call, code in (
        (lambda: gridflow.connect(tmp_path / "no", read_only=True), errno.ENOENT),
        (lambda: gridflow.connect(tmp_path / "file"), errno.EACCES),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == code and caught.value.filename.startswith(str(tmp_path))


@pytest.mark.parametrize("home", [5, b"x", 1.5, ["x"], object()], ids=repr)
@pytest.mark.parametrize("more", [{}, {"read_only": True}])
def test_what_is_no_path_is_a_usage_error(home, more):
    with pytest.raises(gridflow.UsageError, match="named by the path of its directory, not by"):
        gridflow.connect(home, **more)


@pytest.mark.parametrize("more", [{"embedded": True}, {"durability": "fsync"}], ids=repr)
def test_read_only_is_refused_beside_what_is_for_the_owner(tmp_path, more):
    with pytest.raises(gridflow.UsageError, match="read_only=True does not go with"):
        gridflow.connect(tmp_path, read_only=True, **more)


def test_an_old_name_that_is_imported_warns_once():
    for name in ("gridflow", "gridflow.errors"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            exec(f"from {name} import KeyNotFound", {})
        assert [str(w.message) for w in caught] == [f"{name}.KeyNotFound is deprecated: use {name}.KeyNotFoundError"]
        assert caught[0].filename == "<string>"
