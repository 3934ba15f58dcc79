"""The names of the engine's functions."""

from __future__ import annotations

from functools import cache

from .connection import connection

# Beginnings of names that no person calls: internals of the engine, collations, functions for other systems' tools.
_HIDDEN = ("collate_", "icu_", "st_", "pg_", "json_deserialize", "json_serialize", "create_sort_key", "txid_")


@cache
def function_names() -> frozenset[str]:
    """The names of all functions, without the operators, in upper case."""
    con, _ = connection()
    rows = con.execute("SELECT DISTINCT UPPER(function_name) FROM duckdb_functions()").fetchall()
    return frozenset(name for (name,) in rows if name.replace("_", "").isalnum())


@cache
def callable_names() -> frozenset[str]:
    """The names of the functions to propose to a person, in upper case: those that a query is likely to call."""
    con, _ = connection()
    rows = con.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'aggregate', 'macro') AND function_name ~ '^[a-z][a-z_0-9]+$'"
    )
    return frozenset(name.upper() for (name,) in rows.fetchall() if not name.startswith(_HIDDEN))
