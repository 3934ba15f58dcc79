"""The kinds of columns: what is true of each by itself, and tables with an entry for every one of them.

A ``schema.Type`` is a kind with what belongs to it: a DECIMAL's digits, a tensor's shape, what a list holds. A part of
Gridflow that treats kinds differently does so by a ``ByKind``, and what it cannot take is a ``Refused`` there: so a
kind that was forgotten somewhere is seen by ``tests/unit/test_kinds.py``, which names the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

import numpy as np

Entry = TypeVar("Entry")


class Family(Enum):
    """Kinds that most code treats alike."""

    BOOLEAN = auto()
    INTEGER = auto()
    FLOAT = auto()
    DECIMAL = auto()
    BYTES = auto()
    TIME = auto()
    TENSOR = auto()
    NESTED = auto()


@dataclass(frozen=True)
class Kind:
    """What all columns of a kind have in common.

    Attributes:
        name: as in the text of a type, and in ``schema_format.h``.
        family: what it is like.
        dtype: of the number that a value is: days of a DATE, units of a TIMESTAMP; None if a value is no number. Of a
            BOOL the dtype of a tensor's elements; in a column of its own each is a bit.
        parts: how many types a type of this kind has in it; None: one or more, each with a name.
    """

    name: str
    family: Family
    dtype: np.dtype | None = None
    parts: int | None = 0

    @property
    def scalar(self) -> bool:
        """Whether a value has no parts, so that it can be in a key."""
        return self.family not in (Family.TENSOR, Family.NESTED)


def _number(name: str, family: Family, dtype: str = "") -> Kind:
    return Kind(name, family, np.dtype(dtype or name.lower()))


#: Every kind by its name, in the order of ``schema_format.h``.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _number("BOOL", Family.BOOLEAN),
        *(_number(f"INT{bits}", Family.INTEGER) for bits in (8, 16, 32, 64)),
        *(_number(f"UINT{bits}", Family.INTEGER) for bits in (8, 16, 32, 64)),
        *(_number(f"FLOAT{bits}", Family.FLOAT) for bits in (16, 32, 64)),
        Kind("DECIMAL", Family.DECIMAL),
        Kind("STRING", Family.BYTES),
        Kind("BINARY", Family.BYTES),
        _number("DATE", Family.TIME, "int32"),
        _number("TIME", Family.TIME, "int64"),
        _number("TIMESTAMP", Family.TIME, "int64"),
        Kind("UUID", Family.BYTES),
        Kind("TENSOR", Family.TENSOR),
        Kind("LIST", Family.NESTED, parts=1),
        Kind("STRUCT", Family.NESTED, parts=None),
        Kind("MAP", Family.NESTED, parts=2),
    )
}


def kinds_of(*families: Family) -> tuple[str, ...]:
    """The names of the kinds of some families, in their order."""
    return tuple(name for name, kind in KINDS.items() if kind.family in families)


INTEGERS = kinds_of(Family.INTEGER)
FLOATS = kinds_of(Family.FLOAT)
SCALARS = tuple(name for name, kind in KINDS.items() if kind.scalar)
TENSOR_ELEMENTS = kinds_of(Family.BOOLEAN, Family.INTEGER, Family.FLOAT)
#: Types that have other types in them.
NESTED = kinds_of(Family.NESTED)


@dataclass(frozen=True)
class Refused:
    """The entry of a kind that a place does not take.

    Attributes:
        why: the reason, for whoever reads the table.
    """

    why: str


class ByKind(dict[str, Entry]):
    """What one place does with each kind of column. Never changed once it is made.

    Args:
        place: what the table is of, for messages.
        entries: one for each kind.
    """

    def __init__(self, place: str, entries: Mapping[str, Entry]):
        super().__init__(entries)
        self.place = place
        _tables.append(self)

    @property
    def taken(self) -> tuple[str, ...]:
        """The kinds that the place takes."""
        return tuple(kind for kind, entry in self.items() if not isinstance(entry, Refused))


_tables: list[ByKind[Any]] = []


def tables() -> tuple[ByKind[Any], ...]:
    """The tables of all modules that have been imported so far."""
    return tuple(_tables)


def _dtypes(*names: str) -> tuple[np.dtype, ...]:
    return tuple(dtype for dtype in (KINDS[name].dtype for name in names) if dtype is not None)


_VARYING = Refused("its values are no numbers, or not as many bytes each")
#: The numbers that a GPU has of a column; of a tensor those of its elements.
ON_DEVICES: ByKind[tuple[np.dtype, ...] | Refused] = ByKind(
    "columns on a GPU",
    {
        "BOOL": Refused("a segment has it as bits; a tensor of one boolean has a byte"),
        **{name: _dtypes(name) for name in kinds_of(Family.INTEGER, Family.FLOAT, Family.TIME)},
        **dict.fromkeys(kinds_of(Family.DECIMAL, Family.BYTES, Family.NESTED), _VARYING),
        "TENSOR": _dtypes(*TENSOR_ELEMENTS),
    },
)
#: Types whose values are numbers, the same bytes of each: what a GPU takes.
NUMBERS = ON_DEVICES.taken
