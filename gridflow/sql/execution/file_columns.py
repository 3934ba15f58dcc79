"""The columns of a file that COPY reads, and the table's columns that they become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import ColumnNotFound, SchemaError, did_you_mean
from ...faces import TableFace
from ...schema import Column, Schema, Type
from ...storage.arrow import to_columns
from ...storage.cast import cast_column
from ...storage.formats.source import CsvStyle, ReadOptions
from ...storage.python_columns import arrow_column
from ..binding.filling import defaults_of
from ..grammar.literals import constant, convert
from .rejects import Rejects


class FileColumns:
    """Which columns of a file go into which of a table.

    A column of the file goes into the one of the same name, exactly or but for its case; one without a name into the
    next one of ``columns``. What no column of the file fills gets its default.

    Args:
        table: the table.
        chosen: the columns to fill, in order; all if there are none.
        keep_nulls: whether a value that is missing is null, even where the column has a default.
    """

    def __init__(self, table: TableFace, chosen: Sequence[Column], *, keep_nulls: bool):
        self.table = table
        self.schema: Schema = table.schema
        self.columns = list(chosen or self.schema.columns)
        self.listed = bool(chosen)
        self.keep_nulls = keep_nulls
        self.defaults = {name: self._default(name, node) for name, node in defaults_of(table).items()}
        self._folded: dict[str, list[Column]] = {}
        for column in self.columns:
            self._folded.setdefault(column.name.upper(), []).append(column)

    def _default(self, name: str, node: Any) -> pa.Array:
        column = self.schema[name]
        found = constant(node)
        assert found is not None  # CREATE TABLE takes nothing else
        made = arrow_column([convert(found.get({}), column)], column.type)
        return cast_column(made, column.type, f"column {column}")

    def find(self, name: str) -> Column | None:
        """The column that one of the file's goes into."""
        near = self._folded.get(name.upper(), [])
        exact = [column for column in near if column.name == name]
        return exact[0] if exact else near[0] if len(near) == 1 else None

    def are_named(self, fields: list[str]) -> bool:
        """Whether the fields of a record are names of columns, each another one."""
        found = [self.find(field.strip()) for field in fields]
        return bool(found) and None not in found and len({c.name for c in found if c is not None}) == len(found)

    def options(self, path: Path, form: str, style: CsvStyle, rejects: Rejects | None) -> ReadOptions:
        """How to read a file so that its batches fit the table."""

        def wanted(name: str) -> Type | None:
            column = self.find(name)
            return column.type if column is not None else None

        def default(name: str) -> pa.Array | None:
            column = self.find(name)
            return None if column is None or self.keep_nulls else self.defaults.get(column.name)

        return ReadOptions(
            pick=lambda found: self._pick(found, path, form),
            expected=tuple(column.name for column in self.columns) if form == "json" else (),
            type_of=wanted,
            default=default,
            finish=self._finish,
            reject=None if rejects is None else lambda reject: rejects.add(path, reject),
            csv=style,
        )

    def _pick(self, found: list[str], path: Path, form: str) -> list[str]:
        """The columns of the file to read; refuses those that have no place, unless the statement lists some."""
        table = self.table.name
        where = "" if form == "json" else f"{path}: "  # its reader knows the line, too
        picked: dict[str, str] = {}
        for name in found:
            column = self.find(name)
            if column is None:
                if self.listed:
                    continue
                known = did_you_mean(name, self.schema.names)
                raise ColumnNotFound(
                    f"{where}table {table} has no column {name}; {known}; INTO {table} (columns) leaves others out"
                )
            if column.name in picked.values():
                raise SchemaError(f"{path} has column {column.name} twice, once as {name}")
            picked[name] = column.name
        missing = [] if form == "json" else self._unfilled(set(picked.values()))
        for column in missing:
            raise ColumnNotFound(f"{path} has no column {column.name}; {did_you_mean(column.name, found)}")
        return list(picked)

    def _unfilled(self, names: set[str]) -> list[Column]:
        """Columns that need a value and get none."""
        if self.listed:
            return [column for column in self.columns if column.name not in names]
        return [c for c in self.schema.columns if c.name not in names | self.defaults.keys() and not c.type.nullable]

    def _finish(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of the file as one of the table."""
        arrays: dict[str, pa.Array] = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            column = self.find(name)
            assert column is not None  # _pick took it
            arrays[column.name] = array
        for name, default in self.defaults.items():
            if name not in arrays:
                arrays[name] = default.take(pa.array([0] * batch.num_rows, pa.int32()))
        made = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
        columns = to_columns(made, self.schema, self.table.name)
        for array, column in zip(columns, self.schema.columns, strict=True):
            if array.null_count and not column.type.nullable:
                raise SchemaError(f"table {self.table.name}, column {column}: a null is not allowed")
        return pa.RecordBatch.from_arrays(columns, schema=self.schema.arrow())
