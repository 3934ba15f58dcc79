"""Rows that a statement has worked out, handed to the table as one commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ..errors import DuplicateKeyError
from ..schema import Schema
from .result import python_values

#: So many rows at most go through the log; more are a bulk load, which writes a segment at once.
MOST_LOGGED = 2000
MOST_LOGGED_BYTES = 8 << 20

_locks: dict[tuple[str, str], threading.RLock] = {}
_locks_lock = threading.Lock()


@contextmanager
def changing(grid: Any, table: Any) -> Iterator[None]:
    """Keep other SQL statements of this process from changing the table meanwhile.

    What a statement read stays true until it commits, as far as SQL goes. ``put`` from another thread is not
    kept out: it lands before or after, row by row.
    """
    with _locks_lock:
        lock = _locks.setdefault((str(getattr(grid, "home", id(grid))), table.name), threading.RLock())
    with lock:
        yield


def key_and_value(schema: Schema, row: dict[str, Any]) -> tuple[Any, Any]:
    """A row of all columns as a key and a value as ``Table.put`` takes them."""
    key = row[schema.key[0]] if len(schema.key) == 1 else tuple(row[name] for name in schema.key)
    if schema.plain_value:
        return key, row.get("_VAL")
    return key, {column.name: row.get(column.name) for column in schema.value_columns}


def insert_rows(table: Any, rows: Sequence[tuple[Any, Any]]) -> int:
    """Insert (key, value) pairs: all, or none where a key is there already or twice.

    Raises:
        DuplicateKeyError: names the key.
        SchemaError: a value does not fit.
    """
    try:
        table.insert_all(rows)
    except DuplicateKeyError as error:
        raise DuplicateKeyError(f"{error}; MERGE INTO {table.name} writes over it") from None
    return len(rows)


def insert_arrow(table: Any, rows: pa.Table) -> int:
    """Insert rows of all columns, all or none."""
    if _is_small(rows):
        return insert_rows(table, pairs_of(table.schema, rows)) if rows.num_rows else 0
    try:
        table.load(rows, mode="insert")
    except DuplicateKeyError as error:
        raise DuplicateKeyError(f"{error}; MERGE INTO {table.name} writes over it") from None
    return rows.num_rows


def replace_arrow(table: Any, rows: pa.Table) -> int:
    """Write rows of all columns over what is there. Returns how many there were."""
    if not _is_small(rows):
        table.load(rows, mode="replace")
    elif rows.num_rows:
        table.put_all(pairs_of(table.schema, rows))
    return rows.num_rows


def _is_small(rows: pa.Table) -> bool:
    return rows.num_rows <= MOST_LOGGED and rows.nbytes <= MOST_LOGGED_BYTES


def pairs_of(schema: Schema, rows: pa.Table) -> list[tuple[Any, Any]]:
    """Arrow rows of all columns as (key, value) pairs."""
    names = rows.column_names
    columns = [python_values(rows.column(name), schema[name].type) for name in names]
    return [key_and_value(schema, dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
