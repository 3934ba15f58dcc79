"""Runs the ``*.test`` files beside this one: SQL as text with the rows it must give, in sqllogictest's form.

    statement ok                 the statement works
    statement count 3            ... and changes that many rows
    statement error no table     it fails, and the message matches this regular expression
    query IRT rowsort            it gives these rows, a line a row, with tabs between the values
    SELECT ...
    ----
    1	0.500	one

A column is I (whole number), R (number, shown with three decimals) or T (anything, as text); rows are
compared in order, or sorted with ``rowsort``. Records are separated by empty lines; ``#`` starts a comment.
Each file runs on an empty grid: embedded, served by another process, and as an admin of it who is no owner.
"""

from __future__ import annotations

import decimal
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gridflow
from gridflow.server.guarded import GuardedGrid
from gridflow.sql import Session

USER = "one who tests"
#: Files that count users.
OF_USERS = ("system", "users")
FILES = sorted(Path(__file__).parent.glob("*.test"))
_HEADER = re.compile(r"(?P<kind>statement|query)\s+(?P<what>\S+)(?:\s+(?P<rest>.*))?")


@dataclass
class Record:
    """One statement and what it must do; ``place`` is its file and line."""

    kind: str
    what: str
    rest: str
    sql: str
    rows: list[str]
    place: str


def records(path: Path) -> list[Record]:
    """The records of a file."""
    result = []
    lines = path.read_text(encoding="utf-8").split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("#"):
            at += 1
            continue
        start = at
        while at < len(lines) and lines[at].strip():
            at += 1
        header = _HEADER.fullmatch(lines[start].rstrip())
        assert header, f"{path.name}:{start + 1}: not a record: {lines[start]}"
        body = lines[start + 1 : at]
        split = body.index("----") if "----" in body else len(body)
        sql, rows = "\n".join(body[:split]), [row.rstrip() for row in body[split + 1 :]]
        place = f"{path.name}:{start + 1}"
        result.append(Record(header["kind"], header["what"], header["rest"] or "", sql, rows, place))
    return result


def check(grid: Any, record: Record) -> None:
    """Run a record; fails with its place and what differs."""
    if record.kind == "statement" and record.what == "error":
        with pytest.raises(gridflow.GridflowError) as caught:
            grid.sql(record.sql)
            pytest.fail(f"{record.place} works, but should not: {record.sql}")
        assert re.search(record.rest, str(caught.value)), f"{record.place}: {caught.value}"
        return
    try:
        result = grid.sql(record.sql)
    except Exception as error:
        raise AssertionError(f"{record.place}: {record.sql}\n{type(error).__name__}: {error}") from error
    if record.kind == "statement":
        if record.what == "count":
            assert result.rowcount == int(record.rest), f"{record.place}: {result.rowcount} rows changed"
        return
    types = record.what
    rows = result.fetchall()
    assert len(result.columns) == len(types), f"{record.place}: columns are {result.columns}"
    found = ["\t".join(shown(v, t, record) for v, t in zip(row, types, strict=True)) for row in rows]
    wanted = record.rows
    if "rowsort" in record.rest:
        found, wanted = sorted(found), sorted(wanted)
    assert found == wanted, f"{record.place}: {record.sql}"


def shown(value: Any, kind: str, record: Record) -> str:
    """A value as the files have it."""
    if value is None:
        return "NULL"
    if kind == "I":
        assert type(value) in (int, bool), f"{record.place}: {value!r} is not a whole number"
        return str(int(value))
    if kind == "R":
        assert isinstance(value, (float, decimal.Decimal)), f"{record.place}: {value!r} is not a number"
        return f"{value:.3f}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.tolist()}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return str(value) or "(empty)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server_module = pytest.importorskip("gridflow.server")
    with server_module.ServerProcess(tmp_path_factory.mktemp("served") / "grid") as server:
        yield server


class AsUser:
    """A grid as a user of it sees it who is an admin: each name, right and statement is looked up."""

    def __init__(self, grid: gridflow.Grid):
        grid.sql(f'CREATE USER "{USER}"; GRANT ADMIN TO "{USER}"')
        self._session = Session(GuardedGrid(grid.open_grid, USER))

    def sql(self, text: str) -> Any:
        return self._session.execute(text)


@pytest.fixture(params=["embedded", "served", "user"])
def sql_grid(request, tmp_path):
    """An empty grid of this process, a client's view of one in another, or what a user of one sees."""
    served = request.param == "served"
    home = request.getfixturevalue("server").home if served else tmp_path / "grid"
    with gridflow.connect(home) as grid:
        assert grid.owner != served
        yield AsUser(grid) if request.param == "user" else grid
        assert grid.check() == []
        for name in grid.tables():
            grid.drop_table(name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file(sql_grid, path, tmp_path, monkeypatch):
    if isinstance(sql_grid, AsUser) and path.stem in OF_USERS:
        pytest.skip("there is one here")
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")  # where COPY reads and writes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # options without effect; see test_execute.py
        for record in records(path):
            check(sql_grid, record)
