"""Rows that a statement has worked out, handed to the table as one commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ..._native.rows import RowCodec
from ...errors import DuplicateKeyError
from ...faces import GridFace, TableFace
from ...schema import Schema
from ...storage.input_columns import refuse_nulls
from ...storage.load import MOST_LOGGED, MOST_LOGGED_BYTES, with_remedy
from ...storage.python_columns import python_values

_locks: dict[tuple[str, str], threading.RLock] = {}
_locks_lock = threading.Lock()


@contextmanager
def changing(grid: GridFace, table: TableFace) -> Iterator[None]:
    """Keep other SQL statements of this process from changing the table meanwhile.

    What a statement read stays true until it commits, as far as SQL goes. ``put`` from another thread is not
    kept out: it lands before or after, row by row.
    """
    if grid.alone:  # the transaction holds the table itself; a wait here would turn the order of locks round
        yield
        return
    with _locks_lock:
        lock = _locks.setdefault((str(grid.home), table.name), threading.RLock())
    with lock:
        yield


def key_and_value(schema: Schema, row: dict[str, Any]) -> tuple[Any, Any]:
    """A row of all columns as a key and a value as ``Table.put`` takes them."""
    key = row[schema.key[0]] if len(schema.key) == 1 else tuple(row[name] for name in schema.key)
    if schema.plain_value:
        return key, row.get("_VAL")
    return key, {column.name: row.get(column.name) for column in schema.value_columns}


def insert_rows(table: TableFace, rows: Sequence[tuple[Any, Any]], codec: RowCodec | None = None) -> int:
    """Insert (key, value) pairs: all, or none where a key is there already or twice.

    Args:
        table: the table.
        rows: the pairs.
        codec: the codec that the table must still have, if there is only one row.

    Raises:
        DuplicateKeyError: names the key.
        SchemaError: a value does not fit.
    """
    try:
        if len(rows) != 1:
            table.insert_all(rows)
        elif not table.put_if_absent(*rows[0], codec):
            raise DuplicateKeyError(
                f"table {table.name} has a row under key {rows[0][0]!r} already", table=table.name, key=rows[0][0]
            )
    except DuplicateKeyError as error:
        raise with_remedy(error, _merge_instead(table)) from None
    return len(rows)


def load_rows(table: TableFace, rows: Iterator[dict[str, Any]], merge: bool) -> int:
    """Write many rows, given as dicts: those of an INSERT, or of a MERGE, over those under the same keys.

    Raises:
        DuplicateKeyError: of an INSERT; names the key.
        SchemaError: a value does not fit.
    """
    try:
        return table.load(rows, on_duplicate="replace" if merge else "error")
    except DuplicateKeyError as error:
        raise with_remedy(error, _merge_instead(table)) from None


def _merge_instead(table: TableFace) -> str:
    return f"; MERGE INTO {table.name} writes over it"


def insert_arrow(table: TableFace, rows: pa.Table) -> int:
    """Insert rows of all columns, all or none.

    Raises:
        DuplicateKeyError: names the key.
        SchemaError: a value does not fit.
    """
    try:
        return _insert_arrow(table, rows)
    except DuplicateKeyError as error:
        raise with_remedy(error, _merge_instead(table)) from None


def _insert_arrow(table: TableFace, rows: pa.Table) -> int:
    refuse_nulls(rows, table.schema, table.name)
    if not _is_small(rows):
        table.load(rows, on_duplicate="error")
    elif rows.num_rows:
        table._put_rows(rows, on_duplicate="error")
    return rows.num_rows


def replace_arrow(table: TableFace, rows: pa.Table) -> int:
    """Write rows of all columns, over those under the same keys. Returns how many rows it wrote."""
    refuse_nulls(rows, table.schema, table.name)
    if not _is_small(rows):
        table.load(rows, on_duplicate="replace")
    elif rows.num_rows:
        table._put_rows(rows, on_duplicate="replace")
    return rows.num_rows


def change_rows(table: TableFace, updated: pa.Table | None, inserted: pa.Table | None, removed: Sequence[Any]) -> None:
    """Write, insert and remove rows that a MERGE has worked out; those of ``updated`` exist.

    All of it is one commit if the table is a transaction's.

    Raises:
        DuplicateKeyError: a key of ``inserted`` is there, and is not removed, or comes twice; nothing is changed.
        SchemaError: a value does not fit; nothing is changed.
    """
    if inserted is not None and inserted.num_rows and updated is None and not removed:
        try:
            _insert_arrow(table, inserted)
        except DuplicateKeyError as error:
            raise with_remedy(error, "") from None
        return
    removed_keys = set(removed)
    replacements = [] if updated is None else [updated]
    if inserted is not None and inserted.num_rows:
        replacements.append(inserted)
        keys = keys_of_rows(table.schema, inserted)
        inserted_keys: set[Any] = set()
        for key in keys:
            if key in inserted_keys:
                raise DuplicateKeyError(f"table {table.name}: key {key!r} is given twice", table=table.name, key=key)
            inserted_keys.add(key)
        for key in table.get_all(key for key in keys if key not in removed_keys):
            raise DuplicateKeyError(
                f"table {table.name} has a row under key {key!r} already", table=table.name, key=key
            )
        removed_keys -= inserted_keys
    with table._savepoint():
        if removed_keys:
            table.remove_all(list(removed_keys))
        if replacements:
            replace_arrow(table, pa.concat_tables(replacements))


def keys_of_rows(schema: Schema, rows: pa.Table) -> list[Any]:
    """The keys of Arrow rows, as ``Table.get`` takes them."""
    columns = [python_values(rows.column(name), schema[name].type) for name in schema.key]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _is_small(rows: pa.Table) -> bool:
    return rows.num_rows <= MOST_LOGGED and rows.nbytes <= MOST_LOGGED_BYTES
