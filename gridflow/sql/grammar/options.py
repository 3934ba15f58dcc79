"""The options of ``CREATE TABLE ... WITH "name=value, ..."``, as Ignite has them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ...config import MAX_PARTITIONS
from ...errors import SqlError, did_you_mean
from ...faces import ReadableTable
from .spelling import is_count

_FLAG = ("TRUE", "FALSE")
_TEMPLATES = ("PARTITIONED", "REPLICATED")
# name -> the values it may have; None: any text, int: any whole number
_DOMAINS: dict[str, Any] = {
    "TEMPLATE": None,
    "PARTITIONS": int,
    "BACKUPS": int,
    "ATOMICITY": ("ATOMIC", "TRANSACTIONAL", "TRANSACTIONAL_SNAPSHOT"),
    "WRITE_SYNCHRONIZATION_MODE": ("FULL_SYNC", "FULL_ASYNC", "PRIMARY_SYNC"),
    "CACHE_NAME": None,
    "CACHE_GROUP": None,
    "AFFINITY_KEY": None,
    "DATA_REGION": None,
    "KEY_TYPE": None,
    "VALUE_TYPE": None,
    "WRAP_KEY": _FLAG,
    "WRAP_VALUE": _FLAG,
    "ENCRYPTED": _FLAG,
    "PARALLELISM": int,
    "PK_INLINE_SIZE": int,
}
# Name without underscores -> name: Ignite has CACHE_NAME, cacheName and cachename.
_BY_LETTERS = {name.replace("_", ""): name for name in _DOMAINS}
# Option without effect -> why.
_WITHOUT_EFFECT = {
    "BACKUPS": "a grid holds one copy of each row",
    "WRITE_SYNCHRONIZATION_MODE": "a write returns once it is in the log",
    "CACHE_GROUP": "each table has files of its own",
    "AFFINITY_KEY": "rows are placed by their whole key",
    "DATA_REGION": "all of a grid is in its one directory",
    "WRAP_KEY": "a key of one column is that column's value",
    "WRAP_VALUE": "a value is the dict of its columns",
    "ENCRYPTED": "files are NOT encrypted",
    "PARALLELISM": "a query uses all processors",
    "PK_INLINE_SIZE": "keys are in a column, not in an index",
}
# Options of those that ask for what is so in any case: no note speaks of them.
_HARMLESS = {("BACKUPS", "0"), ("ENCRYPTED", "FALSE"), ("WRITE_SYNCHRONIZATION_MODE", "FULL_SYNC")}
_HARMLESS |= {("WRAP_VALUE", "TRUE"), ("WRAP_KEY", "FALSE")}


def parse_options(texts: Iterable[str], key: Iterable[str]) -> tuple[int | None, dict[str, Any], list[str]]:
    """Read the options of a table.

    Args:
        texts: ``name=value, name=value``, any number of them.
        key: the primary key's columns.

    Returns:
        The number of partitions, None where no option says it; what the table keeps: ``cache_name``, where an option
        says it, and under ``sql`` every option as written; and a note for each option that has no effect.

    Raises:
        SqlError: an option or a value is not known.
    """
    values: dict[str, str] = {}
    for part in ",".join(texts).split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not name and not value:
            continue
        upper = _BY_LETTERS.get(name.upper().replace("_", ""))
        if upper is None:
            raise SqlError(f"no table option {name}; {did_you_mean(name, _DOMAINS)}")
        if not value:
            raise SqlError(f"table option {upper} has no value; write {upper}=...")
        if upper in values:
            raise SqlError(f"table option {upper} is given twice")
        values[upper] = _check_value(upper, value)
    if "AFFINITY_KEY" in values:
        _check_affinity(values["AFFINITY_KEY"], list(key))
    partitions = int(values["PARTITIONS"]) if "PARTITIONS" in values else None
    if partitions is not None and not 1 <= partitions <= MAX_PARTITIONS:
        raise SqlError(f"PARTITIONS={partitions}: a table has 1 to {MAX_PARTITIONS} partitions")
    options: dict[str, Any] = {"sql": {name.lower(): value for name, value in values.items()}} if values else {}
    if "CACHE_NAME" in values:
        options["cache_name"] = values["CACHE_NAME"]
    return partitions, options, _notes(values)


def given_options(table: ReadableTable) -> dict[str, str]:
    """The options in a table's CREATE TABLE: name in upper case -> value as written."""
    options = table.options.get("sql") or {}
    return {name: options[name.lower()] for name in sorted(_DOMAINS) if name.lower() in options}


def _notes(values: dict[str, str]) -> list[str]:
    notes = [
        f"table option {name} has no effect: {_WITHOUT_EFFECT[name]}; SYS.TABLES shows it"
        for name, value in values.items()
        if name in _WITHOUT_EFFECT and (name, value.upper()) not in _HARMLESS
    ]
    template = values.get("TEMPLATE", _TEMPLATES[0])
    if template.upper() not in _TEMPLATES:
        notes.append(f"table option TEMPLATE={template} has no effect: there are no templates but PARTITIONED")
    return notes


def _check_value(name: str, value: str) -> str:
    domain = _DOMAINS[name]
    if domain is int:
        if not is_count(value):
            raise SqlError(f"table option {name}={value}: its value is a whole number")
    elif domain is not None and value.upper() not in domain:
        raise SqlError(f"table option {name}={value}: {did_you_mean(value, domain)}")
    # In Ignite a program registers templates of its own; what is almost one of the two is a slip.
    if name == "TEMPLATE" and value.upper() not in _TEMPLATES and difflib.get_close_matches(value.upper(), _TEMPLATES):
        raise SqlError(f"table option TEMPLATE={value}: {did_you_mean(value, _TEMPLATES)}")
    return value


def _check_affinity(column: str, key: list[str]) -> None:
    if column not in key and column.upper() not in (name.upper() for name in key):
        raise SqlError(f"AFFINITY_KEY={column} is not in the primary key ({', '.join(key)})")
