"""Cache: nested Python values by key, as Ignite's caches, with the structure taken from the first value."""

from __future__ import annotations

import datetime
import decimal
import numbers
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ._native.rows import RowCodec
from .errors import (
    ColumnNotFoundError,
    KeyNotFoundError,
    SchemaError,
    StructureError,
    TableExistsError,
    TableNotFoundError,
    UsageError,
)
from .keyed import ABSENT, KeyedRows
from .schema import MAX_PRECISION, Schema, Type, from_dtype
from .storage.arrow_input import has_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from .faces import GridFace, Progress
    from .storage.past_table import PastTable

T = TypeVar("T")

_SCALARS = {
    bool: "BOOL",
    int: "INT64",
    float: "FLOAT64",
    str: "STRING",
    bytes: "BINARY",
    bytearray: "BINARY",
    datetime.date: "DATE",
    datetime.time: "TIME",
    uuid.UUID: "UUID",
}


def structure_of(value: Any, path: str = "value") -> Type:
    """The Type of a Python value: dicts become STRUCTs, lists LISTs, arrays tensors of their shape.

    Raises:
        SchemaError: it holds something that has no type, such as None, an empty list or an object.

    >>> print(structure_of({"size": 3, "pixels": np.zeros((2, 2), "uint8")}))
    STRUCT<size INT64, pixels UINT8[2,2]>
    """
    if isinstance(value, np.ndarray) and value.ndim:
        if value.size == 0:
            raise SchemaError(f"{path} is an empty array: a tensor has no dimension of 0")
        return from_dtype(value.dtype, value.shape)
    if isinstance(value, (np.generic, np.ndarray)):
        return from_dtype(value.dtype)
    if isinstance(value, datetime.datetime):
        return Type("TIMESTAMP", unit="us", utc=value.tzinfo is not None)
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise SchemaError(f"{path} is {value}, which is no number")
        return Type("DECIMAL", precision=MAX_PRECISION, scale=max(0, -int(value.as_tuple().exponent)))
    for python, kind in _SCALARS.items():
        if type(value) is python:
            return Type(kind)
    if isinstance(value, Mapping):
        if not value:
            raise SchemaError(f"{path} is an empty dict, which has no structure")
        for name in value:
            if not isinstance(name, str):
                raise SchemaError(f"{path} has the field name {name!r}: a field name is a str")
        return Type("STRUCT", children=tuple((n, structure_of(v, f"{path}.{n}")) for n, v in value.items()))
    if isinstance(value, (list, tuple)):
        if not value:
            raise SchemaError(f"{path} is an empty list, which does not say what its items are")
        items = [structure_of(v, f"{path}[{i}]") for i, v in enumerate(value)]
        if any(item != items[0] for item in items):
            other = next(item for item in items if item != items[0])
            raise SchemaError(f"{path} holds both {items[0]} and {other}: a list's items have one type")
        return Type("LIST", children=(("item", items[0]),))
    raise SchemaError(f"{path} is a {type(value).__name__}, which has no column type")


def missing_field(value: Any, t: Type, path: str = "value") -> str | None:
    """The path of the first field that a value lacks, of those its structure has; else None. A field may be None.

    >>> missing_field({"size": {"width": 1}}, structure_of({"size": {"width": 1, "height": 2}}))
    'value.size.height'
    """
    if value is None:
        return None
    if t.kind == "STRUCT" and isinstance(value, Mapping):
        for name, child in t.children:
            if name not in value:
                return f"{path}.{name}"
            missing = missing_field(value[name], child, f"{path}.{name}")
            if missing:
                return missing
    elif t.kind == "LIST" and t.children[0][1].kind == "STRUCT" and isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            missing = missing_field(item, t.children[0][1], f"{path}[{i}]")
            if missing:
                return missing
    return None


def _was_dropped(table: Any) -> bool:
    try:
        table.version()
    except TableNotFoundError:
        return True
    return False


def _zero(amount: Any) -> Any:
    """A number of the kind of an amount, to begin with."""
    if isinstance(amount, bool) or not isinstance(amount, numbers.Number):
        raise SchemaError(f"{amount!r} is no number to add")
    return 0 if isinstance(amount, numbers.Integral) else amount * 0  # type: ignore[operator]


class Cache(KeyedRows):
    """A cache of nested values; made by ``Grid.cache``. It is a table with key column ``_KEY``, and has its methods.

    The first ``put`` decides: a dict's items become the columns, nested dicts STRUCTs; any other value becomes the
    column ``_VAL``. Later values must have the same structure, with every field in it; a field may be None.
    """

    def __init__(self, grid: GridFace, name: str):
        self._grid = grid
        self.name = name
        self._table: Any = None  # as it was looked up last: a Table, a ServedTable or a TransactionTable

    def __repr__(self) -> str:
        return f"<gridflow.Cache {self.name}>"

    @property
    def table(self) -> Any:
        """The table behind the cache.

        Raises:
            TableNotFoundError: nothing was put in the cache yet.
        """
        if self._table is None:
            self._table = self._grid.table(self.name)
        return self._table

    def _make(self, rows: list[tuple[Any, Any]]) -> Any:
        """Make the table with the structure of the first of these rows, unless one of them would not fit."""
        key, value = rows[0]
        key_type = structure_of(key, "key")
        structure = structure_of(value)
        columns = [("_KEY", key_type)]
        if structure.kind == "STRUCT":
            for name in ("_KEY", "_VAL"):
                if name in value:
                    raise SchemaError(f"cache {self.name}: a value cannot have a field {name}")
            columns += structure.children
        else:
            columns.append(("_VAL", structure))
        schema = Schema.of(columns, key="_KEY")
        self._check(RowCodec(schema, self.name), schema, rows)
        try:
            self._table = self._grid.create_table(self.name, schema, "_KEY")
        except TableExistsError:  # somebody else has made it just now, maybe with another structure
            self._table = self._grid.table(self.name)
        return self._table

    def _check(self, codec: RowCodec, schema: Schema, rows: list[tuple[Any, Any]]) -> None:
        for key, value in rows:
            try:
                codec.check(key, value)
            except (SchemaError, ColumnNotFoundError) as error:
                raise self._structure_error(schema, key, value, error) from None

    def _write(self, rows: list[tuple[Any, Any]], action: Callable[[Any], T]) -> T:
        """Do what writes these rows; makes the table first, if there is none."""
        for is_last in (False, True):
            try:
                table = self.table
            except TableNotFoundError:
                table = self._make(rows)
            try:
                self._check_fields(table.schema, rows)
                return action(table)
            except TableNotFoundError:
                if is_last:
                    raise
            except (SchemaError, ColumnNotFoundError) as error:
                if is_last or not _was_dropped(table):
                    if not isinstance(error, StructureError):
                        self._check(RowCodec(table.schema, table.name), table.schema, rows)
                    raise
            self._table = None  # the table was dropped since it was looked up: begin anew
        raise AssertionError("the last try returns or raises")

    def _read(self, action: Callable[[Any], T], default: T) -> T:
        """Do what reads or removes; ``default`` if there is no table."""
        for is_last in (False, True):
            try:
                return action(self.table)
            except TableNotFoundError:  # not made yet, or dropped since the last look: then once more
                if self._table is None or is_last:
                    break
                self._table = None
        return default

    @staticmethod
    def _structure(schema: Schema) -> Type:
        fields = tuple((c.name, c.type) for c in schema.value_columns)
        return fields[0][1] if schema.plain_value else Type("STRUCT", children=fields)

    def _check_fields(self, schema: Schema, rows: list[tuple[Any, Any]]) -> None:
        structure = self._structure(schema)
        if structure.kind == "STRUCT" and not schema.plain_value:  # a column with a DEFAULT may be left out
            needed = tuple((c.name, c.type) for c in schema.value_columns if not c.default)
            structure = Type("STRUCT", children=needed)
        for key, value in rows:
            missing = missing_field(value, structure)
            if missing:
                error = SchemaError(f"{missing} is left out; write None where there is nothing")
                raise self._structure_error(schema, key, value, error)

    def _structure_error(self, schema: Schema, key: Any, value: Any, error: Exception) -> StructureError:
        try:
            actual = f"{structure_of(key, 'key')} -> {structure_of(value).text()}"
        except SchemaError as no_structure:
            actual = str(no_structure)
        structure = self._structure(schema)
        keys = ", ".join(c.type.text() for c in schema.key_columns)
        return StructureError(
            f"cache {self.name}: the value under {key!r} does not have the cache's structure: {error}\n"
            f"  the cache holds: {keys} -> {structure.text()}\n"
            f"  this value is:   {actual}"
        )

    def put(self, key: Any, value: Any) -> None:
        """Write the value under ``key``.

        Raises:
            StructureError: the value has another structure than the first one; shows both.
            SchemaError: the first value holds something that has no type.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     images = grid.cache("IMAGES")
        ...     images.put("kitten.png", {"metadata": {"width": 2}, "pixels": np.zeros((2, 2), "uint8")})
        ...     images.get("kitten.png")["metadata"]
        {'width': 2}
        """
        self._write([(key, value)], lambda table: table.put(key, value))

    def put_all(self, rows: Any) -> None:
        """Write several values in one commit, given as ``Table.put_all`` takes them.

        Raises:
            StructureError, SchemaError: as ``put``; nothing is written.
        """
        if has_columns(rows):
            self.table.put_all(rows)
            return
        pairs = list(rows.items() if isinstance(rows, Mapping) else rows)
        if pairs:
            self._write(pairs, lambda table: table.put_all(pairs))

    def put_if_absent(self, key: Any, value: Any) -> bool:
        """Write the value unless there is one under ``key``; returns whether it wrote."""
        return self._write([(key, value)], lambda table: table.put_if_absent(key, value))

    def insert_all(self, rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Write several values in one commit, or none if one of the keys is there already or twice among them."""
        pairs = list(rows.items() if isinstance(rows, Mapping) else rows)
        if pairs:
            self._write(pairs, lambda table: table.insert_all(pairs))

    def replace(self, key: Any, value: Any, *, expected: Any = ABSENT) -> bool:
        """Write the value only if there is one under ``key``; see ``Table.replace``."""
        if expected is not ABSENT:
            return self.compare_and_set(key, expected, value)
        return self.contains(key) and self._write([(key, value)], lambda table: table.replace(key, value))

    def _row_codec(self) -> RowCodec:
        return self.table._row_codec()

    def _change_row(self, key: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
        return self._anew(lambda: self._change_row_once(key, change))

    def _anew(self, action: Callable[[], T]) -> T:
        """Do what looks up the table itself; once more if that was dropped meanwhile."""
        try:
            return action()
        except TableNotFoundError:
            pass
        except (SchemaError, ColumnNotFoundError, UsageError):  # of the columns that there were
            if self._table is None or not _was_dropped(self._table):
                raise
        self._table = None
        return action()

    def _change_row_once(self, key: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
        table = self._read(lambda table: table, None)
        if table is None:
            new = change(ABSENT)
            if new is ABSENT:
                return ABSENT, ABSENT
            table = self._make([(key, new)])
        schema = table.schema

        def checked(old: Any) -> Any:
            new = change(old)
            if new is not old and new is not ABSENT:
                self._check_fields(schema, [(key, new)])
                self._check(RowCodec(schema, self.name), schema, [(key, new)])
            return new

        return table._change_row(key, checked)

    def compare_and_set(self, key: Any, expected: Any, value: Any) -> bool:
        """Write the value under ``key`` only if there is one and it is ``expected``; returns whether it wrote."""
        return self.contains(key) and super().compare_and_set(key, expected, value)

    def increment(self, key: Any, column: str | None = None, by: Any = ABSENT, **columns: Any) -> Any:
        """Add to numbers of the value under ``key``; see ``Table.increment``. In a new cache they begin at 0."""

        def action() -> Any:
            if self._read(lambda table: table, None) is None:
                plain = column is None and not columns
                amounts = {name: _zero(n) for name, n in self._amounts(plain, column, by, columns).items()}
                self.put_if_absent(key, amounts["_VAL"] if plain else amounts)
            return super(Cache, self).increment(key, column, by, **columns)

        return self._anew(action)

    def update(self, key: Any, values: Mapping[str, Any] | None = None, /, **columns: Any) -> None:
        """Change some fields of the value under ``key``; see ``Table.update``."""
        if not self.contains(key):
            raise KeyNotFoundError(f"cache {self.name} has no value under key {key!r}")
        super().update(key, values, **columns)

    def get(self, key: Any, default: Any = None, *, version: str | int | None = None) -> Any:
        """The value under ``key``, or ``default``; see ``Table.get``."""
        if version is not None:
            return self.table.get(key, default, version=version)
        return self._read(lambda table: table.get(key, default), default)

    def get_all(self, keys: Iterable[Any], *, version: str | int | None = None) -> dict[Any, Any]:
        """The values under these keys; keys without one are left out."""
        keys = list(keys)
        if version is not None:
            return self.table.get_all(keys, version=version)
        return self._read(lambda table: table.get_all(keys), {})

    def remove(self, key: Any) -> bool:
        """Remove the value under ``key``; returns whether there was one."""
        return self._read(lambda table: table.remove(key), False)

    def remove_all(self, keys: Iterable[Any]) -> int:
        """Remove the values under these keys in one commit; returns how many there were."""
        keys = list(keys)
        return self._read(lambda table: table.remove_all(keys), 0)

    def contains(self, key: Any, *, version: str | int | None = None) -> bool:
        """Whether there is a value under ``key``, or was one at a version."""
        if version is not None:
            return self.table.contains(key, version=version)
        return self._read(lambda table: table.contains(key), False)

    def truncate(self) -> int:
        """Remove all values; returns how many there were."""
        return self._read(lambda table: table.truncate(), 0)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return self._read(len, 0)

    def __iter__(self) -> Iterator[Any]:
        return self._read(iter, iter(()))

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        return self._read(lambda table: table._pairs(), iter(()))

    # ---- as the table behind it; TableNotFoundError as long as nothing was put in the cache ----

    @property
    def schema(self) -> Schema:
        """The columns of the table."""
        return self.table.schema

    def scan(
        self,
        columns: Iterable[str] | None = None,
        partitions: int | Iterable[int] | None = None,
        batch_size: int = 65536,
        *,
        version: str | int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """All values of some partitions; see ``Table.scan``."""
        return self.table.scan(columns, partitions, batch_size, version=version)

    def to_arrow(self, columns: Iterable[str] | None = None, *, version: str | int | None = None) -> pa.Table:
        """All values as columns; see ``Table.to_arrow``."""
        return self.table.to_arrow(columns, version=version)

    def past(self, version: str | int) -> PastTable:
        """The values as they were at a version; see ``Table.past``."""
        return self.table.past(version)

    def load(self, data: Any, *, on_duplicate: str = "error", progress: Progress | None = None) -> int:
        """Write many values, given as rows of the table; see ``Table.load``."""
        return self.table.load(data, on_duplicate=on_duplicate, progress=progress)

    def _put_rows(self, rows: Any, *, on_duplicate: str = "error") -> int:
        """Write a few values, given as rows of the table; see ``Table._put_rows``."""
        return self.table._put_rows(rows, on_duplicate=on_duplicate)

    def flush(self) -> int:
        """Move the writes in memory to a segment; see ``Table.flush``."""
        return self.table.flush()

    def compact(self) -> None:
        """Merge all segments into one; see ``Table.compact``."""
        self.table.compact()

    def compress(self, *columns: str) -> None:
        """Keep compressed copies of columns; see ``Table.compress``."""
        self.table.compress(*columns)

    def tag(self, name: str, *, replace: bool = False) -> int:
        """Give the values as they are now a name; see ``Table.tag``."""
        return self.table.tag(name, replace=replace)

    def untag(self, name: str) -> None:
        """Take a tag away; see ``Table.untag``."""
        self.table.untag(name)

    def tags(self) -> dict[str, int]:
        """The tags, and the version that each names."""
        return self.table.tags()

    def restore(self, version: str | int) -> int:
        """Make the values of a version the newest ones again; see ``Table.restore``."""
        return self.table.restore(version)

    def dataset(self, **arguments: Any) -> Any:
        """The values as a dataset; see ``Table.dataset``."""
        return self.table.dataset(**arguments)

    def keep_versions(self, count: int) -> None:
        """Keep so many past versions; see ``Table.keep_versions``."""
        self.table.keep_versions(count)

    def versions(self) -> list[int]:
        """The versions that can be read, rising."""
        return self.table.versions()

    def version(self) -> int:
        """The number of the current version."""
        return self.table.version()

    def stats(self) -> dict[str, int]:
        """Figures about the table; see ``Table.stats``."""
        return self.table.stats()

    def partitions(self) -> Any:
        """Rows and bytes of every partition."""
        return self.table.partitions()

    def partition_of(self, key: Any) -> int:
        """The partition that a key belongs to."""
        return self.table.partition_of(key)
