"""Arrow columns as numpy arrays and as columns of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..schema import Type
from .python_columns import python_values


def numpy_columns(columns: Sequence[pa.ChunkedArray], types: Sequence[Type | None]) -> list[np.ndarray]:
    """Columns as arrays of one element for each row.

    Numbers, booleans and tensors have the dtype of their type, ``[rows, *shape]`` in the case of tensors; dates are
    ``datetime64[D]``, timestamps ``datetime64`` of their unit, in UTC where they have a time zone. Such a column is a
    ``numpy.ma.MaskedArray`` if it has a null. Everything else is an array of Python objects, None for a null.

    Args:
        columns: of any type, in few chunks as they may be.
        types: of the columns, as tables have them; None where only Arrow's is known.

    >>> numpy_columns([pa.chunked_array([[1, None, 3]]), pa.chunked_array([["A", None]])], [None, None])
    [masked_array(data=[1, --, 3],
                 mask=[False,  True, False],
           fill_value=999999), array(['A', None], dtype=object)]
    """
    return [_numpy(_whole(column), dtype) for column, dtype in zip(columns, types, strict=True)]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    # combine_chunks copies even a single one.
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _numpy(column: pa.Array, dtype: Type | None) -> np.ndarray:
    kind = column.type
    if isinstance(kind, pa.FixedShapeTensorType):
        values = _tensors(column, bool(dtype and dtype.element == "BOOL"))
    elif pa.types.is_primitive(kind) and not pa.types.is_time(kind) and not pa.types.is_interval(kind):
        values = _numbers(column)
    else:
        return _objects(python_values(column, dtype))
    if not column.null_count:
        return values
    missing = column.is_null().to_numpy(zero_copy_only=False)
    return np.ma.MaskedArray(
        values, np.broadcast_to(missing.reshape(-1, *[1] * (values.ndim - 1)), values.shape).copy()
    )


def _numbers(column: pa.Array) -> np.ndarray:
    """Numbers, booleans, dates and moments; a null is anything."""
    kind = column.type
    if not column.null_count:
        return column.to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(kind):
        return column.fill_null(False).to_numpy(zero_copy_only=False)
    # Arrow's own conversion makes floats of integers where there is a null.
    plain = pa.Array.from_buffers(kind, len(column), [None, column.buffers()[1]], 0, column.offset)
    return plain.to_numpy(zero_copy_only=False)


def _tensors(column: pa.ExtensionArray, of_booleans: bool) -> np.ndarray:
    storage, shape = column.storage, tuple(column.type.shape)
    size = int(np.prod(shape, dtype=np.int64))
    flat = storage.values.slice(storage.offset * size, len(storage) * size)
    numbers = _numbers(flat).reshape(len(storage), *shape)
    return numbers.view(np.bool_) if of_booleans else numbers


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    for i, value in enumerate(values):  # at once, numpy would look into lists
        array[i] = value
    return array


def data_frame(table: pa.Table, types: Sequence[Type | None]) -> Any:
    """Rows as a pandas DataFrame, as Arrow makes it; a tensor is a numpy array in its cell, a UUID a ``uuid.UUID``.

    Integers and booleans with a null among them have pandas' nullable dtypes, ``Int64``, ``boolean`` and so on: Arrow
    would make floats and objects of them.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd

    series = {}
    for i, (column, dtype) in enumerate(zip(table.columns, types, strict=True)):
        if isinstance(column.type, (pa.FixedShapeTensorType, pa.UuidType)):
            series[i] = pd.Series(python_values(column, dtype), dtype=object)
        else:
            nullable = column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))
            series[i] = column.to_pandas(types_mapper=_nullable_dtype if nullable else None)
    frame = pd.DataFrame(series)
    frame.columns = table.column_names
    return frame


def _nullable_dtype(kind: pa.DataType) -> Any:
    import pandas as pd

    name = "boolean" if pa.types.is_boolean(kind) else str(kind).replace("uint", "UInt").replace("int", "Int")
    return pd.api.types.pandas_dtype(name)
