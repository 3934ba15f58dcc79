"""Arrow data from outside: nothing of it is touched before all of it is what it says.

Offsets, views, indices and lengths lie within their buffers, texts are UTF-8, decimals have no more digits than their
type and times are of a day. pyarrow trusts what it reads and is given, and a damaged file would end the process, or
have its memory as rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from ..errors import GridflowError, SchemaError

_MOST_ROWS = (1 << 31) - 1


def is_frame(data: Any) -> bool:
    """Whether it is a pandas DataFrame, whose nulls and objects are read as pandas means them."""
    frame = getattr(sys.modules.get("pandas"), "DataFrame", None)  # another thread may be importing it just now
    return frame is not None and isinstance(data, frame)


def has_arrow(data: Any) -> bool:
    """Whether it gives its rows by Arrow's interface for other libraries, as polars, duckdb and our tables do."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def has_columns(data: Any) -> bool:
    """Whether it gives its rows as columns: by Arrow's interface, or as a DataFrame of pandas, old ones too."""
    return has_arrow(data) or is_frame(data)


def arrow_batches(data: Any, where: str) -> Iterable[pa.RecordBatch]:
    """The batches of what ``has_arrow``; not checked.

    Raises:
        SchemaError: it does not give rows of columns.
    """
    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, pa.RecordBatch):
        return [data]
    if isinstance(data, pa.Table):
        return _batches_of(data)
    try:
        return (
            pa.RecordBatchReader.from_stream(data) if hasattr(data, "__arrow_c_stream__") else [pa.record_batch(data)]
        )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SchemaError(f"{where}: a {type(data).__name__} gives no rows of columns: {_first_words(error)}") from None


def _batches_of(table: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from table.to_batches()  # where it is damaged, that is found here


def checked_batches(
    batches: Iterable[pa.RecordBatch], where: str, *, of_caller: bool = False
) -> Iterator[pa.RecordBatch]:
    """The batches, each checked in full before it is given.

    Args:
        batches: from outside; pyarrow may be reading them only now.
        where: begins the message of an error.
        of_caller: whether code of the caller's makes them, whose OSErrors say nothing of the data.

    Raises:
        SchemaError: a batch is damaged, or cannot be read; names the column and the row, counted from 1.
    """
    before = 0
    remaining = iter(batches)
    while True:
        try:
            batch = next(remaining, None)
        except GridflowError:
            raise
        except (pa.ArrowException, OSError) as error:
            if of_caller and not isinstance(error, pa.ArrowException):
                raise
            raise SchemaError(f"{where}: the data cannot be read after {before} rows: {_first_words(error)}") from None
        if batch is None:
            return
        check_batch(batch, where, before)
        yield batch
        before += batch.num_rows


def _first_words(error: Exception) -> str:
    """What an error of Arrow's says. One of Python's that came through its interface has the whole traceback in it."""
    text, _, traceback = str(error).partition(" Detail: Python exception:")
    return traceback.strip().splitlines()[-1] if traceback.strip() else text


def check_batch(batch: pa.RecordBatch, where: str, before: int = 0) -> None:
    """Raise a SchemaError unless a batch is sound; ``before`` is how many rows there are before it."""
    try:
        names = batch.schema.names
    except UnicodeDecodeError:
        raise SchemaError(f"{where}: the name of a column is not UTF-8") from None
    if batch.num_rows > _MOST_ROWS:  # runs and nulls take no bytes for them
        raise SchemaError(f"{where}: a batch says that it has {batch.num_rows} rows; it may have {_MOST_ROWS}")
    try:
        return batch.validate(full=True)
    except pa.ArrowException as error:
        problem = str(error)
    for name, array in zip(names, batch.columns, strict=True):
        check_array(array, f"{where}, column {name}", before)
    raise SchemaError(f"{where}: damaged Arrow data: {problem}")


def check_array(array: pa.Array, where: str, before: int = 0) -> None:
    """Raise a SchemaError unless an array is sound; else as ``check_batch``."""
    try:
        array.validate(full=True)
    except pa.ArrowException as error:
        row = _damaged_row(array)
        place = where if row is None else f"{where}, row {before + row + 1}"
        raise SchemaError(f"{place}: damaged Arrow data: {error}") from None


def _damaged_row(array: pa.Array) -> int | None:
    """The first row that is damaged; None if it is not the array's rows, but what they are made of."""
    begin, end = 0, len(array)
    if not _is_sound(array.slice(0, 0)):
        return None
    while end - begin > 1:
        middle = (begin + end) // 2
        if _is_sound(array.slice(begin, middle - begin)):
            begin = middle
        else:
            end = middle
    return begin if end > begin and not _is_sound(array.slice(begin, end - begin)) else None


def _is_sound(array: pa.Array) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowException:
        return False
    return True
