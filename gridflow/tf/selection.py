"""Evaluating a dataset's `where`, `order_by` and `weights` for kernels/ops, which knows rows but no SQL.

The op asks whenever it opens a version of the table that is new to it, handing over its plan, and gets a plan of the
rows that `where` leaves; or, where they are ordered or drawn by weight, the numbers that they have in its own.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from .._native.snapshot import RowPlan
from ..errors import (
    GridClosedError,
    GridCorruptError,
    GridflowError,
    GridNotFoundError,
    TableNotFoundError,
    UsageError,
    VersionNotFoundError,
)
from ..faces import GridFace, TableFace
from ..protocols.json_values import decode_values, encode_values
from ..registry import open_reader, owned_grid
from ..sql.execution.select_rows import Condition, look_for_rows, reads_more, select_rows
from ..storage.arrow import export_batch, user_schema
from ..storage.scan import positions_of, read_runs
from .ops import Selected

_MOST_ANSWERS = 4
_MOST_SOUND = 64
_lock = threading.Lock()  # guards _sound and _answers
_sound: set[Any] = set()  # conditions that nothing is wrong with
_answers: collections.OrderedDict[Any, RowPlan | Selected] = collections.OrderedDict()  # newest last


def condition_of(
    where: Any, params: Any, more: Sequence[tuple[str, Any]], order_by: Any, weights: Any, balance: Any
) -> Condition | None:
    """The condition that ``Dataset``'s arguments of these names are; for ``balance`` by the weights that it stands for.

    Args:
        more: further conditions, and their parameters.

    Returns:
        The condition; None for all rows, as they come.

    Raises:
        UsageError: an argument is no text, goes together with no other, or ``params`` are no parameters.
        SchemaError: a parameter is of a type that no column has.
    """
    parts = {"where": where, "order_by": order_by, "weights": weights, "balance": balance}
    texts = {name: text for name, text in parts.items() if text is not None}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise UsageError(f"{name} is SQL text, not {type(text).__name__}")
    if "balance" in texts:
        if "weights" in texts:
            raise UsageError("weights and balance both say how likely a row is: give one of them")
        weights = f"1.0 / COUNT(*) OVER (PARTITION BY {balance})"
    if weights is not None and order_by is not None:
        raise UsageError("rows that are drawn by weight have no order: leave order_by out")
    if where is None and params is not None:
        raise UsageError("params are values for the parameters of where=, which is missing")
    conditions = [*([] if where is None else [(where, params)]), *more]
    found = Condition(tuple((text, _params_text(values)) for text, values in conditions), order_by, weights)
    return None if found == Condition() else found


def _params_text(params: Any) -> str | None:
    """Parameters as JSON of ``json_values``, and in base64 the bytes that belong to it."""
    if params is None:
        return None
    if isinstance(params, str | bytes) or not isinstance(params, Mapping | Sequence | np.ndarray):
        raise UsageError(f"params is a {type(params).__name__}; give a list or tuple for ?, a dict for :name")
    head, body = encode_values(params)
    return json.dumps(head) + base64.b64encode(body).decode()


def _params_of(condition: Condition) -> list[Any]:
    """What ``_params_text`` was given, of each part of its ``where``."""
    return [None if text is None else _values(text) for _, text in condition.where]


def _values(text: str) -> Any:
    head, end = json.JSONDecoder().raw_decode(text)
    return decode_values(head, base64.b64decode(text[end:]))


def to_text(condition: Condition) -> str:
    """The op's ``selection`` input."""
    return json.dumps(dataclasses.asdict(condition))


def _of_text(text: str) -> Condition:
    parts = json.loads(text)
    return Condition(tuple(map(tuple, parts.pop("where"))), **parts)


def check(grid: GridFace, table: TableFace, condition: Condition) -> None:
    """Raise what is wrong with a condition, without reading the table."""
    question = (str(grid.home), table.name, table.schema, condition)
    if question in _sound:  # of a table that it names within, reading will find what has changed since
        return
    names = table.schema.names
    fields = user_schema(table.schema.columns)
    # The engine finds out that a parameter is of a wrong type when it has a row; of some types, a row with values.
    empty = fields.empty_table()
    nulls = pa.table([pa.nulls(1, field.type) for field in fields], names=names)
    zeros = pa.table([_zero(field.type) for field in fields], names=names)

    def read(rows: pa.Table) -> Callable[[Iterable[str]], pa.Table]:
        return lambda columns: rows.select([name for name in names if name in set(columns)])

    params = _params_of(condition)
    select_rows(grid, table, condition, params, read(empty))
    if condition.where:
        select_rows(grid, table, Condition(condition.where), params, read(nulls))
        try:
            select_rows(grid, table, Condition(condition.where), params, read(zeros))
        except GridflowError as error:  # what else is wrong is wrong with these values, which no row need have
            if "Unimplemented type for cast" in str(error):
                raise
    with _lock:
        if len(_sound) >= _MOST_SOUND:
            _sound.clear()
        _sound.add(question)


def _zero(dtype: pa.DataType) -> pa.Array:
    """An array of one value, 0 or an empty one; a null where that is not so simple."""
    if isinstance(dtype, pa.BaseExtensionType) or pa.types.is_nested(dtype):
        return pa.nulls(1, dtype)
    return pa.Array.from_buffers(dtype, 1, [None, *[pa.py_buffer(bytes(64))] * (dtype.num_buffers - 1)])


def select(directory: str, table: str, plan: RowPlan, text: str) -> tuple[int, str, RowPlan | Selected | None]:
    """The op's question: which rows of a plan does ``text`` mean?

    Returns:
        0, "" and the rows, as a plan or by their ordinals; or the code of a ``tf.errors.OpError``, a message and None.
    """
    try:
        selected = _select(Path(directory), table, plan, text)
    except GridflowError as error:
        codes = [
            (GridClosedError, tf.errors.ABORTED),  # asked again, it finds another way into the grid
            ((GridNotFoundError, TableNotFoundError), tf.errors.NOT_FOUND),
            (VersionNotFoundError, tf.errors.FAILED_PRECONDITION),
            (GridCorruptError, tf.errors.DATA_LOSS),
            (UsageError, tf.errors.INVALID_ARGUMENT),
        ]
        code = next((code for kind, code in codes if isinstance(error, kind)), tf.errors.INTERNAL)
        return code, f"rows of table {table} cannot be chosen: {error}", None
    except Exception as error:  # nothing may pass through C++
        return tf.errors.INTERNAL, f"rows of table {table} cannot be chosen: {error!r}", None
    return 0, "", selected


def _select(home: Path, name: str, plan: RowPlan, text: str) -> RowPlan | Selected:
    condition = _of_text(text)
    key = None if reads_more(name, condition) else _identity(plan, text)
    with _lock:
        answer = None if key is None else _answers.get(key)
    if answer is None:
        table = SimpleNamespace(name=name, schema=plan.snapshot.schema)
        with contextlib.ExitStack() as opened:
            grid = owned_grid(home) or opened.enter_context(open_reader(home))  # for queries in the condition
            answer = _rows_of(grid, table, condition, plan)
    if key is None:
        return answer
    with _lock:
        _answers[key] = answer
        _answers.move_to_end(key)
        while len(_answers) > _MOST_ANSWERS:
            _answers.popitem(last=False)
    return answer


def _identity(plan: RowPlan, text: str) -> Any:
    """What no other version has, nor one of a grid that is made anew in the same place, and what is asked of it.

    It says all that an answer depends on where no other table, and no other version of this one, is asked about.

    None: it is the current one no more, and its files, which it keeps mapped, have lost their names.
    """
    snapshot = plan.snapshot
    try:
        files = [os.stat(snapshot.path(i)) for i in range(len(snapshot.segments()))]
    except FileNotFoundError:
        return None
    identities = tuple((file.st_ino, file.st_mtime_ns) for file in files)
    return snapshot.version, snapshot.schema, identities, text, plan.partitions


def _rows_of(grid: GridFace, table: Any, condition: Condition, plan: RowPlan) -> RowPlan | Selected:
    """The rows of a plan that a condition means: read as they lie where only `where` is asked, else in their order."""
    is_plain = condition.order_by is None and condition.weights is None
    snapshot = plan.snapshot

    def read_extents(columns: Iterable[str]) -> list[pa.RecordBatch]:
        positions = sorted(positions_of(snapshot.schema, columns))
        return [
            export_batch(snapshot, segment, positions, begin // 8 * 8, begin + count)  # from a byte of bits on
            for segment, begin, count in plan.extents().tolist()
        ]

    def read(columns: Iterable[str]) -> pa.Table:
        positions = sorted(positions_of(snapshot.schema, columns))
        return read_runs(snapshot, positions, plan.lying_runs() if is_plain else plan.runs())

    params = _params_of(condition)
    bits = look_for_rows(grid, table, condition, params, read_extents)
    if bits is not None:
        return plan.chosen_by_bits(bits)
    numbers, weights = select_rows(grid, table, condition, params, read)
    return plan.chosen(numbers) if is_plain else Selected(numbers, weights)
