"""What a table may be called, and what its options may be: the same for one that is made and one that is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import SchemaError, UsageError

#: Ignite calls the cache of table T in schema PUBLIC so.
IGNITE_PREFIX = "SQL_PUBLIC_"
#: What names of system tables begin with: nobody else's table is called so.
SYSTEM_PREFIX = "SYS."
_MAX_NAME_BYTES = 255


def is_system(name: str) -> bool:
    """Whether a name is reserved for system tables."""
    return name.upper().startswith(SYSTEM_PREFIX)


def check_name(name: str, *, system: bool = False) -> None:
    """Raise if no table can have that name.

    Args:
        name: of the table.
        system: whether it may be one of a system table.

    Raises:
        SchemaError: it is too long, empty, no text, or reserved.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise SchemaError(f"{name!r} cannot be a table name: it cannot be written as UTF-8") from None
    if not 1 <= size <= _MAX_NAME_BYTES or "\x00" in name:
        raise SchemaError(f"{name!r} cannot be a table name: it must have 1 to {_MAX_NAME_BYTES} bytes, no NUL")
    if is_system(name.removeprefix(IGNITE_PREFIX)) and not system:
        raise SchemaError(f"{name!r} cannot be a table name: {SYSTEM_PREFIX} begins those of system tables")


def check_options(table: str, options: Mapping[str, Any]) -> None:
    """Raise if a table cannot have these options.

    Raises:
        UsageError: they cannot be written as JSON, or one has a name of ours.
    """
    for name in options:
        if is_system(str(name)):
            raise UsageError(f"table {table}: {name} cannot be an option, {SYSTEM_PREFIX} begins those of ours")
    try:
        json.dumps(dict(options), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"table {table}: its options cannot be written as JSON: {error}") from None


def check_copied_options(table: str, options: Mapping[str, Any]) -> None:
    """Raise if options from outside are none that a table can have, or one that means something here is malformed.

    Raises:
        UsageError, SchemaError: says which.
    """
    check_options(table, options)
    cache, sql, compressed = options.get("cache_name"), options.get("sql"), options.get("compressed")
    if cache is not None:
        if not isinstance(cache, str):
            raise _malformed(table, "cache_name", "a text")
        check_name(cache)
    if compressed is not None and not _is_numbers(compressed):
        raise _malformed(table, "compressed", "a list of numbers of columns")
    if sql is None:
        return
    if not isinstance(sql, dict):
        raise _malformed(table, "sql", "an object")
    for name, value in sql.items():
        if name == "indexes":
            if not isinstance(value, dict) or not all(_is_index(index) for index in value.values()):
                raise _malformed(table, "sql.indexes", "an object of indexes")
        elif name == "defaults":
            if not isinstance(value, dict):
                raise _malformed(table, "sql.defaults", "an object")
        elif not isinstance(value, str):
            raise _malformed(table, f"sql.{name}", "a text")


def _malformed(table: str, name: str, expected: str) -> UsageError:
    return UsageError(f"table {table}: its option {name} is not {expected}")


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)


def _is_index(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_numbers([value.get("id")])
        and _is_numbers(value.get("column_ids"))
        and isinstance(value.get("columns"), list)
        and len(value["columns"]) == len(value["column_ids"])
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
            for pair in value["columns"]
        )
    )
