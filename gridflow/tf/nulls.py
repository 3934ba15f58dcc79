"""What a dataset makes of nulls: ``Dataset``'s ``nulls`` checked, and as text for kernels/ops/leaf.h."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .._native.rows import RowCodec
from ..errors import ColumnNotFoundError, SchemaError, UsageError, did_you_mean
from ..schema import Column, Schema

if TYPE_CHECKING:
    from .specs import Leaf  # circle: a policy is asked for a leaf, and a leaf has one

ERROR, MASK = "error", "mask"
#: Texts of leaf.h: zero or the empty string for a null; which rows, and which items of lists, have a value.
ZERO, ROWS, ITEMS = "fill", "valid", "items"
#: What the name of a mask has behind the name of the column or field that it is for.
SUFFIXES = {ROWS: "_valid", ITEMS: "_items_valid"}


def policies(nulls: Any, leaves: Iterable[Leaf], table: str) -> dict[str, str]:
    """What becomes of the nulls of each leaf, by its name and as text of leaf.h; a leaf without one may have no nulls.

    Args:
        nulls: as ``Dataset`` takes it.
        leaves: all of the table.
        table: its name, for messages.

    Raises:
        ColumnNotFoundError: the table has no such column or field.
        SchemaError: a value does not fit its column, or a name stands for several.
        UsageError: ``nulls`` is something else altogether.
    """
    named: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        named.setdefault(leaf.name, []).append(leaf)
    if isinstance(nulls, str) and nulls in (ERROR, MASK):
        return dict.fromkeys(named, ZERO) if nulls == MASK else {}
    if not isinstance(nulls, Mapping):
        raise UsageError(f'nulls is {nulls!r}; it must be "error", "mask" or a dict of columns and values')
    result = {}
    for name, value in nulls.items():
        if name not in named:
            inside = [path for path in named if path.startswith(f"{name}.")]
            if inside:
                raise SchemaError(f"nulls: {name} of table {table} is no value: name what is in it, as {inside[0]!r}")
            raise ColumnNotFoundError(
                f"nulls: table {table} has no column {name}; {did_you_mean(str(name), named)}",
                table=table,
                column=str(name),
            )
        if len(named[name]) > 1:
            raise SchemaError(f"nulls: {name} is a column of table {table} and also a field: rename one of them")
        result[name] = _text(named[name][0], value, table)
    return result


def _text(leaf: Leaf, value: Any, table: str) -> str:
    if leaf.lists and not isinstance(value, (str, bytes)) and hasattr(value, "__len__") and len(value) == 0:
        return "empty"
    codec = RowCodec(Schema((Column(leaf.name, leaf.type, 1),)), table)
    try:
        return f"fill={codec.encode_cell(leaf.name, value).hex()}"
    except SchemaError as error:
        what = " (a value for items, or [] for lists)" if leaf.lists else ""
        raise SchemaError(f"nulls: {error}{what}") from None
