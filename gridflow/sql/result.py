"""The result of a statement."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex, overload

import numpy as np
import pyarrow as pa

from ..deprecation import deprecated
from ..schema import Type
from ..storage.arrow_to_numpy import data_frame, numpy_columns
from ..storage.python_columns import arrow_column, python_values

_warned: set[str] = set()
# Of a result as text: rows, characters of a cell, elements of a tensor.
_RENDERED_ROWS = 20
_CELL_WIDTH = 40
_CELL_ELEMENTS = 4
#: Rows that iteration turns into Python values at a time.
_FETCHED_ROWS = 4096
# Arrow type -> numpy type with no more digits, unlike Python's float.
_FLOATS = {pa.float32(): np.float32, pa.float16(): np.float16}


class Result:
    """The rows of a query, or how many rows a statement changed.

    Rows are Arrow data, often views of the grid's mapping, and become Python values when they are
    fetched: a tensor a numpy array of its shape, a UUID a ``uuid.UUID``, a DECIMAL a ``decimal.Decimal``, a
    DATE or TIMESTAMP a ``datetime`` (but in nanoseconds, or after the year 9999, a ``numpy.datetime64``). Rows
    read by key are Python values, and become Arrow when that is asked for.

    ``result[i]`` is a row, ``result[a:b]`` a list of rows. A result is immutable, and any thread may read it, but for
    ``fetchone``, which goes on where it stopped: one thread at a time calls that. Whatever takes Arrow data by its
    PyCapsule interface (Polars, DuckDB, pyarrow, ``Table.load``) takes a result.

    Attributes:
        rowcount: rows of a query; rows that were inserted, updated, merged or deleted.
        statement: the kind of statement: ``SELECT``, ``INSERT``, ``CREATE TABLE``, ...
        notes: remarks for the user; ``Grid.sql`` warns of each once in a process.
        skipped: how many lines COPY left out with ON_ERROR SKIP.

    >>> import pyarrow as pa
    >>> Result(pa.table({"ID": [1, 2], "NAME": ["WARM", None]}), statement="SELECT")
    ID | NAME
    ---+-----
     1 | WARM
     2 | NULL
    (2 rows)
    """

    # What ``of_values`` leaves as it is: a statement by key takes hardly longer than to set these.
    _rows: pa.Table | None = None
    statement: str = "SELECT"
    notes: tuple[str, ...] = ()
    skipped: int = 0
    _fetched: int = 0  # rows that fetchone has given

    def __init__(
        self,
        rows: pa.Table | None = None,
        *,
        rowcount: int | None = None,
        statement: str = "",
        types: Sequence[Type | None] = (),
        notes: Sequence[str] = (),
        skipped: int = 0,
    ):
        self._rows = rows
        # Types as tables have them, which say more than Arrow's; none where only Arrow's are known.
        self._types = tuple(types) if rows is not None and len(types) == rows.num_columns else ()
        self._python: list[tuple[Any, ...]] | None = None
        self._names: tuple[str, ...] = () if rows is None else tuple(rows.column_names)
        self.rowcount: int = rowcount if rowcount is not None else (0 if rows is None else rows.num_rows)
        self.statement = statement
        self.notes = tuple(notes)
        self.skipped = skipped

    def warn(self) -> None:
        """Warn of each note that is new in this process."""
        for note in self.notes:
            if note not in _warned:
                _warned.add(note)
                warnings.warn(note, UserWarning, stacklevel=3)

    @classmethod
    def of_values(cls, names: tuple[str, ...], types: tuple[Type, ...], rows: list[tuple[Any, ...]]) -> Result:
        """The result of a SELECT from Python values as ``Table.get`` gives them.

        Args:
            names, types: of the columns.
            rows: the values of each row.
        """
        result = cls.__new__(cls)
        result._types, result._python, result._names, result.rowcount = types, rows, names, len(rows)
        return result

    @property
    def columns(self) -> list[str]:
        """Names of the result's columns, in order; none for a statement without rows."""
        return list(self._names)

    @property
    def types(self) -> list[Type | None]:
        """The type of each column that comes from a table as it is; None for another column."""
        return list(self._types) or [None] * len(self._names)

    def to_arrow(self) -> pa.Table:
        """All rows as an Arrow table; one without columns where the statement gives no rows."""
        if self._rows is None:
            if self._python is None:
                return pa.table({})
            columns = [
                arrow_column([row[i] for row in self._python], dtype)
                for i, dtype in enumerate(self._types)
                if dtype is not None  # of_values has all of them
            ]
            self._rows = pa.Table.from_arrays(columns, names=list(self._names))
        return self._rows

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """All rows, by the Arrow PyCapsule interface."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_pandas(self) -> Any:
        """All rows as a pandas DataFrame; a tensor is a numpy array in its cell.

        Raises:
            ImportError: pandas is not installed.
        """
        return data_frame(self.to_arrow(), self.types)

    def to_numpy(self) -> dict[str, np.ndarray]:
        """All rows as one array for each column, by name; of two columns called A the second is ``A_2``.

        A number, boolean, date or timestamp has numpy's dtype for it, a tensor is ``[rows, *shape]``; a column of these
        that has nulls is a ``numpy.ma.MaskedArray``. A column of another type is one of Python objects, as
        ``fetchall`` gives them, None for a null. The arrays may be views of the grid's files: copy them to write.

        >>> import pyarrow as pa
        >>> Result(pa.table({"ID": [1, 2], "NAME": ["WARM", None]})).to_numpy()
        {'ID': array([1, 2]), 'NAME': array(['WARM', None], dtype=object)}
        """
        columns = numpy_columns(self.to_arrow().columns, self.types)
        return dict(zip(distinct_names(self._names), columns, strict=True))

    def to_dicts(self) -> list[dict[str, Any]]:
        """All rows as dicts of Python values by the column's name; of two columns called A the second is ``A_2``."""
        names = distinct_names(self._names)
        return [dict(zip(names, row, strict=True)) for row in self.fetchall()]

    def arrow(self) -> pa.Table:
        """Deprecated: ``to_arrow``."""
        deprecated("Result.arrow()", "Result.to_arrow()")
        return self.to_arrow()

    def df(self) -> Any:
        """Deprecated: ``to_pandas``."""
        deprecated("Result.df()", "Result.to_pandas()")
        return self.to_pandas()

    def scalar(self) -> Any:
        """The value of the first column in the first row; None if there is no row.

        >>> import pyarrow as pa
        >>> Result(pa.table({"COUNT(*)": [2]})).scalar()
        2
        """
        return self[0][0] if len(self) else None

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, first the first one; None when there is none left. All else knows nothing of it.

        >>> import pyarrow as pa
        >>> result = Result(pa.table({"ID": [1, 2]}))
        >>> result.fetchone(), result.fetchone(), result.fetchone(), result.fetchall()
        ((1,), (2,), None, [(1,), (2,)])
        """
        if self._fetched >= len(self):
            return None
        self._fetched += 1
        return self[self._fetched - 1]

    @overload
    def __getitem__(self, index: SupportsIndex) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            numbers = range(len(self))[index]
            if self._python is not None:
                return self._python[index]
            table = self.to_arrow()
            in_order = numbers.step == 1
            return self._rows_of(table.slice(numbers.start, len(numbers)) if in_order else table.take(list(numbers)))
        try:
            number = range(len(self))[index]
        except IndexError:
            raise IndexError(f"row {operator.index(index)} of a result of {len(self)}") from None
        if self._python is not None:
            return self._python[number]
        return self._rows_of(self.to_arrow().slice(number, 1))[0]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows as tuples of Python values."""
        if self._python is not None:
            return list(self._python)
        return self._rows_of(self.to_arrow())

    def _rows_of(self, rows: pa.Table) -> list[tuple[Any, ...]]:
        return list(zip(*self._values(rows.columns), strict=True))

    def _type(self, i: int) -> Type | None:
        return self._types[i] if self._types else None

    def _values(self, columns: Sequence[pa.Array | pa.ChunkedArray]) -> list[list[Any]]:
        return [python_values(column, self._type(i)) for i, column in enumerate(columns)]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._python is not None:
            yield from self._python
            return
        for batch in self.to_arrow().to_batches(max_chunksize=_FETCHED_ROWS):
            if batch.num_columns:
                yield from zip(*self._values(batch.columns), strict=True)

    def __len__(self) -> int:
        return self.to_arrow().num_rows if self._python is None else len(self._python)

    def __repr__(self) -> str:
        if not self._names:
            noun = "row" if self.rowcount == 1 else "rows"
            changed = self.statement in ("INSERT", "UPDATE", "MERGE", "DELETE", "COPY")
            skipped = f", {self.skipped} skipped" if self.skipped else ""
            return f"{self.statement}: {self.rowcount} {noun}{skipped}" if changed else self.statement or "nothing"
        return self.render()

    def render(self, rows: int = _RENDERED_ROWS) -> str:
        """The result as text: at most so many rows, each cell cut to fit a line."""
        table = self.to_arrow()
        return _render(table, self._values(table.slice(0, rows).columns))


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names that differ from each other.

    >>> distinct_names(["A", "A", "A_2"])
    ['A', 'A_3', 'A_2']
    """
    names_in_use, result = set(names), []
    for i, name in enumerate(names):
        number = 2
        if name in names[:i]:
            while f"{name}_{number}" in names_in_use:
                number += 1
            name = f"{name}_{number}"
            names_in_use.add(name)
        result.append(name)
    return result


def _render(table: pa.Table, values: list[list[Any]]) -> str:
    cells = [
        [
            _cell(_FLOATS[column.type](value) if column.type in _FLOATS and value is not None else value)
            for value in column_values
        ]
        for column, column_values in zip(table.columns, values, strict=True)
    ]
    names = [_shorten(name) for name in table.column_names]
    right = [_is_number(column.type) for column in table.columns]
    widths = [max([len(name), *map(len, column)]) for name, column in zip(names, cells, strict=True)]
    lines = [_row_text(names, widths, [False] * len(names)), "-+-".join("-" * width for width in widths)]
    lines += [_row_text(row, widths, right) for row in zip(*cells, strict=True)]
    count = len(cells[0]) if cells else 0
    if table.num_rows > count:
        lines.append(f"... {table.num_rows - count} more")
    lines.append(f"({table.num_rows} row{'' if table.num_rows == 1 else 's'})")
    return "\n".join(lines)


def _row_text(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return " | ".join(parts).rstrip()


def _is_number(dtype: pa.DataType) -> bool:
    return pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype)


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, np.ndarray):
        head = ", ".join(map(str, value.reshape(-1)[:_CELL_ELEMENTS].tolist()))
        more = ", ..." if value.size > _CELL_ELEMENTS else ""
        return f"{value.dtype.name}{list(value.shape)} [{head}{more}]"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, bytes):
        return _shorten(f"X'{value.hex()}'")
    if isinstance(value, np.datetime64):
        return str(value).replace("T", " ")
    return _shorten(str(value).replace("\n", "\\n"))


def _shorten(text: str) -> str:
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 3] + "..."
