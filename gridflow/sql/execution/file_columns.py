"""The columns of a file that COPY reads, and the columns of a table that they become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ...errors import ColumnNotFoundError, SchemaError, did_you_mean
from ...faces import TableFace
from ...schema import Column, Schema, Type
from ...storage.defaults import default_arrays
from ...storage.formats.source import CsvStyle, ReadOptions
from ...storage.input_columns import to_columns
from .rejects import Rejects


class FileColumns:
    """Which columns of a file go into which of a table.

    A column of the file goes into the table's column of the same name, exactly or but for case; one without a name
    goes into the next one of ``columns``. Columns that the file does not fill get their defaults.

    Args:
        table: the table.
        columns: the columns to fill, in order; all if there are none.
        keep_nulls: whether a missing value is null, even if the column has a default.
    """

    def __init__(self, table: TableFace, columns: Sequence[Column], *, keep_nulls: bool):
        self.table = table
        self.schema: Schema = table.schema
        self.columns = list(columns or self.schema.columns)
        self.are_listed = bool(columns)
        self.keep_nulls = keep_nulls
        self.defaults = default_arrays(self.schema, table.name)
        self._folded: dict[str, list[Column]] = {}
        for column in self.columns:
            self._folded.setdefault(column.name.upper(), []).append(column)

    def find(self, name: str) -> Column | None:
        """The table's column that the file's column of a name goes into."""
        near = self._folded.get(name.upper(), [])
        exact = [column for column in near if column.name == name]
        return exact[0] if exact else near[0] if len(near) == 1 else None

    def are_named(self, fields: list[str]) -> bool:
        """Whether the fields of a record are names of columns, each of another one."""
        columns = [self.find(field.strip()) for field in fields]
        return bool(columns) and None not in columns and len({c.name for c in columns if c is not None}) == len(columns)

    def options(self, path: Path, form: str, style: CsvStyle, rejects: Rejects | None) -> ReadOptions:
        """How to read a file so that its batches fit the table."""

        def type_of(name: str) -> Type | None:
            column = self.find(name)
            return column.type if column is not None else None

        def default(name: str) -> pa.Array | None:
            column = self.find(name)
            return None if column is None or self.keep_nulls else self.defaults.get(column.name)

        return ReadOptions(
            pick=lambda names: self._pick(names, path, form),
            expected=tuple(column.name for column in self.columns) if form == "json" else (),
            type_of=type_of,
            default=default,
            finish=self._finish,
            reject=None if rejects is None else lambda reject: rejects.add(path, reject),
            csv=style,
        )

    def _pick(self, names: list[str], path: Path, form: str) -> list[str]:
        """The columns of the file to read; refuses those that no column takes, unless the statement lists columns."""
        table = self.table.name
        where = "" if form == "json" else f"{path}: "  # the reader of JSON adds the path and the line
        picked: dict[str, str] = {}
        for name in names:
            column = self.find(name)
            if column is None:
                if self.are_listed:
                    continue
                hint = did_you_mean(name, self.schema.names)
                raise ColumnNotFoundError(
                    f"{where}table {table} has no column {name}; {hint}; INTO {table} (columns) leaves others out"
                )
            if column.name in picked.values():
                raise SchemaError(f"{path} has column {column.name} twice, once as {name}")
            picked[name] = column.name
        missing = [] if form == "json" else self._unfilled(set(picked.values()))
        for column in missing:
            raise ColumnNotFoundError(
                f"{path} has no column {column.name}; {did_you_mean(column.name, names)}", column=column.name
            )
        return list(picked)

    def _unfilled(self, names: set[str]) -> list[Column]:
        """The columns that need a value and get none."""
        if self.are_listed:
            return [column for column in self.columns if column.name not in names]
        return [c for c in self.schema.columns if c.name not in names | self.defaults.keys() and not c.type.nullable]

    def _finish(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of the file as one of the table."""
        arrays: dict[str, pa.Array] = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            column = self.find(name)
            assert column is not None  # _pick took it
            arrays[column.name] = array
        rows = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
        columns = to_columns(rows, self.schema, self.table.name)
        for array, column in zip(columns, self.schema.columns, strict=True):
            if array.null_count and not column.type.nullable:
                raise SchemaError(
                    f"table {self.table.name}, column {column}: a null is not allowed",
                    table=self.table.name,
                    column=column.name,
                )
        return pa.RecordBatch.from_arrays(columns, schema=self.schema.arrow())
