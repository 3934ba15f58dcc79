"""Bulk input of every kind, cut into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from .._native.rows import RowCodec
from ..deprecation import deprecated
from ..errors import (
    ColumnNotFoundError,
    DuplicateKeyError,
    SchemaError,
    UsageError,
    about,
    did_you_mean,
    reworded,
)
from ..schema import Schema
from .arrow_input import arrow_batches, check_array, checked_batches, has_arrow, has_columns, is_frame
from .numpy_columns import from_numpy

#: A load is cut into segments of about this many bytes, so that its own needs stay bounded.
SEGMENT_BYTES = 1 << 30
#: So many rows, and bytes, of one statement go through the log at most; more are written past it, as a load is.
MOST_LOGGED = 2000
MOST_LOGGED_BYTES = 8 << 20
#: Rows of dicts that are gathered before they become a segment.
ROWS_AT_ONCE = 1 << 18


#: What becomes of a row whose key is there already.
ON_DUPLICATE = ("error", "replace", "ignore")
_REMEDY = '; on_duplicate="replace" writes over it'
_OLD_MODES = {"insert": "error", "replace": "replace"}


def duplicates(on_duplicate: str, mode: str | None = None) -> str:
    """One of ON_DUPLICATE, as the caller of a caller has said it; ``mode`` is how that was said before.

    Raises:
        UsageError: it is none.
    """
    if mode is not None:
        if mode not in _OLD_MODES:
            raise UsageError(
                f"on_duplicate is {_listed()}; mode is its old name, and was replace or insert, not {mode!r}"
            )
        on_duplicate = _OLD_MODES[mode]
        deprecated(f'mode="{mode}"', f'on_duplicate="{on_duplicate}"', stacklevel=4)
    if on_duplicate not in ON_DUPLICATE:
        raise UsageError(f"on_duplicate is {_listed()}, not {on_duplicate!r}")
    return on_duplicate


def _listed() -> str:
    return f"{', '.join(ON_DUPLICATE[:-1])} or {ON_DUPLICATE[-1]}"


def with_remedy(error: DuplicateKeyError, remedy: str = _REMEDY) -> DuplicateKeyError:
    """The same error with what the user may do about it, instead of what ``load`` says; "" for nothing."""
    return reworded(error, str(error).removesuffix(_REMEDY) + remedy)


class Batches:
    """An iterable that is known to be one of record batches.

    Args:
        batches: the batches.
        sound: whether we made them, or have checked them already.
    """

    def __init__(self, batches: Iterator[Any], *, sound: bool = False):
        self.batches = batches
        self.sound = sound


def looked_at(data: Any) -> Any:
    """What was given to load; an iterable that begins with a record batch as ``Batches``, any other iterable whole."""
    known = (Batches, Mapping, str, bytes)
    if isinstance(data, known) or has_columns(data) or not isinstance(data, Iterable):
        return data
    items = iter(data)
    first = list(islice(items, 1))
    everything = chain(first, items)
    return Batches(everything) if first and isinstance(first[0], pa.RecordBatch) else everything


def record_batches(data: Any, schema: Schema, table: str) -> Iterator[pa.RecordBatch] | None:
    """The data as record batches that are sound; None if it is an iterable of dicts, which goes row by row.

    Raises:
        SchemaError: it is none of the kinds that can be loaded. While the batches are read: one is damaged.
    """
    where = f"table {table}"
    if isinstance(data, Batches):
        if data.sound:
            return data.batches
        return checked_batches(_only_batches(data.batches, table), where, of_caller=True)
    if is_frame(data):
        return checked_batches(arrow_batches(_from_pandas(data, schema, table), where), where)
    if has_arrow(data):
        return checked_batches(arrow_batches(data, where), where)
    if isinstance(data, Mapping):
        return iter([_from_mapping(data, schema, table)])
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        return None
    raise SchemaError(
        f"table {table}: a {type(data).__name__} cannot be loaded; give an Arrow table or batches, a DataFrame, "
        "a dict of numpy arrays, or an iterable of dicts"
    )


def row_batches(rows: Any, schema: Schema, table: str) -> Iterator[pa.RecordBatch]:
    """The rows given as columns to a table's ``_put_rows`` as record batches that are sound.

    Raises:
        SchemaError: as of ``record_batches``; or they are not given as columns.
    """
    batches = record_batches(looked_at(rows), schema, table)
    if batches is None:
        raise SchemaError(
            f"table {table}: rows as columns are an Arrow table or batches, a DataFrame, or a dict of numpy arrays; "
            "put_all takes keys and values, load takes dicts",
            table=table,
        )
    return batches


def _only_batches(items: Iterator[Any], table: str) -> Iterator[pa.RecordBatch]:
    for item in items:
        if not isinstance(item, pa.RecordBatch):
            raise SchemaError(f"table {table}: a {type(item).__name__} among record batches")
        yield item


def _from_mapping(data: Mapping[str, Any], schema: Schema, table: str) -> pa.RecordBatch:
    codec = RowCodec(schema, table)
    arrays = {name: _column(values, name, schema, codec) for name, values in data.items()}
    lengths = {name: len(a) for name, a in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise SchemaError(f"table {table}: columns of different lengths: {listed}")
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _column(values: Any, name: Any, schema: Schema, codec: RowCodec) -> pa.Array:
    if name not in schema:
        raise ColumnNotFoundError(
            f"table {codec.table} has no column {name}; {did_you_mean(str(name), schema.names)}",
            table=codec.table,
            column=str(name),
        )
    where = f"table {codec.table}, column {schema[name]}"
    with about(table=codec.table, column=name):
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            return _checked_column(values, where)
        if isinstance(values, np.ndarray) and values.dtype.kind in "OSU":
            values = values.tolist()
        if not isinstance(values, np.ndarray):
            values = list(values)
            codec.check_column(name, values)  # Arrow takes 1.5 for an integer, and more of the kind
        return from_numpy(values, schema[name].type, where)


def _checked_column(values: pa.Array | pa.ChunkedArray, where: str) -> pa.Array:
    before = 0
    for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
        check_array(chunk, where, before)
        before += len(chunk)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _from_pandas(frame: Any, schema: Schema, table: str) -> pa.Table:
    codec = RowCodec(schema, table)
    arrays = []
    for name in frame.columns:
        series = frame[name]
        if series.dtype == object:
            values = [None if missing else value for value, missing in zip(series, _missing(series), strict=True)]
            arrays.append(_column(values, str(name), schema, codec))
        else:
            try:
                arrays.append(pa.array(series, from_pandas=True))
            except pa.ArrowException as error:
                raise SchemaError(f"table {table}, column {name}: {error}", table=table, column=name) from None
    return pa.table(arrays, names=[str(name) for name in frame.columns])


def _missing(series: Any) -> list[bool]:
    """Pandas' nulls: None, NaN, NaT and NA. Not ``isna``, which looks into arrays."""
    return [value is None or type(value).__name__ in ("NaTType", "NAType") or _is_nan(value) for value in series]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def in_segments(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Groups batches into lists of about SEGMENT_BYTES."""
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        step = max(1, int(batch.num_rows * SEGMENT_BYTES / max(1, _plain_bytes(batch))))
        for start in range(0, batch.num_rows, step):
            part = batch.slice(start, step)
            part_bytes = _plain_bytes(part)
            if group and size + part_bytes > SEGMENT_BYTES:
                yield group
                group, size = [], 0
            group.append(part)
            size += part_bytes
    if group:
        yield group


def _plain_bytes(batch: pa.RecordBatch) -> int:
    """About the bytes of a batch as it lies in a segment: a run, or a word of a dictionary, may stand for many rows."""
    return sum(_column_bytes(column) for column in batch.columns)


def _column_bytes(array: pa.Array) -> int:
    if pa.types.is_dictionary(array.type):
        words = array.dictionary
        return len(array) * (words.nbytes // max(1, len(words)) + 8)
    if pa.types.is_run_end_encoded(array.type) or pa.types.is_null(array.type):
        return len(array) * 8
    return array.nbytes


def in_groups(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Groups rows into lists of ROWS_AT_ONCE."""
    rows = iter(rows)
    while group := list(islice(rows, ROWS_AT_ONCE)):
        yield group
