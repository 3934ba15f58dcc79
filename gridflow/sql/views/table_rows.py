"""The rows of the system views about tables, as dicts of their columns.

Columns that cost something are worked out only if a statement needs them: ``columns`` are those that it needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

from ...catalog.rules import IGNITE_PREFIX
from ...errors import GridflowError, TableNotFoundError, VersionNotFoundError
from ...faces import OpenGridFace, StoredTableFace
from ...schema import Column, quote_name
from ...storage.defaults import default_texts
from ..grammar.options import given_options
from ..grammar.schemas import PUBLIC_SCHEMA

Row = dict[str, Any]
T = TypeVar("T")


def _of_each_table(
    rows: Callable[[OpenGridFace, StoredTableFace, set[str]], Iterator[Row]],
) -> Callable[[OpenGridFace, set[str]], Iterator[Row]]:
    """The rows of a view over all tables, from those of one table; a table that is dropped meanwhile has none."""

    @wraps(rows)
    def of_all(grid: OpenGridFace, columns: set[str]) -> Iterator[Row]:
        return itertools.chain.from_iterable(of_tables(grid, lambda table: list(rows(grid, table, columns))))

    return of_all


def of_tables(grid: OpenGridFace, look: Callable[[StoredTableFace], T]) -> Iterator[T]:
    """What there is to say of each table; one that is dropped meanwhile is passed over."""
    for name in grid.tables():
        table = None
        try:
            table = grid.table(name)
            found = look(table)
        except TableNotFoundError:
            continue
        except (GridflowError, OSError):
            if _is_there(grid, name, table):
                raise
            continue
        yield found


def _is_there(grid: OpenGridFace, name: str, table: StoredTableFace | None) -> bool:
    """Whether the name still means this table; None for one that could not be opened."""
    if name not in grid.tables():
        return False
    try:
        return table is None or grid.table(name).table_id == table.table_id
    except TableNotFoundError:
        return False


@_of_each_table
def tables(grid: OpenGridFace, table: StoredTableFace, columns: set[str]) -> Iterator[Row]:
    """SYS.TABLES. Rows are counted when that is asked for, which moves the last writes to segments."""
    counted = columns & {"PARTITIONS_COUNT", "ROWS_COUNT", "SEGMENTS_COUNT", "BYTES", "VERSION"}
    counted |= columns & {"KEPT_VERSIONS", "KEPT_BYTES"}
    options = given_options(table)
    key = table.schema.key
    yield {
        **_names(table),
        "AFFINITY_KEY_COLUMN": options.get("AFFINITY_KEY"),
        "KEY_ALIAS": key[0] if len(key) == 1 else None,
        "KEY_TYPE_NAME": options.get("KEY_TYPE") or (table.schema[key[0]].type.text() if len(key) == 1 else None),
        "VALUE_ALIAS": "_VAL" if table.schema.plain_value else None,
        "VALUE_TYPE_NAME": options.get("VALUE_TYPE"),
        "IS_INDEX_REBUILD_IN_PROGRESS": False,
        "CACHE_MODE": "REPLICATED" if options.get("TEMPLATE", "").upper() == "REPLICATED" else "PARTITIONED",
        "ATOMICITY_MODE": options.get("ATOMICITY", "ATOMIC").upper(),
        "OPTIONS": ", ".join(f"{name}={value}" for name, value in options.items()),
        "TABLE_ID": table.table_id,
        **(_figures(grid, table) if counted else {}),
    }


def _names(table: StoredTableFace) -> Row:
    options = table.options
    cache = options.get("cache_name") or f"{IGNITE_PREFIX}{table.name}"
    group = given_options(table).get("CACHE_GROUP") or cache
    return {
        "SCHEMA_NAME": PUBLIC_SCHEMA,
        "TABLE_NAME": table.name,
        "CACHE_NAME": cache,
        "CACHE_ID": java_hash(cache),
        "CACHE_GROUP_NAME": group,
        "CACHE_GROUP_ID": java_hash(group),
    }


def java_hash(text: str) -> int:
    """``String.hashCode`` of Java: what Ignite calls a cache by.

    >>> java_hash("SQL_PUBLIC_PERSON")
    -1447683814
    """
    result = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for i in range(0, len(units), 2):
        result = (31 * result + (units[i] << 8 | units[i + 1])) & 0xFFFFFFFF
    return result - (1 << 32) if result >= 1 << 31 else result


def _figures(grid: OpenGridFace, table: StoredTableFace) -> Row:
    table._flush_unless_busy()  # a view must not wait for a load
    stats = table.stats()
    return {
        "PARTITIONS_COUNT": stats["partitions"],
        "ROWS_COUNT": stats["rows"] if grid.owner else len(table),
        "SEGMENTS_COUNT": stats["segments"],
        "BYTES": stats["bytes"],
        "VERSION": stats["version"],
        "KEPT_VERSIONS": stats["kept_versions"],
        "KEPT_BYTES": stats["kept_bytes"],
    }


@_of_each_table
def table_versions(grid: OpenGridFace, table: StoredTableFace, columns: set[str]) -> Iterator[Row]:
    """SYS.TABLE_VERSIONS. Nothing is flushed for it."""
    current, tags = table.snapshot(), table.tags()
    for version in table.versions():
        names = sorted(name for name, tagged in tags.items() if tagged == version)
        with suppress(VersionNotFoundError):  # it has just gone
            snapshot = current if version == current.version else table._open_version(version)
            segments = snapshot.segments()
            yield {
                "SCHEMA_NAME": PUBLIC_SCHEMA,
                "TABLE_NAME": table.name,
                "VERSION": version,
                "IS_CURRENT": snapshot is current,
                "TAGS": ", ".join(names) or None,
                "ROWS_COUNT": snapshot.rows,
                "SEGMENTS_COUNT": len(segments),
                "BYTES": sum(size for _, _, _, size in segments),
            }


@_of_each_table
def table_columns(grid: OpenGridFace, table: StoredTableFace, columns: set[str]) -> Iterator[Row]:
    """SYS.TABLE_COLUMNS."""
    defaults = default_texts(table)
    affinity = given_options(table).get("AFFINITY_KEY", "").upper()
    for position, column in enumerate(table.schema.columns, 1):
        in_key = column.name in table.schema.key
        yield {
            "SCHEMA_NAME": PUBLIC_SCHEMA,
            "TABLE_NAME": table.name,
            **column_facts(column),
            "AFFINITY_COLUMN": in_key and affinity in ("", column.name.upper()),
            "AUTO_INCREMENT": False,
            "DEFAULT_VALUE": defaults.get(column.name),
            "PK": in_key,
            "ORDINAL_POSITION": position,
        }


def column_facts(column: Column) -> Row:
    """What a column is by itself."""
    decimal = column.type.kind == "DECIMAL"
    return {
        "COLUMN_NAME": column.name,
        "NULLABLE": column.type.nullable,
        "PRECISION": column.type.precision if decimal else None,
        "SCALE": column.type.scale if decimal else None,
        "TYPE": column.type.text(),
    }


@_of_each_table
def indexes(grid: OpenGridFace, table: StoredTableFace, columns: set[str]) -> Iterator[Row]:
    """SYS.INDEXES: primary keys, and what CREATE INDEX has made."""
    names = _names(table)
    key = ", ".join(map(_as_written, table.schema.key))
    yield {
        **names,
        "INDEX_NAME": "_key_PK",
        "INDEX_TYPE": "HASH",
        "COLUMNS": key,
        "IS_PK": True,
        "IS_UNIQUE": True,
    }
    for index in table.indexes.all():
        pairs = zip(index.columns, index.descending, strict=True)
        listing = ", ".join(f"{_as_written(column.name)} {'DESC' if down else 'ASC'}" for column, down in pairs)
        yield {
            **names,
            "INDEX_NAME": index.name,
            "INDEX_TYPE": "SORTED",
            "COLUMNS": listing,
            "IS_PK": False,
            "IS_UNIQUE": False,
        }


def _as_written(name: str) -> str:
    """A column's name as a statement has to write it."""
    return quote_name(name) if name == name.upper() else f'"{name}"'


@_of_each_table
def partitions(grid: OpenGridFace, table: StoredTableFace, columns: set[str]) -> Iterator[Row]:
    """SYS.PARTITIONS."""
    counted = columns & {"ROWS_COUNT", "BYTES"}
    node = grid._activity.node if grid.owner else None
    names = _names(table)
    infos = table.partitions() if counted else [(p, 0, 0) for p in range(table.partitions_count)]
    for partition, rows, size in infos:
        yield {
            **names,
            "PARTITION_ID": partition,
            "NODE_ID": node,
            "STATE": "OWNING",
            "IS_PRIMARY": True,
            "ROWS_COUNT": rows,
            "BYTES": size,
        }


@_of_each_table
def segments(grid: OpenGridFace, table: StoredTableFace, columns: set[str]) -> Iterator[Row]:
    """SYS.SEGMENTS. Nothing is flushed for it."""
    for number, rows, deleted, size in table.snapshot().segments():
        yield {
            "SCHEMA_NAME": PUBLIC_SCHEMA,
            "TABLE_NAME": table.name,
            "SEGMENT_ID": number,
            "ROWS_COUNT": rows - deleted,
            "DELETED_COUNT": deleted,
            "BYTES": size,
            "FILE": f"tables/{table.table_id}/{number:016x}.seg",
        }
