"""TFRecord files of ``tf.train.Example`` as Arrow batches.

A feature becomes a column by what the first records hold: always one value, a scalar; always the same
number, a tensor; else a list. A type that was asked for comes first: a bytes feature of one value fills a
tensor of as many bytes, and numbers are narrowed if they fit (``UINT8[28,28]`` of 784 integers).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import GridCorruptError, SchemaError, UsageError
from ..schema import Type
from .readers import Options, Source, chosen_columns

#: Records that are parsed together; the first so many decide the types.
BATCH_RECORDS = 1024
_KINDS = {"int64_list": "INT64", "float_list": "FLOAT32", "bytes_list": "BINARY"}
#: A record's length and its two checksums.
_FRAME_BYTES = 16


def open_tfrecord(path: Path, options: Options) -> Source:
    """Start to read a file, gzipped or not. Without ``options.columns``: all features of the first records.

    Raises:
        UsageError: the file is empty or holds something else.
        GridCorruptError: a record's checksum is wrong.
    """
    done = [0]
    groups = _records(path, done)
    first = next(groups, None)
    if first is None:
        raise UsageError(f"{path} has no records")
    kinds, lengths = _look_at(path, first)
    names = chosen_columns(sorted(kinds), options, path)
    types = {n: options.wanted(n) or _guess(kinds[n], lengths[n]) for n in names}
    schema = pa.schema([(n, types[n].arrow()) for n in names])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for group in itertools.chain([first], groups):
            yield _parse(path, group, start, {n: kinds[n] for n in names}, types, schema)
            start += len(group)

    return Source(types, schema, batches(), None, path.stat().st_size, lambda: done[0])


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its start-up remarks would tear the progress bar
    import tensorflow as tf

    return tf


def _records(path: Path, done: list[int]) -> Iterator[np.ndarray]:
    """Groups of serialized records, as arrays of bytes objects."""
    tf = _tensorflow()
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    data = tf.data.TFRecordDataset(str(path), compression_type="GZIP" if gzipped else "")
    try:
        for group in data.batch(BATCH_RECORDS).as_numpy_iterator():
            yield group
            done[0] = path.stat().st_size if gzipped else done[0] + sum(len(r) + _FRAME_BYTES for r in group)
    except tf.errors.DataLossError as error:
        if done[0] == 0:
            raise UsageError(f"{path} is no TFRecord file, or its first records are damaged") from None
        raise GridCorruptError(f"{path}: {error.message}", str(path), done[0]) from None


def _look_at(path: Path, records: np.ndarray) -> tuple[dict[str, str], dict[str, set[int]]]:
    """Which list each feature is, and how many values the records have in it."""
    tf = _tensorflow()
    kinds: dict[str, str] = {}
    lengths: dict[str, set[int]] = {}
    for number, record in enumerate(records):
        try:
            features = tf.train.Example.FromString(record).features.feature
        except Exception:  # protobuf's DecodeError has no fixed home
            features = None
        if not features:
            raise UsageError(f"{path}, record {number}: it is no tf.train.Example, or has no features")
        for name, feature in features.items():
            kind = feature.WhichOneof("kind")
            if kind is None:
                continue  # an empty feature: missing
            if kinds.setdefault(name, kind) != kind:
                raise SchemaError(f"{path}, record {number}: feature {name} is a {kind}, before a {kinds[name]}")
            lengths.setdefault(name, set()).add(len(getattr(feature, kind).value))
        for name in kinds:
            if name not in features or features[name].WhichOneof("kind") is None:
                lengths[name].add(0)
    return kinds, lengths


def _guess(kind: str, lengths: set[int]) -> Type:
    item = Type(_KINDS[kind])
    if lengths <= {0, 1}:
        return item
    present = lengths - {0}
    if len(present) == 1 and kind != "bytes_list":
        return Type("TENSOR", element=item.kind, shape=(present.pop(),))
    return Type("LIST", children=(("item", item.not_null()),))


def _parse(
    path: Path,
    records: np.ndarray,
    start: int,
    kinds: dict[str, str],
    types: dict[str, Type],
    schema: pa.Schema,
) -> pa.RecordBatch:
    tf = _tensorflow()
    dtypes = {"int64_list": tf.int64, "float_list": tf.float32, "bytes_list": tf.string}
    # Ragged whatever the type: only so is a missing feature told from one that holds a default.
    spec = {n: tf.io.RaggedFeature(dtypes[kind], row_splits_dtype=tf.int64) for n, kind in kinds.items()}
    try:
        parsed = tf.io.parse_example(records, spec)
    except tf.errors.InvalidArgumentError as error:
        raise SchemaError(f"{path}, records {start} to {start + len(records) - 1}: {error.message}") from None
    columns = []
    for name, kind in types.items():
        ragged = parsed[name]
        try:
            columns.append(_column(ragged.flat_values.numpy(), ragged.row_splits.numpy(), kind))
        except _Misfit as error:
            raise SchemaError(
                f"{path}, record {start + error.row}: feature {name} {error.why}, which is no {kind}; "
                f"give it another type with --type {name}=TYPE"
            ) from None
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SchemaError(f"{path}, feature {name} as {kind}: {error}") from None
    return pa.record_batch(columns, schema=schema)


class _Misfit(Exception):
    def __init__(self, row: int, why: str):
        self.row, self.why = row, why


def _column(values: np.ndarray, splits: np.ndarray, kind: Type) -> pa.Array:
    """The values of one feature as a column. ``splits``: int64[rows + 1], where each row's values start."""
    lengths = np.diff(splits)
    if kind.kind == "LIST":
        item = kind.children[0][1].arrow()
        return pa.LargeListArray.from_arrays(pa.array(splits), _numbers(values, item, splits), type=kind.arrow())
    if kind.kind == "TENSOR":
        if values.dtype == object:  # the tensor's bytes as one string
            _expect(lengths, 1)
            return _raw_tensor(values, lengths == 1, kind)
        _expect(lengths, kind.size)
        item_type = kind.arrow().value_type
        present = lengths > 0
        full = np.zeros((len(lengths), kind.size), values.dtype)
        full[present] = values.reshape(-1, kind.size)
        flat = _numbers(full.reshape(-1), item_type, splits)
        mask = None if present.all() else pa.array(~present)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind.arrow(), mask=mask)
    if kind.kind in ("STRUCT", "MAP"):
        raise pa.ArrowTypeError("a feature holds a scalar, a list or a tensor")
    _expect(lengths, 1)
    flat = _numbers(values, kind.arrow(), splits)
    if (lengths == 1).all():
        return flat
    return flat.take(pa.array(np.where(lengths == 1, splits[:-1], 0), mask=lengths == 0))


def _expect(lengths: np.ndarray, count: int) -> None:
    wrong = np.flatnonzero((lengths != count) & (lengths != 0))
    if len(wrong):
        raise _Misfit(int(wrong[0]), f"has {int(lengths[wrong[0]])} values")


def _numbers(values: np.ndarray, arrow: pa.DataType, splits: np.ndarray) -> pa.Array:
    """Values as an Arrow type, checked: a number that does not fit is an error."""
    if values.dtype == object:
        result = pa.array(values, pa.large_binary())
        return result if arrow == pa.large_binary() else result.cast(arrow)
    try:
        result = pa.array(values)
        return result.cast(pa.uint8() if pa.types.is_boolean(arrow) else arrow).cast(arrow)
    except pa.ArrowInvalid:
        narrow = arrow.to_pandas_dtype()
        with np.errstate(all="ignore"):
            wrong = np.flatnonzero(values.astype(narrow) != values)
        at = int(wrong[0]) if len(wrong) else 0
        row = int(np.searchsorted(splits, at, side="right")) - 1
        raise _Misfit(row, f"holds {values[at]}") from None


def _raw_tensor(values: np.ndarray, present: np.ndarray, kind: Type) -> pa.Array:
    dtype = kind.dtype.newbyteorder("<")
    wanted = kind.size * dtype.itemsize
    for row, value in zip(np.flatnonzero(present), values, strict=True):
        if len(value) != wanted:
            raise _Misfit(int(row), f"holds {len(value)} bytes where {wanted} were expected")
    full = np.zeros((len(present), wanted), np.uint8)
    if len(values):
        full[present] = np.frombuffer(b"".join(values), np.uint8).reshape(-1, wanted)
    flat = full.reshape(-1) if kind.element == "BOOL" else full.reshape(-1).view(dtype)
    mask = None if present.all() else pa.array(~present)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind.arrow(), mask=mask)
