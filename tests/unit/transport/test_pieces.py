"""A job on many machines writes a table: each task its share, and one commit publishes all of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gridflow
import gridflow.testing
from gridflow.errors import (
    DuplicateKeyError,
    GridCorruptError,
    GridNotFoundError,
    SchemaError,
    TableNotFoundError,
    UsageError,
)
from gridflow.transport import Piece, publish_pieces, shares_of, write_segments
from gridflow.transport.clone import clone
from gridflow.transport.place import Place
from gridflow.transport.prune import prune
from gridflow.transport.url_source import UrlSource

SCHEMA = gridflow.Schema.of({"ID": "LONG", "NAME": "VARCHAR", "X": "FLOAT"}, "ID")


def batch(ids: np.ndarray) -> pa.RecordBatch:
    return pa.record_batch(
        {"ID": ids, "NAME": [f"row {number}" for number in ids], "X": np.asarray(ids, np.float32) / 2}
    )


def written(url: str, shares: int, rows: pa.RecordBatch, **options: object) -> list[Piece]:
    """The pieces of all tasks."""
    which = shares_of(SCHEMA, rows, shares)
    return [
        write_segments(url, "T", SCHEMA, rows.filter(pa.array(which == share)), share=(share, shares), **options)
        for share in range(shares)
    ]


def cloned(url: str, folder: Path) -> pa.Table:
    clone(url, folder)
    gridflow.testing.verify(folder)
    with gridflow.connect(folder) as grid:
        return grid.sql("SELECT * FROM T ORDER BY ID").to_arrow()


def test_a_table_of_many_tasks(url, home):
    rows = batch(np.arange(5000))
    pieces = [pickle.loads(pickle.dumps(Piece.from_json(piece.to_json()))) for piece in written(url, 7, rows)]
    with pytest.raises(TableNotFoundError):  # nothing is seen before
        UrlSource(url).version("T")
    assert publish_pieces(url, "T", reversed(pieces), tag="job", partitions=64) == 1
    assert cloned(url, home / "clone")["NAME"].to_pylist() == rows["NAME"].to_pylist()
    assert publish_pieces(url, "T", pieces, tag="job", partitions=64) == 1  # the driver was started again
    with gridflow.connect(home / "clone") as grid:
        assert grid.table("T").partitions_count == 64
        grid.table("T").put(-1, {"NAME": "more", "X": 0.0})
        assert grid.table("T").publish(url) == 2
    assert UrlSource(url).version("T", "job").number == 1


def test_a_version_of_pieces_takes_the_place_of_what_was_there(url, home):
    with gridflow.testing.verified(home / "grid") as grid:
        table = grid.create_table("T", SCHEMA, key="ID")
        table.put_all((i, {"NAME": "before", "X": 0.0}) for i in range(10))
        table.publish(url)
    assert publish_pieces(url, "T", written(url, 2, batch(np.arange(100)))) == 2
    assert cloned(url, home / "clone").num_rows == 100


def test_shares_of_no_rows(url, home):
    assert publish_pieces(url, "T", written(url, 8, batch(np.arange(3)))) == 1
    assert cloned(url, home / "clone").num_rows == 3
    assert publish_pieces(url, "T", written(url, 3, batch(np.arange(0)))) == 2
    assert cloned(url, home / "none").num_rows == 0


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=50), st.integers(1, 1 << 20))
@settings(max_examples=50)
def test_a_share_is_a_partition_of_as_many(ids, shares):
    with gridflow.connect(":memory:") as grid:
        table = grid.create_table("T", {"ID": "LONG"}, key="ID", partitions=shares)
        assert shares_of({"ID": "LONG"}, {"ID": np.array(ids, np.int64)}, shares, key="ID").tolist() == [
            table.partition_of(number) for number in ids
        ]


def test_rows_of_another_share_are_refused(home):
    url = f"file://{home}/place"
    with pytest.raises(UsageError, match=r"\d+ of 100 rows do not belong to share 1 of 4"):
        write_segments(url, "T", SCHEMA, batch(np.arange(100)), share=(1, 4))
    for share in ((4, 4), (-1, 4), (0, 0), (0, 1 << 21), (True, 2)):
        with pytest.raises(UsageError):
            write_segments(url, "T", SCHEMA, batch(np.arange(100)), share=share)
    with pytest.raises(UsageError, match="key="):
        write_segments(url, "T", {"ID": "LONG"}, {"ID": [1]}, share=(0, 1))


def test_a_key_twice_is_refused(home):
    url = f"file://{home}/place"
    with pytest.raises(DuplicateKeyError, match="key 7 is there twice"):
        write_segments(url, "T", SCHEMA, [batch(np.array([1, 7])), batch(np.array([7]))], share=(0, 1))


def test_pieces_that_do_not_fit_together(home):
    url = f"file://{home}/place"
    rows = batch(np.arange(100))
    pieces = written(url, 4, rows)
    with pytest.raises(UsageError, match="there are no pieces"):
        publish_pieces(url, "T", [])
    with pytest.raises(UsageError, match="2 of 4 shares are missing: 1, 3"):
        publish_pieces(url, "T", [pieces[0], pieces[2]])
    with pytest.raises(UsageError, match="pieces of 4 and of 2 shares"):
        publish_pieces(url, "T", [*pieces, *written(url, 2, rows)])
    with pytest.raises(UsageError, match="is of table T, not of U"):
        publish_pieces(url, "U", pieces)
    with pytest.raises(UsageError, match="were not written to"):
        written(f"file://{home}/other", 1, rows)
        publish_pieces(f"file://{home}/other", "T", pieces)
    other = write_segments(url, "T", {"ID": "LONG", "Y": "INT"}, {"ID": np.arange(0)}, key="ID", share=(3, 4))
    with pytest.raises(SchemaError, match="different columns"):
        publish_pieces(url, "T", [*pieces[:3], other])
    with pytest.raises(SchemaError, match="partitions"):
        publish_pieces(url, "T", pieces, partitions=0)
    for text in ("", "{}", pieces[0].to_json().replace('"share": 0', '"share": 9'), pieces[0].to_json()[:-20]):
        with pytest.raises(GridCorruptError):
            Piece.from_json(text)


def test_a_task_that_ran_twice(home):
    url = f"file://{home}/place"
    rows = batch(np.arange(1000))
    pieces = written(url, 3, rows)
    again = written(url, 3, rows.take(pa.array(np.arange(999, -1, -1))))  # in another order
    assert publish_pieces(url, "T", [*pieces, again[1], pieces[2]]) == 1
    assert cloned(url, home / "clone").num_rows == 1000
    other = written(url, 3, batch(np.arange(1, 1000)))
    with pytest.raises(UsageError, match="was written twice, with different rows"):
        publish_pieces(url, "T", [*pieces, *other])


def test_pieces_that_a_prune_has_taken(home):
    url = f"file://{home}/place"
    pieces = written(url, 2, batch(np.arange(100)))
    assert prune(url, 1).files == 0
    prune(url, 1, grace=0)
    with pytest.raises(GridNotFoundError, match="run the task again"):
        publish_pieces(url, "T", pieces)
    assert Place(url).list("files") == [] and UrlSource(url).tables() == []


def test_pieces_that_are_published_again(url):
    """The same version, if all is the same; another tag, or other options, are not left out in silence."""
    pieces = written(url, 2, batch(np.arange(100)))
    assert [publish_pieces(url, "T", pieces) for _ in range(2)] == [1, 1]
    assert [publish_pieces(url, "T", pieces, tag="may") for _ in range(2)] == [2, 2]
    assert publish_pieces(url, "T", pieces, tag="june", options={"made": "by a job"}) == 3
    assert publish_pieces(url, "T", pieces, tag="may") == 2
    assert publish_pieces(url, "T", pieces, partitions=3) == 4
    with pytest.raises(UsageError, match="has the tag may"):
        publish_pieces(url, "T", pieces, tag="may", partitions=3)
    assert UrlSource(url).version("T").tags == {"may": 2, "june": 3}


def test_names_and_options_are_those_of_tables(home):
    url = f"file://{home}/place"
    pieces = written(url, 1, batch(np.arange(10)))
    for name in ("SYS.USERS", "", "T" * 300, "\ud800"):
        with pytest.raises(SchemaError):
            write_segments(url, name, SCHEMA, batch(np.arange(1)), share=(0, 1))
    for options in ({"sql": 5}, {"SYS.VERSIONS": {}}, {"x": object()}):
        with pytest.raises(UsageError):
            publish_pieces(url, "T", pieces, options=options)
    assert UrlSource(url).tables() == []
