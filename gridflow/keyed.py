"""The methods that follow from a table's ``get``, ``put``, ``remove`` and ``scan``, once for every kind of table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import KeyNotFoundError
from .storage.arrow_to_numpy import data_frame, numpy_columns
from .storage.arrow_to_python import to_python

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from .schema import Schema, Type

_MISSING = object()


class KeyedRows:
    """Rows under keys, as Python has mappings; a base of tables, which define the methods that are only declared here.

    Native methods (``contains`` of Table) come from the other base, which stands first.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        name: str

        @property
        def schema(self) -> Schema: ...
        def get(self, key: Any, default: Any = None) -> Any: ...
        def put(self, key: Any, value: Any) -> None: ...
        def remove(self, key: Any) -> bool: ...
        def scan(self, columns: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]: ...
        def to_arrow(self, columns: Iterable[str] | None = None) -> pa.Table: ...

    def contains(self, key: Any) -> bool:
        """Whether there is a row under ``key``."""
        return self.get(key, _MISSING) is not _MISSING

    def get_all(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The values under these keys; keys without a row are left out.

        Raises:
            SchemaError: a key does not fit the key columns.
        """
        pairs = ((key, self.get(key, _MISSING)) for key in keys)
        return {key: value for key, value in pairs if value is not _MISSING}

    def __contains__(self, key: Any) -> bool:
        return self.contains(key)

    def __bool__(self) -> bool:
        return True  # whatever it holds: ``if table`` asks whether there is one, and reads nothing

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyNotFoundError(f"table {self.name} has no row under key {key!r}", table=self.name, key=key)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: Any) -> None:
        if not self.remove(key):
            raise KeyNotFoundError(f"table {self.name} has no row under key {key!r}", table=self.name, key=key)

    def __iter__(self) -> Iterator[Any]:
        """The keys, in the order in which they are stored: as good as random."""
        for batch in self.scan(self.schema.key):
            columns = [to_python(column) for column in batch.columns]
            yield from columns[0] if len(columns) == 1 else zip(*columns, strict=True)

    def to_numpy(self, columns: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """All rows as one array for each column, by name; see ``Result.to_numpy`` for their dtypes.

        Args:
            columns: which, in what order; all without it.

        Raises:
            ColumnNotFoundError: there is no such column.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "X": "FLOAT32[2]"}, key="ID")
        ...     table.put(1, {"X": [0.5, 1]})
        ...     table.to_numpy(["X"])
        {'X': array([[0.5, 1. ]], dtype=float32)}
        """
        rows = self.to_arrow(columns)
        return dict(zip(rows.column_names, numpy_columns(rows.columns, self._types_of(rows)), strict=True))

    def to_pandas(self, columns: Iterable[str] | None = None) -> Any:
        """All rows as a pandas DataFrame; a tensor is a numpy array in its cell.

        Args:
            columns: which, in what order; all without it.

        Raises:
            ColumnNotFoundError: there is no such column.
            ImportError: pandas is not installed.
        """
        rows = self.to_arrow(columns)
        return data_frame(rows, self._types_of(rows))

    def _types_of(self, rows: pa.Table) -> list[Type | None]:
        schema = self.schema
        return [schema[name].type if name in schema else None for name in rows.column_names]
