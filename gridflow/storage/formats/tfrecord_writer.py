"""Arrow batches as TFRecord files of ``tf.train.Example``.

| column | feature |
|---|---|
| BOOL, INT8 to UINT64 | int64_list; a UINT64 from 2^63 does not fit |
| FLOAT16, FLOAT32, FLOAT64 | float_list, which has 32 bits |
| STRING, BINARY | bytes_list |
| a tensor of UINT8, BOOL, FLOAT64, UINT64 | bytes_list with its bytes, as tf.io.decode_raw takes them |
| another tensor | the list of its numbers |
| a LIST of scalars that are not null | a list of as many |
| UUID | its 16 bytes; DECIMAL, dates and times as text, other nested values as JSON |

A null is a feature that the Example lacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..._native.formats import frame
from ...errors import SchemaError
from ...kinds import ByKind, Refused
from ...schema import FLOATS, INTEGERS, NESTED, Type
from ..arrow_to_python import to_python
from .examples import example_class
from .plain_values import plain_column
from .tfrecord import is_json

_BATCH_ROWS = 1024
#: Elements of the tensors that are written as their bytes.
_RAW = ("UINT8", "BOOL", "FLOAT64", "UINT64")
#: The name of a feature's list, and the values of each row; None for a null.
_Feature = tuple[str, list[Any]]


class TFRecordWriter:
    """Writes one Example for each row."""

    def __init__(self, file: Any, schema: pa.Schema, types: Sequence[Type | None]):
        self.file, self.names, self.types = file, schema.names, types

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            self.file.write(frame(self._records(part)))

    def _records(self, batch: pa.RecordBatch) -> list[bytes]:
        example = example_class()
        columns = zip(self.names, batch.columns, self.types, strict=True)
        features = [(name, *_feature(column, t)) for name, column, t in columns]
        records = []
        for row in range(batch.num_rows):
            message = example()
            target = message.features.feature
            for name, kind, values in features:
                value = values[row]
                if value is None:
                    continue
                feature_list = getattr(target[name], kind)
                try:
                    feature_list.value.extend(value)
                except (ValueError, TypeError):
                    raise SchemaError(f"column {name}: {value[0]} does not fit the 64 bits of an int64_list") from None
                if not len(value):
                    feature_list.SetInParent()  # sets an empty list; a null is not set
            records.append(message.SerializeToString())
        return records

    def close(self) -> None:
        """Write the end of the format."""
        self.file.close()


def _feature(array: pa.Array, t: Type | None) -> _Feature:
    if t is None:
        return "bytes_list", [None if v is None else [str(v).encode()] for v in to_python(array)]
    return _FEATURES[t.kind](array, t)


def _texts(array: pa.Array, t: Type) -> _Feature:
    return "bytes_list", [None if v is None else [v.encode()] for v in plain_column(array, t)]


def _json(array: pa.Array, t: Type) -> _Feature:
    texts = (None if v is None else json.dumps(v, ensure_ascii=False) for v in plain_column(array, t))
    return "bytes_list", [None if text is None else [text.encode()] for text in texts]


def _values(array: pa.Array, t: Type) -> _Feature:
    kind, convert = _scalar(t)
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    return kind, [None if v is None else [convert(v)] for v in to_python(storage)]


def _lists(array: pa.Array, t: Type) -> _Feature:
    if is_json(t):
        return _json(array, t)
    kind, convert = _scalar(t.children[0][1])
    return kind, [None if v is None else [convert(x) for x in v] for v in to_python(array)]


def _scalar(t: Type) -> tuple[str, Callable[[Any], Any]]:
    """The name of the list for such values, and the function that converts one for the list."""
    entry = _LISTS[t.kind]
    assert not isinstance(entry, Refused), "is_json and _FEATURES keep it from here"
    return entry


def _tensors(array: pa.Array, t: Type) -> _Feature:
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    size = t.size
    flat = storage.values.slice(storage.offset * size, len(storage) * size)
    if flat.null_count:  # only under rows that are null themselves
        flat = flat.fill_null(0)
    numbers = np.ascontiguousarray(flat.to_numpy(zero_copy_only=False)).reshape(len(storage), size)
    raw = t.element in _RAW
    kind = "bytes_list" if raw else "float_list" if t.element in FLOATS else "int64_list"
    if kind == "float_list":
        numbers = numbers.astype(np.float32)
    rows = [[row.tobytes()] if raw else row for row in numbers]
    valid = storage.is_valid().to_pylist()
    return kind, [row if ok else None for row, ok in zip(rows, valid, strict=True)]


def _bytes_of(value: Any) -> bytes:
    return value if isinstance(value, bytes) else value.bytes


_LISTS: ByKind[tuple[str, Callable[[Any], Any]] | Refused] = ByKind(
    "lists of a TFRecord file",
    {
        **dict.fromkeys(("BOOL", *INTEGERS), ("int64_list", int)),
        **dict.fromkeys(FLOATS, ("float_list", float)),
        **dict.fromkeys(("BINARY", "UUID"), ("bytes_list", _bytes_of)),
        **dict.fromkeys(("STRING", "DECIMAL", "DATE", "TIME", "TIMESTAMP"), ("bytes_list", lambda v: str(v).encode())),
        **dict.fromkeys(("TENSOR", *NESTED), Refused("it is more than one value: in a list it is JSON")),
    },
)
_FEATURES: ByKind[Callable[[pa.Array, Type], _Feature]] = ByKind(
    "features of a TFRecord file",
    {
        **dict.fromkeys(("BOOL", *INTEGERS, *FLOATS, "STRING", "BINARY", "UUID"), _values),
        **dict.fromkeys(("DECIMAL", "DATE", "TIME", "TIMESTAMP"), _texts),
        **dict.fromkeys(NESTED, _json),
        "LIST": _lists,
        "TENSOR": _tensors,
    },
)
