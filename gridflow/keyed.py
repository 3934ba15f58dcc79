"""The methods that follow from a table's ``get``, ``put``, ``remove`` and ``scan``, once for every kind of table."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .errors import ColumnNotFoundError, KeyNotFoundError, SchemaError, UsageError
from .schema import FLOATS, INTEGERS
from .storage.arrow_to_numpy import data_frame, numpy_columns
from .storage.arrow_to_python import to_python
from .storage.defaults import default_values
from .storage.python_columns import python_values

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ._native.rows import RowCodec
    from .schema import Schema, Type
    from .storage.past_table import PastTable

#: Stands for the value under a key that has none.
ABSENT: Any = object()
_COUNTABLE = (*INTEGERS, *FLOATS, "DECIMAL")


class RowItems(ItemsView[Any, Any]):
    """The keys and values of a table; to go through them reads it once."""

    _mapping: KeyedRows

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._pairs()


class RowValues(ValuesView[Any]):
    """The values of a table; to go through them reads it once."""

    _mapping: KeyedRows

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._pairs())


class KeyedRows:
    """Rows under keys, as Python has mappings; a base of tables, which define the methods that are only declared here.

    All methods of ``collections.abc.MutableMapping`` are there and mean what they mean there, but ``update``, which
    changes columns of one row. Each is one step for others: what reads a row to write it writes only if that row is
    still the same, and else begins anew.

    Native methods (``contains`` of Table) come from the other base, which stands first.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        name: str

        @property
        def schema(self) -> Schema: ...
        def get(self, key: Any, default: Any = None, *, version: str | int | None = None) -> Any: ...
        def put(self, key: Any, value: Any) -> None: ...
        def remove(self, key: Any) -> bool: ...
        def scan(self, columns: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]: ...
        def to_arrow(self, columns: Iterable[str] | None = None, *, version: str | int | None = None) -> pa.Table: ...
        def past(self, version: str | int) -> PastTable: ...
        def truncate(self) -> int: ...
        def _row_codec(self) -> RowCodec: ...
        def _change_row(self, key: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
            """Write what ``change`` makes of the row under a key; either is ABSENT where there is none.

            Nothing is written if it gives back what it got. If somebody else has written the row meanwhile it is called
            again. Returns both as the table has them.
            """

    def contains(self, key: Any, *, version: str | int | None = None) -> bool:
        """Whether there is a row under ``key``, or was one at a version."""
        return self.get(key, ABSENT, version=version) is not ABSENT

    def get_all(self, keys: Iterable[Any], *, version: str | int | None = None) -> dict[Any, Any]:
        """The values under these keys; keys without a row are left out.

        Raises:
            SchemaError: a key does not fit the key columns.
        """
        pairs = ((key, self.get(key, ABSENT, version=version)) for key in keys)
        return {key: value for key, value in pairs if value is not ABSENT}

    # ---- one row, read and written in one step ----

    def update(self, key: Any, values: Mapping[str, Any] | None = None, /, **columns: Any) -> None:
        """Change some columns of the row under ``key``; the others stay as they are.

        Args:
            key: the key of a row that is there.
            values, columns: the new values, by the columns' names.

        Raises:
            KeyNotFoundError: there is no row.
            SchemaError, ColumnNotFoundError: a value does not fit, or there is no such column.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR", "X": "INT"}, key="ID")
        ...     table.put(1, {"NAME": "one", "X": 1})
        ...     table.update(1, X=2)
        ...     table.get(1)
        {'NAME': 'one', 'X': 2}
        """
        if values is not None and not isinstance(values, Mapping):
            raise UsageError(
                f"table {self.name}: update takes a dict of columns, not a {type(values).__name__}; put takes rows"
            )
        new = {**(values or {}), **columns}
        plain = self.schema.plain_value
        for name in new:
            if plain and name != "_VAL":
                raise ColumnNotFoundError(
                    f"no column {name} in table {self.name} beside its key; there is _VAL", table=self.name, column=name
                )
        if not new:
            raise UsageError(f"table {self.name}: update(key, NAME=value) names the columns; put_all writes many rows")

        def change(old: Any) -> Any:
            if old is ABSENT:
                raise self._no_row(key)
            return new["_VAL"] if plain else {**old, **new}

        self._change_row(key, change)

    def increment(self, key: Any, column: str | None = None, by: Any = ABSENT, **columns: Any) -> Any:
        """Add to numbers of the row under ``key``. However many do so at once, each amount is added once.

        Args:
            key: of the row. Where there is none it is made, of DEFAULTs; a null counts as 0.
            column: the column to add to; without it, of a table of plain values, that value.
            by: what to add to it, 1 without it; may be negative. It becomes a number of the column's type first: an
                integer for integers, and what is not exact is an error for a DECIMAL.
            columns: columns to add to, and how much.

        Returns:
            The new value; with ``columns`` a dict of the new values.

        Raises:
            SchemaError, ColumnNotFoundError: it is no column of numbers, or the amount or the sum does not fit it.
            UsageError: ``by`` does not say for which column, or a column is named twice.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("PAGES", {"URL": "VARCHAR", "HITS": "LONG", "BYTES": "LONG"}, key="URL")
        ...     table.increment("/", "HITS"), table.increment("/", HITS=1, BYTES=500)
        (1, {'HITS': 2, 'BYTES': 500})
        """
        amounts = self._amounts(self.schema.plain_value, column, by, columns)
        amounts = {name: self._counted(name, amount) for name, amount in amounts.items()}
        plain = self.schema.plain_value

        def change(old: Any) -> Any:
            row = self._columns(old) if old is not ABSENT else self._defaults()
            sums = {name: self._sum(name, row[name], amount) for name, amount in amounts.items()}
            return sums["_VAL"] if plain else {**row, **sums}

        _, row = self._change_row(key, change)
        values = {name: self._columns(row)[name] for name in amounts}
        return values if columns else next(iter(values.values()))

    def compare_and_set(self, key: Any, expected: Any, value: Any) -> bool:
        """Write the row under ``key`` only if there is one and its value is ``expected``; returns whether it wrote.

        ``expected`` and ``value`` are given as ``put`` takes them. ``replace(key, value, expected=...)`` is the same.
        """
        codec, done = self._row_codec(), False
        wanted = codec.value_bytes(expected)

        def change(old: Any) -> Any:
            nonlocal done
            done = old is not ABSENT and codec.value_bytes(old) == wanted
            return value if done else old

        self._change_row(key, change)
        return done

    def get_and_put(self, key: Any, value: Any) -> Any:
        """Write the row under ``key``; returns the value that was there, or None."""
        old, _ = self._change_row(key, lambda old: value)
        return None if old is ABSENT else old

    def get_and_replace(self, key: Any, value: Any) -> Any:
        """As ``get_and_put``, but nothing is written where there is no row."""
        old, _ = self._change_row(key, lambda old: ABSENT if old is ABSENT else value)
        return None if old is ABSENT else old

    def get_and_remove(self, key: Any) -> Any:
        """Remove the row under ``key``; returns the value that was there, or None."""
        return self.pop(key, None)

    def pop(self, key: Any, default: Any = ABSENT) -> Any:
        """Remove the row under ``key`` and return its value, or ``default`` where there is none.

        Raises:
            KeyNotFoundError: there is none, and no ``default``.
        """
        old, _ = self._change_row(key, lambda old: ABSENT)
        if old is not ABSENT:
            return old
        if default is ABSENT:
            raise self._no_row(key)
        return default

    def popitem(self) -> tuple[Any, Any]:
        """Remove any row and return its key and value.

        Raises:
            KeyNotFoundError: there are no rows.
        """
        while True:
            key = ABSENT
            for key in self:
                value, _ = self._change_row(key, lambda old: ABSENT)
                if value is not ABSENT:  # nobody was faster
                    return key, value
            if key is ABSENT:
                raise KeyNotFoundError(f"table {self.name} has no rows", table=self.name)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value under ``key``; ``default`` is written there first if there is none."""
        _, value = self._change_row(key, lambda old: default if old is ABSENT else old)
        return value

    def clear(self) -> None:
        """Remove all rows; see ``truncate``."""
        self.truncate()

    # ---- all rows ----

    def keys(self) -> KeysView[Any]:
        """The keys, as a dict has them: they follow the table."""
        return KeysView(self)  # type: ignore[arg-type]

    def values(self) -> ValuesView[Any]:
        """The values, as ``get`` gives them."""
        return RowValues(self)  # type: ignore[arg-type]

    def items(self) -> ItemsView[Any, Any]:
        """Keys and values; to go through them reads the table once."""
        return RowItems(self)  # type: ignore[arg-type]

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """All rows for whoever takes Arrow's stream interface: pyarrow, pandas, polars, duckdb."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __contains__(self, key: Any) -> bool:
        return self.contains(key)

    def __bool__(self) -> bool:
        return True  # whatever it holds: ``if table`` asks whether there is one, and reads nothing

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise self._no_row(key)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: Any) -> None:
        if not self.remove(key):
            raise self._no_row(key)

    def __iter__(self) -> Iterator[Any]:
        """The keys, in the order in which they are stored: as good as random."""
        return _keys_in(self.scan(self.schema.key))

    def to_numpy(
        self, columns: Iterable[str] | None = None, *, version: str | int | None = None
    ) -> dict[str, np.ndarray]:
        """All rows as one array for each column, by name; see ``Result.to_numpy`` for their dtypes.

        Args:
            columns: which, in what order; all without it.
            version: as of ``Table.to_arrow``.

        Raises:
            ColumnNotFoundError: there is no such column.
            VersionNotFoundError: there is no such tag, or the version is not kept.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "X": "FLOAT32[2]"}, key="ID")
        ...     table.put(1, {"X": [0.5, 1]})
        ...     table.to_numpy(["X"])
        {'X': array([[0.5, 1. ]], dtype=float32)}
        """
        rows, types = self._typed(columns, version)
        return dict(zip(rows.column_names, numpy_columns(rows.columns, types), strict=True))

    def to_pandas(self, columns: Iterable[str] | None = None, *, version: str | int | None = None) -> Any:
        """All rows as a pandas DataFrame; a tensor is a numpy array in its cell.

        Args:
            columns: which, in what order; all without it.
            version: as of ``Table.to_arrow``.

        Raises:
            ColumnNotFoundError: there is no such column.
            VersionNotFoundError: there is no such tag, or the version is not kept.
            ImportError: pandas is not installed.
        """
        return data_frame(*self._typed(columns, version))

    def _typed(self, columns: Iterable[str] | None, version: str | int | None) -> tuple[pa.Table, list[Type | None]]:
        """All rows, and the types that their columns have in that version."""
        source = self if version is None else self.past(version)
        rows, schema = source.to_arrow(columns), source.schema
        return rows, [schema[name].type if name in schema else None for name in rows.column_names]

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        """Keys and values."""
        return _pairs_in(self.scan(self.schema.names), self.schema)

    def _defaults(self) -> dict[str, Any]:
        """The columns of a row of which nothing is said."""
        return dict.fromkeys(column.name for column in self.schema.value_columns) | {
            name: value for name, value in default_values(self.schema, self.name).items() if name not in self.schema.key
        }

    def _columns(self, value: Any) -> dict[str, Any]:
        """A value as columns."""
        return {"_VAL": value} if self.schema.plain_value else value

    def _no_row(self, key: Any) -> KeyNotFoundError:
        return KeyNotFoundError(f"table {self.name} has no row under key {key!r}", table=self.name, key=key)

    def _amounts(self, plain: bool, column: str | None, by: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Column -> what is added to it, as ``increment`` was told."""
        if column is None and columns:
            if by is not ABSENT:
                raise UsageError(
                    f"table {self.name}: increment(key, COLUMN, by) names the column of by; or NAME=amount"
                )
            return dict(columns)
        if column is None and not plain:
            raise UsageError(f"table {self.name}: increment(key, COLUMN) names the column to add to")
        name = "_VAL" if column is None else column
        if name in columns:
            raise UsageError(f"table {self.name}: increment names column {name} twice")
        return {name: 1 if by is ABSENT else by, **columns}

    def _counted(self, name: str, amount: Any) -> Any:
        """What is added to a column, as a number of its kind: an int, a float or a Decimal."""
        column = self.schema[name]
        kind = column.type.kind
        if kind not in _COUNTABLE or name in self.schema.key:
            where = "is in the key" if name in self.schema.key else "holds no numbers"
            raise SchemaError(
                f"table {self.name}: column {column} {where}: nothing can be added to it", table=self.name, column=name
            )
        try:
            if isinstance(amount, numbers.Number) and not isinstance(amount, bool):
                if kind in INTEGERS and isinstance(amount, numbers.Integral):
                    return int(amount)
                if kind in FLOATS and isinstance(amount, (numbers.Real, decimal.Decimal)):
                    return float(amount)
                if kind == "DECIMAL":
                    return _exact_decimal(amount)
        except (decimal.DecimalException, TypeError, ValueError, OverflowError):
            pass
        raise SchemaError(
            f"table {self.name}, column {column}: {_shown(amount)} is no number to add to it",
            table=self.name,
            column=name,
        )

    def _sum(self, name: str, before: Any, amount: Any) -> Any:
        if before is None:
            return amount
        if not isinstance(amount, decimal.Decimal):
            return type(amount)(before) + amount
        try:
            with _exactly():
                return before + amount
        except decimal.DecimalException:
            raise SchemaError(
                f"table {self.name}, column {self.schema[name]}: {before} and {_shown(amount)} have too many digits "
                "together",
                table=self.name,
                column=name,
            ) from None


#: More digits than the widest DECIMAL has before and after the point.
_MOST_DIGITS = 80
#: Characters of an amount in a message.
_TEXT_LENGTH = 60


def _exactly() -> AbstractContextManager[decimal.Context]:
    """A context in which a result that would be rounded is a DecimalException."""
    exact = decimal.Context(
        prec=_MOST_DIGITS, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero]
    )
    return decimal.localcontext(exact)


def _exact_decimal(amount: Any) -> decimal.Decimal:
    """The Decimal of a number, of a float the shortest that is it; a DecimalException or TypeError if there is none."""
    with _exactly():
        if isinstance(amount, decimal.Decimal):
            value = amount
        elif isinstance(amount, numbers.Integral):
            value = decimal.Decimal(int(amount))
        elif isinstance(amount, numbers.Rational):
            value = decimal.Decimal(int(amount.numerator)) / decimal.Decimal(int(amount.denominator))
        else:
            value = decimal.Decimal(str(amount))
        if not value.is_finite():
            raise decimal.InvalidOperation
        return value


def _shown(amount: Any) -> str:
    try:
        text = repr(amount)
    except ValueError:  # an integer of more digits than Python shows
        text = f"such a large {type(amount).__name__}"
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 3] + "..."


def _keys_in(batches: Iterable[pa.RecordBatch]) -> Iterator[Any]:
    for batch in batches:
        columns = [to_python(column) for column in batch.columns]
        yield from columns[0] if len(columns) == 1 else zip(*columns, strict=True)


def _pairs_in(batches: Iterable[pa.RecordBatch], schema: Schema) -> Iterator[tuple[Any, Any]]:
    for batch in batches:
        columns = {c.name: python_values(batch.column(c.name), c.type) for c in schema.columns}
        keys = [columns.pop(name) for name in schema.key]
        if schema.plain_value:
            rows: Iterable[Any] = columns["_VAL"]
        else:
            names = list(columns)
            rows = (dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True))
            if not names:
                rows = ({} for _ in range(batch.num_rows))
        yield from zip(keys[0] if len(keys) == 1 else zip(*keys, strict=True), rows, strict=True)
