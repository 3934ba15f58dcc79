"""The options of ``CREATE TABLE ... WITH "name=value, ..."``, as Ignite has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from ..config import MAX_PARTITIONS
from ..errors import SqlError, did_you_mean

_FLAG = ("TRUE", "FALSE")
# name -> the values it may have; None: any text, int: any whole number
_KNOWN: dict[str, Any] = {
    "TEMPLATE": ("PARTITIONED", "REPLICATED"),
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
_SPELLINGS = {"AFFINITYKEY": "AFFINITY_KEY"}
_HONOURED = {"PARTITIONS", "CACHE_NAME"}
# What these say is so in any case.
_HARMLESS = {("TEMPLATE", "PARTITIONED"), ("BACKUPS", "0"), ("ATOMICITY", "ATOMIC"), ("ENCRYPTED", "FALSE")}
_HARMLESS |= {("WRITE_SYNCHRONIZATION_MODE", "FULL_SYNC"), ("WRAP_VALUE", "TRUE"), ("WRAP_KEY", "FALSE")}


def parse_options(texts: Iterable[str], key: Iterable[str]) -> tuple[int | None, dict[str, Any]]:
    """Read the options of a table.

    Args:
        texts: ``name=value, name=value``, any number of them.
        key: the primary key's columns.

    Returns:
        The number of partitions, and what the table keeps: ``cache_name``, if given, and under ``sql`` every
        option as written.

    Raises:
        SqlError: an option or its value is not known.
    """
    given: dict[str, str] = {}
    for part in ",".join(texts).split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not name and not value:
            continue
        upper = _SPELLINGS.get(name.upper(), name.upper())
        if upper not in _KNOWN:
            raise SqlError(f"no table option {name}; {did_you_mean(name, _KNOWN)}")
        if not value:
            raise SqlError(f"table option {upper} has no value; write {upper}=...")
        if upper in given:
            raise SqlError(f"table option {upper} is given twice")
        given[upper] = _checked(upper, value)
    if "AFFINITY_KEY" in given:
        _check_affinity(given["AFFINITY_KEY"], list(key))
    partitions = int(given["PARTITIONS"]) if "PARTITIONS" in given else None
    if partitions is not None and not 1 <= partitions <= MAX_PARTITIONS:
        raise SqlError(f"PARTITIONS={partitions}: a table has 1 to {MAX_PARTITIONS} partitions")
    without = [n for n, v in given.items() if n not in _HONOURED and (n, v.upper()) not in _HARMLESS]
    if without:
        said = ", ".join(f"{name}={given[name]}" for name in without)
        warnings.warn(f"kept with the table, but without effect here: {said}", UserWarning, stacklevel=2)
    kept: dict[str, Any] = {"sql": {name.lower(): value for name, value in given.items()}} if given else {}
    if "CACHE_NAME" in given:
        kept["cache_name"] = given["CACHE_NAME"]
    return partitions, kept


def _checked(name: str, value: str) -> str:
    allowed = _KNOWN[name]
    if allowed is int:
        if not value.isdigit():
            raise SqlError(f"table option {name}={value}: its value is a whole number")
    elif allowed is not None and value.upper() not in allowed:
        raise SqlError(f"table option {name}={value}: {did_you_mean(value, allowed)}")
    return value


def _check_affinity(column: str, key: list[str]) -> None:
    if column not in key and column.upper() not in (name.upper() for name in key):
        raise SqlError(f"AFFINITY_KEY={column} is not in the primary key ({', '.join(key)})")
