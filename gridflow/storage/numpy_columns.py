"""Columns of numpy arrays and of sequences, as Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import SchemaError
from ..schema import Type, from_dtype


def from_numpy(values: Any, t: Type | None, where: str) -> pa.Array:
    """A numpy array (rows first) or a sequence as an Arrow array; numbers and tensors without a copy.

    Args:
        values: ``[rows, *shape]`` for a tensor, ``[rows]`` else; a sequence of arrays works too.
        t: the column's type, or None to take what the array is.
        where: begins the message if it does not fit.
    """
    try:
        if t is not None and t.kind == "TENSOR" and not isinstance(values, np.ndarray):
            if any(v is None for v in values):
                return _tensors_and_nulls(values, t, where)
            values = np.stack([np.asarray(v) for v in values]) if len(values) else np.empty((0, *t.shape), t.dtype)
        if not isinstance(values, np.ndarray):
            return pa.array(values, t.arrow() if t is not None else None)
        if values.dtype.kind == "O" or values.ndim == 1 and values.dtype.kind in "SU":
            return from_numpy(values.tolist(), t, where)
        values = native(values)
        if values.ndim == 1:
            return pa.array(values)
        if t is not None and t.kind == "LIST":
            return pa.array(values.tolist(), t.arrow())
        tensor = t if t is not None and t.kind == "TENSOR" else from_dtype(values.dtype, values.shape[1:])
        if values.shape[1:] != tensor.shape:
            raise SchemaError(f"shape {list(values.shape[1:])} of a row is not {list(tensor.shape)}")
        if values.dtype != tensor.dtype:
            if not np.can_cast(values.dtype, tensor.dtype, "safe"):
                raise SchemaError(f"dtype {values.dtype} does not fit {tensor.dtype}")
            values = values.astype(tensor.dtype)
        flat = np.ascontiguousarray(values).reshape(-1).view(tensor.arrow().value_type.to_pandas_dtype())
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=tensor.arrow())
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"{where}: {error}") from None


def native(values: np.ndarray) -> np.ndarray:
    """An array with its bytes in the machine's order, which is the only one that Arrow takes."""
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _tensors_and_nulls(values: Any, t: Type, where: str) -> pa.Array:
    blank = np.zeros(t.shape, t.dtype)
    full = from_numpy([blank if v is None else v for v in values], t, where)
    return pa.FixedSizeListArray.from_arrays(
        full.values, type=full.type, mask=pa.array([v is None for v in values], pa.bool_())
    )
