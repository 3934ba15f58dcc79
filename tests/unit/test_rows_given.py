"""Rows as users give them: DataFrames, readers that fail, defaults of new columns, and how many rows were written."""

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow.errors import SchemaError
from gridflow.server import ServerProcess


class Wrapped:
    """Data of another library's, by Arrow's interface only."""

    def __init__(self, data):
        self.data = data

    def __arrow_c_stream__(self, requested_schema=None):
        return self.data.__arrow_c_stream__(requested_schema)


def check_frames(grid):
    pandas = pytest.importorskip("pandas")
    table = grid.create_table("F", {"ID": "LONG", "X": "INT", "T": "FLOAT32[2]"}, key="ID")
    frame = pandas.DataFrame({"ID": [1, 2], "X": [1.0, float("nan")], "T": [np.zeros(2, np.float32), None]})
    table.load(frame)
    expected = table.to_arrow().sort_by("ID")
    for write in ("put_all", "_put_rows"):
        table.truncate()
        with_ids = {"on_duplicate": "ignore"} if write == "_put_rows" else {}
        getattr(table, write)(frame, **with_ids)
        assert table.to_arrow().sort_by("ID") == expected
        table.truncate()
        with grid.transaction() as transaction:
            getattr(transaction.table("F"), write)(frame, **with_ids)
        assert table.to_arrow().sort_by("ID") == expected
    assert table._put_rows({"ID": np.arange(3), "X": [1, None, 3]}, on_duplicate="replace") == 3
    for rows in ([{"ID": 1}], [5], 5, "text"):
        with pytest.raises(SchemaError):
            table._put_rows(rows)


def test_whoever_takes_rows_as_columns_takes_data_frames(grid):
    check_frames(grid)


def test_a_client_takes_data_frames(tmp_path):
    with ServerProcess(tmp_path / "grid"), gridflow.connect(tmp_path / "grid") as grid:
        check_frames(grid)


def test_the_error_of_a_generator_in_a_reader_is_the_users_or_short(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")

    class OwnError(Exception):
        pass

    def batches():
        yield pa.record_batch({"ID": [1]})
        raise OwnError("no more")

    def reader():
        return pa.RecordBatchReader.from_batches(pa.schema([("ID", pa.int64())]), batches())

    for write in (table.load, table._put_rows, table.put_all):
        with pytest.raises(OwnError, match="no more"):
            write(reader())
        with pytest.raises(SchemaError, match="OwnError: no more") as caught:
            write(Wrapped(reader()))
        assert len(str(caught.value)) < 250 and "Traceback" not in str(caught.value)
    assert len(table) == 0


def test_rows_that_are_there_have_the_default_of_a_new_column(grid):
    grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID").put(1, {"X": 1})
    grid.alter_table(
        "T", add={"N": "INT NOT NULL", "M": "INT", "F": "INT"}, defaults={"N": 5, "M": 6, "X": 7, "F": 8}, fill={"F": 9}
    )
    grid.alter_table("T", add={"O": "INT"}, defaults={"O": 5}, fill={"O": None})
    grid.table("T").put(2, {})
    assert grid.table("T").get(1) == {"X": 1, "N": 5, "M": 6, "F": 9, "O": None}
    assert grid.table("T").get(2) == {"X": 7, "N": 5, "M": 6, "F": 8, "O": 5}


def test_replace_counts_the_rows_that_were_given(grid, monkeypatch):
    monkeypatch.setattr("gridflow.storage.load.ROWS_AT_ONCE", 3)
    monkeypatch.setattr("gridflow.storage.load.SEGMENT_BYTES", 100)
    table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
    keys = [1, 1, 2, 3, 3, 1, 4, 5]
    columns = {"ID": np.array(keys), "X": np.arange(8)}
    for data in (columns, pa.table(columns), [{"ID": key} for key in keys]):
        assert table.load(data, on_duplicate="replace") == 8
        with grid.transaction() as transaction:
            assert transaction.table("T").load(data, on_duplicate="replace") == 8
    assert table._put_rows(columns, on_duplicate="replace") == 8
    table.truncate()
    assert table.load(columns, on_duplicate="ignore") == 5


def test_a_transaction_refuses_what_is_no_row_as_a_table_does(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    with pytest.raises(SchemaError, match="a row is a dict of columns, got int"):
        table.load([5])
    with (
        grid.transaction() as transaction,
        pytest.raises(SchemaError, match="a row is a dict of columns, got int"),
    ):
        transaction.table("T").load([5])
