"""Evaluating a dataset's `where`, `order_by` and `weights` for kernels/ops, which knows rows but no SQL.

The op asks whenever it opens a version of the table that is new to it, and gets the numbers of the rows.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import tensorflow as tf

from .._native.snapshot import Snapshot
from ..errors import (
    ColumnNotFound,
    GridClosedError,
    GridCorruptError,
    GridflowError,
    GridNotFound,
    SchemaError,
    SqlError,
    TableNotFound,
)
from ..registry import open_reader, owned_grid
from ..sql.execution.select_rows import Condition, select_rows
from ..storage.arrow import user_schema
from ..storage.scan import positions_of, scan_batches
from .ops import Selected

_KEPT = 4
_SOUND = 64
_lock = threading.Lock()  # guards what follows
_sound: set[Any] = set()  # conditions that nothing is wrong with
_found: collections.OrderedDict[Any, Selected] = collections.OrderedDict()  # newest last


def to_text(condition: Condition) -> str:
    """The op's ``selection`` input."""
    return json.dumps(dataclasses.asdict(condition))


def check(grid: Any, table: Any, condition: Condition) -> None:
    """Raise what is wrong with a condition, without reading the table."""
    question = (str(grid.home), table.name, table.schema, condition)
    if question in _sound:  # of a table that it names within, reading will find what has changed since
        return
    names = table.schema.names
    empty = user_schema(table.schema.columns).empty_table()
    select_rows(grid, table, condition, lambda columns: empty.select([name for name in names if name in set(columns)]))
    with _lock:
        if len(_sound) >= _SOUND:
            _sound.clear()
        _sound.add(question)


def select(
    directory: str, table: str, snapshot: Snapshot, text: str, partitions: list[int]
) -> tuple[int, str, Selected | None]:
    """The op's question: which rows of a version of a table, of these pairs of partitions, does `text` mean?

    Returns:
        0, "" and the rows; or the code of a ``tf.errors.OpError``, a message and None.
    """
    try:
        selected = _select(Path(directory), table, snapshot, text, partitions)
    except GridflowError as error:
        codes = [(GridClosedError, tf.errors.ABORTED)]  # asked again, it finds another way into the grid
        codes += [((GridNotFound, TableNotFound), tf.errors.NOT_FOUND), (GridCorruptError, tf.errors.DATA_LOSS)]
        codes += [((SqlError, ColumnNotFound, SchemaError), tf.errors.INVALID_ARGUMENT)]
        code = next((code for kind, code in codes if isinstance(error, kind)), tf.errors.INTERNAL)
        return code, f"rows of table {table} cannot be chosen: {error}", None
    except Exception as error:  # nothing may pass through C++
        return tf.errors.INTERNAL, f"rows of table {table} cannot be chosen: {error!r}", None
    return 0, "", selected


def _select(home: Path, name: str, snapshot: Snapshot, text: str, partitions: list[int]) -> Selected:
    key = _identity(snapshot, text, partitions)
    with _lock:
        found = None if key is None else _found.get(key)
    if found is None:
        ranges = _ranges(partitions) if partitions else [(0, snapshot.partitions)]
        seen = SimpleNamespace(name=name, schema=snapshot.schema)
        condition = Condition(**json.loads(text))
        with contextlib.ExitStack() as opened:
            grid = owned_grid(home) or opened.enter_context(open_reader(home))  # for queries in the condition
            found = Selected(*select_rows(grid, seen, condition, lambda columns: _read(snapshot, columns, ranges)))
    if key is None:
        return found
    with _lock:
        _found[key] = found
        _found.move_to_end(key)
        while len(_found) > _KEPT:
            _found.popitem(last=False)
    return found


def _identity(snapshot: Snapshot, text: str, partitions: list[int]) -> Any:
    """What no other version has, nor one of a grid that is made anew in the same place, and what is asked of it.

    None: it is the current one no more, and its files, which it keeps mapped, have lost their names.
    """
    try:
        files = [os.stat(snapshot.path(i)) for i in range(len(snapshot.segments()))]
    except FileNotFoundError:
        return None
    whose = tuple((file.st_ino, file.st_mtime_ns) for file in files)
    return snapshot.version, snapshot.schema, whose, text, tuple(partitions)


def _read(snapshot: Snapshot, columns: Iterable[str], ranges: list[tuple[int, int]]) -> pa.Table:
    """The live rows in the order of the op's plan: by segment, then by partition."""
    positions = sorted(positions_of(snapshot.schema, columns))
    schema = user_schema([snapshot.schema.columns[i] for i in positions])
    return pa.Table.from_batches(scan_batches(snapshot, positions, ranges, 1 << 62), schema=schema)


def _ranges(pairs: list[int]) -> list[tuple[int, int]]:
    """Pairs of partitions in order, without overlaps, as kernels/ops puts them."""
    ranges: list[tuple[int, int]] = []
    for begin, end in sorted(zip(pairs[::2], pairs[1::2], strict=True)):
        if begin == end:
            continue
        if ranges and begin <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((begin, end))
    return ranges
