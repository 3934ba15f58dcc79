"""TFRecord files of ``tf.train.Example`` as Arrow batches.

The first records decide what column a feature becomes: a scalar where all have one value, a tensor where all have the
same number of values, else a list. A type of ``ReadOptions.type_of`` goes before: a bytes feature of one value fills a
tensor of as many bytes, and numbers are narrowed if they fit (``UINT8[28,28]`` of 784 integers); a text becomes a date,
a UUID, a nested value (of JSON).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..._native.formats import unframe
from ...errors import GridCorruptError, SchemaError, UsageError
from ...kinds import ByKind
from ...schema import FLOATS, SCALARS, Type
from ..cast import cast_column
from .examples import example_class
from .plain_values import Misfit, column_of_plain, value_text
from .source import ReadOptions, Source, chosen_columns, finish_batches

#: Records that are parsed together; the first so many decide the types.
BATCH_RECORDS = 1024
_BLOCK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_KINDS = {"int64_list": "INT64", "float_list": "FLOAT32", "bytes_list": "BINARY"}
_DTYPES = {"int64_list": np.dtype(np.int64), "float_list": np.dtype(np.float32), "bytes_list": np.dtype(object)}
#: Features of more values than this are copied one record at a time, by numpy.
_MANY = 16


def open_tfrecord(path: Path, options: ReadOptions) -> Source:
    """Start to read a file, gzipped or not. Without ``options.columns`` the first records tell the columns.

    Raises:
        UsageError: the file is empty or of another format.
        GridCorruptError: a record's checksum is wrong.
    """
    position = [0]
    groups = _records(path, options, position)
    first = next(groups, None)
    if first is None:
        raise UsageError(f"{path} has no records")
    parsed = _parse(path, first, 0)
    kinds, lengths = _look_at(path, parsed)
    names = chosen_columns(sorted(kinds), options, path)
    types = {n: options.type_of(n) or _guess(kinds[n], lengths[n]) for n in names}
    schema = pa.schema([(n, types[n].arrow()) for n in names])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        rest = (_parse(path, group, start) for group in groups)
        for features in itertools.chain([parsed], rest):
            columns = [_feature_column(path, features, start, n, kinds[n], types[n], options) for n in names]
            yield pa.record_batch(columns, schema=schema)
            start += len(features)

    return Source(
        types, schema, finish_batches(batches(), options, path), None, path.stat().st_size, lambda: position[0]
    )


def _records(path: Path, options: ReadOptions, position: list[int]) -> Iterator[list[bytes]]:
    """Serialized records, some at a time; keeps in ``position[0]`` how many bytes of the file have been read."""
    group: list[bytes] = []
    for records in _blocks_of_records(path, options, position):
        group += records
        while len(group) >= BATCH_RECORDS:
            yield group[:BATCH_RECORDS]
            group = group[BATCH_RECORDS:]
    if group:
        yield group


def _blocks_of_records(path: Path, options: ReadOptions, position: list[int]) -> Iterator[list[bytes]]:
    with path.open("rb") as raw:
        is_gzip = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        raw.seek(0)
        file: Any = pa.CompressedInputStream(pa.PythonFile(raw), "gzip") if is_gzip else raw
        rest, offset, needed_bytes, count = b"", 0, 0, 0
        while True:
            if needed_bytes > options.record_bytes:
                raise options.too_long(f"{path}, record {count}")
            try:
                block = file.read(max(_BLOCK_BYTES, needed_bytes - len(rest)))
            except OSError as error:
                raise GridCorruptError(f"{path}: {error}", str(path), raw.tell()) from None
            rest += block
            records, used, needed_bytes = unframe(rest)
            if needed_bytes < 0 or not block and used < len(rest):
                if offset + used == 0:
                    raise UsageError(f"{path} is no TFRecord file, or its first records are damaged")
                what = "the checksum of a record is wrong" if needed_bytes < 0 else "the last record is cut off"
                raise GridCorruptError(f"{path}: {what} at byte {offset + used}", str(path), offset + used)
            rest, offset, count = rest[used:], offset + used, count + len(records)
            position[0] = raw.tell()
            if records:
                yield records
            if not block:
                return


def _parse(path: Path, records: list[bytes], start: int) -> list[Any]:
    """The features of each record, by name."""
    example = example_class()
    result = []
    for number, record in enumerate(records, start):
        try:
            features = example.FromString(record).features.feature
        except Exception:  # protobuf's DecodeError has no fixed home
            features = None
        if not features:
            raise UsageError(f"{path}, record {number}: it is no tf.train.Example, or has no features")
        result.append(features)
    return result


def _look_at(path: Path, records: list[Any]) -> tuple[dict[str, str], dict[str, set[int]]]:
    """The kind of each feature, and the different numbers of values that records have of each."""
    kinds: dict[str, str] = {}
    lengths: dict[str, set[int]] = {}
    for number, features in enumerate(records):
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


def _feature_column(
    path: Path, records: list[Any], start: int, name: str, kind: str, t: Type, options: ReadOptions
) -> pa.Array:
    advice = options.advice.format(name)
    try:
        values, lengths, present = _values(records, name, kind)
        splits = np.concatenate([[0], np.cumsum(lengths)])
        return _column(values, splits, present, t)
    except (_FeatureMisfit, Misfit) as error:
        raise SchemaError(f"{path}, record {start + error.row}: feature {name} {error.why}{advice}") from None
    except pa.ArrowException as error:
        raise SchemaError(f"{path}, feature {name} as {t}: {error}") from None


def _values(records: list[Any], name: str, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All values of a feature one after the other, their number in each record, and which records have the feature."""
    values: list[Any] = []
    arrays: list[np.ndarray] = []
    lengths = np.zeros(len(records), np.int64)
    present = np.ones(len(records), bool)
    dtype = _DTYPES[kind]
    for row, features in enumerate(records):
        feature = features.get(name)
        record_kind = feature.WhichOneof("kind") if feature is not None else None
        if record_kind is None:
            present[row] = False
            continue
        if record_kind != kind:
            raise _FeatureMisfit(row, f"is a {record_kind}, before a {kind}")
        items = getattr(feature, kind).value
        lengths[row] = len(items)
        if len(items) > _MANY and kind != "bytes_list":
            arrays += [np.array(values, dtype), np.array(items, dtype)]
            values = []
        else:
            values += items
    last = np.array(values, dtype)
    return (np.concatenate([*arrays, last]) if arrays else last), lengths, present


class _FeatureMisfit(Exception):
    """A feature that does not fit the column: ``row`` counts from 0 in the batch, ``why`` goes on from its name."""

    def __init__(self, row: int, why: str):
        self.row, self.why = row, why


def _column(values: np.ndarray, splits: np.ndarray, present: np.ndarray, kind: Type) -> pa.Array:
    """The values of one feature as a column; ``splits``, int64[rows + 1], is where each row's values start."""
    return _COLUMNS[kind.kind](values, splits, present, kind)


def _json_column(values: np.ndarray, splits: np.ndarray, _: np.ndarray, kind: Type) -> pa.Array:
    lengths = np.diff(splits)
    _expect(lengths, 1)
    texts = iter(values)
    return column_of_plain([_json(next(texts), row) if n else None for row, n in enumerate(lengths)], kind)


def _list_column(values: np.ndarray, splits: np.ndarray, present: np.ndarray, kind: Type) -> pa.Array:
    if is_json(kind):
        return _json_column(values, splits, present, kind)
    items = _numbers(values, kind.children[0][1], splits)
    mask = None if present.all() else pa.array(~present)
    return pa.LargeListArray.from_arrays(pa.array(splits), items, type=kind.arrow(), mask=mask)


def _tensor_column(values: np.ndarray, splits: np.ndarray, _: np.ndarray, kind: Type) -> pa.Array:
    lengths = np.diff(splits)
    if values.dtype == object:  # the tensor's bytes as one string
        _expect(lengths, 1)
        return _raw_tensor(values, lengths == 1, kind)
    _expect(lengths, kind.size)
    present = lengths > 0
    full = np.zeros((len(lengths), kind.size), values.dtype)
    full[present] = values.reshape(-1, kind.size)
    flat = _numbers(full.reshape(-1), Type(kind.element), np.arange(len(lengths) + 1) * kind.size)
    flat = flat.cast(pa.uint8()) if kind.element == "BOOL" else flat
    mask = None if present.all() else pa.array(~present)
    return pa.FixedSizeListArray.from_arrays(flat, type=kind.arrow(), mask=mask)


def _scalar_column(values: np.ndarray, splits: np.ndarray, _: np.ndarray, kind: Type) -> pa.Array:
    lengths = np.diff(splits)
    _expect(lengths, 1)
    flat = _numbers(values, kind, splits)
    if (lengths == 1).all():
        return flat
    return flat.take(pa.array(np.where(lengths == 1, splits[:-1], 0), mask=lengths == 0))


_COLUMNS: ByKind[Callable[[np.ndarray, np.ndarray, np.ndarray, Type], pa.Array]] = ByKind(
    "columns of a TFRecord file",
    {
        **dict.fromkeys(SCALARS, _scalar_column),
        "TENSOR": _tensor_column,
        "LIST": _list_column,
        **dict.fromkeys(("STRUCT", "MAP"), _json_column),
    },
)


def _expect(lengths: np.ndarray, count: int) -> None:
    wrong = np.flatnonzero((lengths != count) & (lengths != 0))
    if len(wrong):
        raise _FeatureMisfit(int(wrong[0]), f"has {int(lengths[wrong[0]])} values where {count} were expected")


def is_json(kind: Type) -> bool:
    """Whether values of a nested type are JSON, since no list of a feature can hold them."""
    item = kind.children[0][1]
    return kind.kind != "LIST" or item.nullable or item.kind == "TENSOR" or bool(item.children)


def _json(text: bytes, row: int) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise _FeatureMisfit(row, f"holds {value_text(text)}, which is no JSON") from None


def _numbers(values: np.ndarray, t: Type, splits: np.ndarray) -> pa.Array:
    """Values as an array of a type.

    Raises:
        _FeatureMisfit: a value does not fit the type.
    """
    arrow = t.arrow()
    if values.dtype == object:
        if t.kind == "BINARY" or t.kind == "UUID":
            return pa.array(values, pa.large_binary()).cast(arrow)
        return _texts(values, t, splits)
    if values.dtype.kind == "f" and t.kind in FLOATS:
        return cast_column(pa.array(values), t, f"as {t.text()}")
    try:
        result = pa.array(values)
        return result.cast(pa.uint8() if pa.types.is_boolean(arrow) else arrow).cast(arrow)
    except pa.ArrowInvalid:
        narrow = arrow.to_pandas_dtype()
        with np.errstate(all="ignore"):
            wrong = np.flatnonzero(values.astype(narrow) != values)
        at = int(wrong[0]) if len(wrong) else 0
        row = int(np.searchsorted(splits, at, side="right")) - 1
        raise _FeatureMisfit(row, f"holds {values[at]}, which is no {t.text()}") from None


def _texts(values: np.ndarray, t: Type, splits: np.ndarray) -> pa.Array:
    try:
        texts = pa.array(values, pa.large_binary()).cast(pa.large_string())
        return texts if t.kind == "STRING" else column_of_plain(texts.to_pylist(), t)
    except Misfit as error:
        row = int(np.searchsorted(splits, error.row, side="right")) - 1
        raise _FeatureMisfit(row, error.why) from None


def _raw_tensor(values: np.ndarray, present: np.ndarray, kind: Type) -> pa.Array:
    dtype = kind.dtype.newbyteorder("<")
    row_bytes = kind.size * dtype.itemsize
    for row, value in zip(np.flatnonzero(present), values, strict=True):
        if len(value) != row_bytes:
            raise _FeatureMisfit(int(row), f"holds {len(value)} bytes where {row_bytes} were expected")
    full = np.zeros((len(present), row_bytes), np.uint8)
    if len(values):
        full[present] = np.frombuffer(b"".join(values), np.uint8).reshape(-1, row_bytes)
    flat = full.reshape(-1) if kind.element == "BOOL" else full.reshape(-1).view(dtype)
    mask = None if present.all() else pa.array(~present)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind.arrow(), mask=mask)
