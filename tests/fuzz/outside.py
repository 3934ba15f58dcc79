"""Files of other formats that are damaged, and what is done with them: loaded, and all that came of it read.

A sample makes a file, parts of which it has damaged before they are wrapped in checksums or compressed. Case n is of
sample n % len(samples), by seed n.
"""

from __future__ import annotations

import bz2
import datetime as dt
import decimal
import gzip
import io
import json
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mutations import mutated

import gridflow
from gridflow.schema import Type, from_arrow, parse_type
from gridflow.storage.formats.reading import open_source
from gridflow.storage.formats.source import ReadOptions

_ROWS = 40
_KEY = "ID"
#: Damages some bytes, with a chance; else gives them as they are.
Damage = Callable[[bytes, float], bytes]
Sample = Callable[[Damage], bytes]


def _arrow_table(rows: int = _ROWS) -> pa.Table:
    """Columns of every layout that Arrow has and a table takes."""
    ids = range(rows)
    texts = [None if i % 7 == 3 else f"text {i}, longer than a view holds itself" if i % 2 else f"t{i}" for i in ids]
    lists = [None if i % 11 == 5 else list(range(i % 4)) for i in ids]
    storage = pa.array([bytes([i]) * 16 for i in ids], pa.binary(16))
    tensor = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(rows * 4, dtype=np.uint8)), 4)
    columns = {
        _KEY: pa.array(ids, pa.int64()),
        "BOOL": pa.array([i % 3 == 0 if i % 5 else None for i in ids]),
        "F32": pa.array([i / 3 for i in ids], pa.float32()),
        "TEXT": pa.array(texts, pa.string()),
        "LARGE": pa.array(texts, pa.large_string()),
        "VIEW": pa.array(texts, pa.string_view()),
        "BYTES": pa.array([None if t is None else t.encode() for t in texts], pa.binary_view()),
        "BINARY": pa.array([None if t is None else t.encode() for t in texts], pa.large_binary()),
        "DICT": pa.array(texts, pa.string()).dictionary_encode(),
        "RUNS": pa.RunEndEncodedArray.from_arrays([rows // 2, rows], [1, 2]),
        "DECIMAL": pa.array([decimal.Decimal(i) / 4 for i in ids], pa.decimal128(9, 2)),
        "SMALL": pa.array([decimal.Decimal(i) for i in ids], pa.decimal64(9, 0)),
        "WIDE": pa.array([decimal.Decimal(10) ** (i % 30) for i in ids], pa.decimal256(38, 2)),
        "DAY": pa.array([dt.date(2020, 1, 1 + i % 28) for i in ids]),
        "DAY64": pa.array([dt.date(2020, 1, 1 + i % 28) for i in ids], pa.date64()),
        "CLOCK": pa.array([dt.time(i % 24, i) for i in ids], pa.time64("us")),
        "CLOCK32": pa.array([dt.time(i % 24, i) for i in ids], pa.time32("s")),
        "MOMENT": pa.array([dt.datetime(2020, 1, 1, i % 24) for i in ids], pa.timestamp("us")),
        "ZONED": pa.array([dt.datetime(2020, 1, 1, i % 24) for i in ids], pa.timestamp("ns", "UTC")),
        "NAME": pa.ExtensionArray.from_storage(pa.uuid(), storage),
        "TENSOR": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), (2, 2)), tensor),
        "LIST": pa.array(lists, pa.list_(pa.int32())),
        "VIEWS": pa.array(lists, pa.list_view(pa.int32())),
        "NESTED": pa.array([{"A": i, "B": [t] if t else None} for i, t in zip(ids, texts, strict=True)]),
        "MAP": pa.array([[(f"k{i}", i)] * (i % 3) for i in ids], pa.map_(pa.string(), pa.int64())),
        "NOTHING": pa.nulls(rows),
    }
    return pa.table(columns)


def _ipc(table: pa.Table, *, stream: bool = False, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=25)
    return sink.getvalue()


def _parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    left_out = [f.name for f in table.schema if pa.types.is_run_end_encoded(f.type) or f.name in ("VIEWS", "SMALL")]
    pq.write_table(table.drop_columns(left_out), sink, row_group_size=25, **options)
    return sink.getvalue()


def _plain_rows(table: pa.Table) -> list[dict[str, object]]:
    return [
        {
            _KEY: i, "TEXT": f"text {i}, \u00e9\u4e16\U0001f431", "N": None if i % 5 == 2 else -i * 10**15, "F": i / 7,
            "DEC": f"{i}.25", "DAY": f"2020-01-{1 + i % 28:02}", "FLAG": i % 2 == 0,
            "AT": f"2020-01-01T00:00:{i % 60:02}", "LIST": [i] * (i % 3), "TENSOR": [[i, 1], [2, 3]],
            "STRUCT": {"A": i, "B": "x"}, "MAP": [["k", i]], "UUID": str(uuid.UUID(int=i)), "BYTES": "QUJD",
        }
        for i in range(_ROWS)
    ]  # fmt: skip


_TYPES = {
    _KEY: "LONG", "TEXT": "VARCHAR", "N": "LONG", "F": "DOUBLE", "DEC": "DECIMAL(9,2)", "DAY": "DATE", "FLAG": "BOOL",
    "AT": "TIMESTAMP", "LIST": "LIST<INT32>", "TENSOR": "UINT8[2,2]", "STRUCT": "STRUCT<A INT64, B STRING>",
    "MAP": "MAP<STRING, INT64>", "UUID": "UUID", "BYTES": "BINARY",
}  # fmt: skip


#: Of columns whose types a file does not tell.
_OF_NAME = {"RUNS": parse_type("LONG"), "NOTHING": parse_type("VARCHAR")}


def _csv() -> bytes:
    rows = _plain_rows(_arrow_table())

    def field(value: object) -> str:
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text

    lines = [",".join(_TYPES), *(",".join(map(field, row.values())) for row in rows)]
    return "\n".join(lines).encode()


def _numbers_csv() -> bytes:
    """Plain fields, which the native reader takes."""
    return b"ID,A,B,C\n" + b"".join(b"%d,%d.5,text %d,%d\n" % (i, i, i, i * 3) for i in range(_ROWS))


def _json_lines() -> bytes:
    return "\n".join(json.dumps(row) for row in _plain_rows(_arrow_table())).encode()


def _json_array() -> bytes:
    return json.dumps(_plain_rows(_arrow_table()), indent=1, ensure_ascii=False).encode()


def _npz(damage: Damage, method: int) -> bytes:
    arrays = {
        _KEY: np.arange(_ROWS), "F": np.linspace(0, 1, _ROWS, dtype="f4"), "BIG": np.arange(_ROWS, dtype=">i4"),
        "T": np.zeros((_ROWS, 2, 2), "u1"), "S": np.array([f"s{i}" for i in range(_ROWS)]),
        "FLAG": np.arange(_ROWS) % 2 == 0, "DAY": np.arange(_ROWS).astype("M8[D]"),
        "B": np.array([b"x%d" % i for i in range(_ROWS)]),
    }  # fmt: skip
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array)
            archive.writestr(f"{name}.npy", damage(member.getvalue(), 1 / len(arrays)))
    return sink.getvalue()


def _tfrecord(damage: Damage) -> bytes:
    from gridflow._native.formats import frame
    from gridflow.storage.formats.examples import example_class

    records = []
    for i in range(_ROWS):
        example = example_class()()
        features = example.features.feature
        features[_KEY].int64_list.value.append(i)
        features["BOX"].float_list.value.extend([0.5, 1.5])
        features["RAW"].bytes_list.value.append(b"raw %d" % i)
        features["WORDS"].bytes_list.value.extend([b"w"] * (i % 3))
        records.append(damage(example.SerializeToString(), 0.1))
    return bytes(frame(records))


def _arrow_samples() -> dict[str, bytes]:
    table = _arrow_table()
    few = table.select([_KEY, "VIEW", "BYTES", "DICT", "RUNS", "VIEWS"])
    return {
        "whole.arrow": _ipc(table),
        "whole.arrows": _ipc(table, stream=True),
        "lz4.arrow": _ipc(table, compression="lz4"),
        "zstd.arrows": _ipc(table, stream=True, compression="zstd"),
        **{f"{name.lower()}.arrow": _ipc(table.select([_KEY, name])) for name in table.column_names[1:]},
        "few.arrows": _ipc(few, stream=True),
    }


def _parquet_samples() -> dict[str, bytes]:
    table = _arrow_table()
    return {
        "plain.parquet": _parquet(table, compression="none", use_dictionary=False),
        "snappy.parquet": _parquet(table),
        "zstd.parquet": _parquet(table, compression="zstd", data_page_version="2.0", write_page_checksum=True),
        "gzip.parquet": _parquet(table.select([_KEY, "TEXT", "LIST", "DECIMAL"]), compression="gzip"),
        "delta.parquet": _parquet(
            table.select([_KEY, "F32", "TEXT"]),
            use_dictionary=False,
            column_encoding={_KEY: "DELTA_BINARY_PACKED", "F32": "BYTE_STREAM_SPLIT", "TEXT": "DELTA_BYTE_ARRAY"},
        ),
    }


def _whole(data: bytes) -> Sample:
    return lambda damage: damage(data, 1)


def _zipped(data: bytes, compress: Callable[[bytes], bytes]) -> Sample:
    """Damaged before it is compressed or after."""
    return lambda damage: damage(compress(damage(data, 0.7)), 0.3)


_gzip = partial(gzip.compress, mtime=0)
SAMPLES: dict[str, Callable[[], dict[str, Sample]]] = {
    "arrow": lambda: {name: _whole(data) for name, data in _arrow_samples().items()},
    "parquet": lambda: {name: _whole(data) for name, data in _parquet_samples().items()},
    "csv": lambda: {
        "all.csv": _whole(_csv()),
        "plain.csv": _whole(_numbers_csv()),
        "all.csv.gz": _zipped(_csv(), _gzip),
        "plain.csv.bz2": _zipped(_numbers_csv(), bz2.compress),
    },
    "json": lambda: {
        "lines.jsonl": _whole(_json_lines()),
        "array.json": _whole(_json_array()),
        "lines.jsonl.gz": _zipped(_json_lines(), _gzip),
    },
    "npz": lambda: {
        "plain.npz": lambda damage: damage(_npz(damage, zipfile.ZIP_STORED), 0.3),
        "deflated.npz": lambda damage: damage(_npz(damage, zipfile.ZIP_DEFLATED), 0.3),
    },
    "tfrecord": lambda: {
        "plain.tfrecord": lambda damage: damage(_tfrecord(damage), 0.3),
        "zipped.tfrecord": lambda damage: damage(_gzip(_tfrecord(damage)), 0.3),
    },
}
_TEXTS = ("csv", "json", "npz")


@contextmanager
def cases(kind: str, folder: Path) -> Iterator[Callable[[int], None]]:
    """A function that makes case n and does with it all that can be done; of ``seeds`` four are of each file."""
    if kind == "seeds":
        files = sorted(path for path in (Path(__file__).parent / "seeds").iterdir() if path.suffix != ".md")
        with gridflow.connect(folder / "grid") as grid:
            yield lambda n: _use(grid, folder, "arrow", files[n // 4].name, files[n // 4].read_bytes(), n % 4)
        return
    samples = list(SAMPLES[kind]().items())
    with gridflow.connect(folder / "grid") as grid:
        for name, sample in samples:  # what is not damaged must be read
            for way in range(4):
                _use(grid, folder, kind, name, sample(lambda data, _: data), way)

        def attempt(number: int) -> None:
            random = Random(number)

            def damage(data: bytes, chance: float) -> bytes:
                return mutated(data, random, text=kind in _TEXTS) if random.random() < chance else data

            name, sample = samples[number % len(samples)]
            _use(grid, folder, kind, name, sample(damage), number // len(samples))

        yield attempt


def _use(grid: gridflow.Grid, folder: Path, kind: str, name: str, data: bytes, way: int) -> None:
    path = folder / name
    path.unlink(missing_ok=True)  # the one before may still be mapped
    path.write_bytes(data)
    try:
        if kind == "arrow" and way % 4 == 1:
            _load_arrow(grid, data)
        elif kind in ("csv", "json") and name.startswith(("all", "lines", "array")):
            grid.create_table("T", _TYPES, key=_KEY)
            grid.sql(f"COPY FROM '{path}' INTO T ON_DUPLICATE REPLACE{' ON_ERROR SKIP' * (way % 3 == 2)}")
        else:
            source = open_source(path, kind, ReadOptions(type_of=_OF_NAME.get))
            _create(grid, source.types)
            if way % 2:
                grid.sql(f"COPY FROM '{path}' INTO T FORMAT {kind} ON_DUPLICATE REPLACE")
            else:
                grid.table("T").load(source.batches)
        read_all(grid.table("T"))
    finally:
        if "T" in grid:
            grid.drop_table("T")


def _create(grid: gridflow.Grid, types: dict[str, Type]) -> None:
    key = _KEY if _KEY in types else next(iter(types), _KEY)
    grid.create_table("T", types, key=key)


def _load_arrow(grid: gridflow.Grid, data: bytes) -> None:
    """What a user reads with pyarrow and gives to a table, as batches, a table or single columns."""
    try:
        reader = pa.ipc.open_file(data) if data.startswith(b"ARROW1") else pa.ipc.open_stream(data)
        table = reader.read_all()
        types = {f.name: _OF_NAME.get(f.name) or from_arrow(f.type) for f in table.schema}
    except (pa.ArrowException, OSError, EOFError, MemoryError, UnicodeDecodeError) as error:
        raise gridflow.SchemaError(f"pyarrow: {error}") from None  # it was pyarrow that refused it, and not we
    _create(grid, types)
    grid.table("T").load(table)
    grid.table("T").load(dict(zip(table.column_names, table.columns, strict=True)), on_duplicate="replace")


def read_all(table: gridflow.Table) -> None:
    """Everything that is in a table, by all that reads it."""
    whole = table.to_arrow()
    whole.validate(full=True)
    rows = sum(batch.num_rows for batch in table.scan())
    assert rows == len(table) == whole.num_rows
    for key in whole[table.schema.key[0]].to_pylist()[:50]:
        assert table.get(key) is not None
    table.flush()
