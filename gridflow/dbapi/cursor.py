"""A cursor: the execution of statements, and the rows of the last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..deprecation import deprecated
from ..errors import SchemaError
from ..schema import Type, from_arrow
from ..sql import Result
from .errors import InterfaceError

if TYPE_CHECKING:
    from .connection import Connection  # circle: a connection makes its cursors

#: A column of a result: name, type code, display size, internal size, precision, scale, whether it may be null.
Description = tuple[str, str, None, None, int | None, int | None, bool | None]
Row = tuple[Any, ...]


class Cursor:
    """Executes statements on a connection. One thread uses it. A context manager; iterating gives the rows.

    Attributes:
        connection: the connection of the cursor.
        arraysize: the rows of a ``fetchmany`` without a number; may be set.
        lastrowid: None: rows have keys and no numbers.
    """

    lastrowid = None

    def __init__(self, connection: Connection):
        self.connection = connection
        self.arraysize = 1
        self._result: Result | None = None
        self._rows: Iterator[Row] = iter(())
        self._rowcount = -1
        self._closed = False

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def description(self) -> list[Description] | None:
        """The columns of the result; None where the last statement gave no rows."""
        if self._result is None or not self._result.columns:
            return None
        schema = self._result.to_arrow().schema
        return [_describe_column(field, grid_type) for field, grid_type in zip(schema, self._result.types, strict=True)]

    @property
    def rowcount(self) -> int:
        """The number of rows that the last statement gave or changed; -1 for other statements."""
        return self._rowcount

    def execute(self, operation: str, parameters: Any = None) -> Cursor:
        """Execute one statement, or several with semicolons between them; the rows are those of the last one.

        Args:
            operation: SQL, with ``?`` or ``:name`` where values belong.
            parameters: a sequence for ``?``, a mapping for ``:name``.

        Raises:
            ProgrammingError, DataError, IntegrityError, OperationalError: see ``gridflow.dbapi.errors``.
        """
        self._forget()
        self._take(self.connection.run(operation, parameters))
        return self

    def executemany(self, operation: str, seq_of_parameters: Iterable[Any]) -> Cursor:
        """Execute an INSERT, MERGE, UPDATE or DELETE with each of many sets of parameters: all in one commit, or none.

        Raises:
            ProgrammingError: the text is another statement, or several. Other errors: see ``execute``.
        """
        self._forget()
        self._take(self.connection.run_many(operation, seq_of_parameters))
        return self

    def _forget(self) -> None:
        self._check_open()
        self._result, self._rows, self._rowcount = None, iter(()), -1

    def _take(self, result: Result) -> None:
        self._result, self._rows = result, iter(result)
        changed = result.statement in ("INSERT", "MERGE", "UPDATE", "DELETE", "COPY")
        self._rowcount = result.rowcount if result.columns or changed else -1

    def _check_open(self) -> None:
        if self._closed:
            raise InterfaceError("the cursor is closed")
        self.connection.check_open()

    def _result_with_rows(self) -> Result:
        self._check_open()
        if self._result is None or not self._result.columns:
            raise InterfaceError("no results to fetch: execute a query first")  # notebooks look for these words
        return self._result

    def fetchone(self) -> Row | None:
        """The next row; None after the last."""
        self._result_with_rows()
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next rows, at most so many; none after the last."""
        self._result_with_rows()
        return list(islice(self._rows, self.arraysize if size is None else size))

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        self._result_with_rows()
        return list(self._rows)

    def __iter__(self) -> Iterator[Row]:
        self._result_with_rows()
        return self._rows

    def __next__(self) -> Row:
        self._result_with_rows()
        return next(self._rows)

    def to_arrow(self) -> pa.Table:
        """All rows of the result, fetched or not, as an Arrow table."""
        return self._result_with_rows().to_arrow()

    def to_pandas(self) -> Any:
        """All rows of the result, fetched or not, as a pandas DataFrame."""
        return self._result_with_rows().to_pandas()

    def arrow(self) -> pa.Table:
        """Deprecated: ``to_arrow``."""
        deprecated("Cursor.arrow()", "Cursor.to_arrow()")
        return self.to_arrow()

    def df(self) -> Any:
        """Deprecated: ``to_pandas``."""
        deprecated("Cursor.df()", "Cursor.to_pandas()")
        return self.to_pandas()

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Do nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing, as PEP 249 allows."""

    def close(self) -> None:
        """Let go of the result. A second call does nothing."""
        self._result, self._rows, self._closed = None, iter(()), True


def _describe_column(field: pa.Field, grid_type: Type | None) -> Description:
    """A column by the type of the grid's column, else, as that of an expression, by the Arrow type."""
    try:
        column_type = grid_type or from_arrow(field.type)
    except SchemaError:  # a type that no column has, such as an interval
        return (field.name, str(field.type).upper(), None, None, None, None, None)
    digits = (column_type.precision, column_type.scale) if column_type.kind == "DECIMAL" else (None, None)
    nullable = grid_type.nullable if grid_type is not None else None
    return (field.name, column_type.text(), None, None, *digits, nullable)
