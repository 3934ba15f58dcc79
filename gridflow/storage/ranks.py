"""Ranks: values as numbers of 64 bits that rise as SQL orders the values; ``zones_format.h`` says which.

A rank follows from the key that the value has in an index. Where keys are bytes values of one rank may differ.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..schema import Type
from .index_keys import key_dtype, key_width, keys_of

LEAST, MOST = np.uint64(0), ~np.uint64(0)
_SIGN = 1 << 63
_BYTES = 8  # of a key that the rank tells


def is_exact(t: Type) -> bool:
    """Whether values of one rank are equal."""
    return key_dtype(t) is not None


def rank_of(key: int | bytes, t: Type) -> int:
    """The rank of a key.

    >>> rank_of(-1, Type("INT8")) < rank_of(0, Type("INT8")) == 1 << 63
    True
    >>> rank_of(b"abcdefgh", Type("STRING")) == rank_of(b"abcdefghi", Type("STRING"))
    True
    """
    if isinstance(key, bytes):
        return int.from_bytes(key[:_BYTES].ljust(_BYTES, b"\0"), "big")
    dtype = key_dtype(t)
    return key + _SIGN if dtype is not None and dtype.kind == "i" else key


def ranks_of(array: pa.Array, t: Type) -> tuple[np.ndarray, np.ndarray | None]:
    """The ranks of a column's values, uint64[n], and which are not null, bool[n], or None if all are.

    The rank of a null is any.
    """
    keys = keys_of(array, t)
    valid = keys.is_valid().to_numpy(zero_copy_only=False) if keys.null_count else None
    dtype = key_dtype(t)
    if dtype is not None:
        numbers = (keys.fill_null(0) if valid is not None else keys).to_numpy()
        if dtype.kind == "i":
            return numbers.astype(np.int64).view(np.uint64) ^ np.uint64(_SIGN), valid
        return numbers.astype(np.uint64), valid
    width = key_width(t)
    if width:
        words = np.frombuffer(keys.buffers()[1] or b"", ">u8").reshape(-1, width // _BYTES)
        return words[keys.offset : keys.offset + len(keys), 0].astype(np.uint64), valid
    return _ranks_of_bytes(keys), valid


def _ranks_of_bytes(keys: pa.Array) -> np.ndarray:
    offsets = np.frombuffer(keys.buffers()[1], "<i8")[keys.offset : keys.offset + len(keys) + 1]
    begins, sizes = offsets[:-1], np.minimum(np.diff(offsets), _BYTES)
    data = np.frombuffer(keys.buffers()[2] or b"", np.uint8)[: int(offsets[-1])]
    data = data[int(offsets[0]) :]
    padded = np.append(data, np.zeros(_BYTES, np.uint8))
    places = np.arange(_BYTES)
    letters = padded[np.minimum((begins - offsets[0])[:, None] + places, len(padded) - 1)]
    letters[places >= sizes[:, None]] = 0
    return letters.view(">u8").reshape(-1).astype(np.uint64)
