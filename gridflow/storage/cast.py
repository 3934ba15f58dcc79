"""Columns that users give, brought to the layout of segments without loss: what does not fit is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import SchemaError, did_you_mean
from ..kinds import ByKind
from ..schema import SCALARS, Type

_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def cast_column(array: pa.Array, t: Type, where: str) -> pa.Array:
    """An array in the layout of a column type, without loss; ``where`` begins the message if it does not fit."""
    target = t.arrow()
    source_type = array.type
    if source_type == target and not _has_limits(t):
        return array
    try:
        if _has_views(source_type):  # Arrow's casts of these lose items
            array = pa.array(array.to_pylist(), _without_views(source_type))
        if pa.types.is_dictionary(source_type) and source_type.value_type in _VIEWS:  # nor takes from these
            words = array.dictionary.cast(_VIEWS[source_type.value_type])
            array = pa.DictionaryArray.from_arrays(array.indices, words)
        if pa.types.is_run_end_encoded(source_type):
            array = pc.run_end_decode(array)
        array = _FORMS[t.kind].cast(array, t)
        _check_limits(array, t)
        return array
    except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise SchemaError(f"{where}: got {source_type}: {error}") from None


def _storage(array: pa.Array) -> pa.Array:
    if isinstance(array.type, pa.Bool8Type):  # in which whatever is not 0 is true
        return array.storage.cast(pa.bool_())
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _cast_values(array: pa.Array, t: Type) -> pa.Array:
    """To a type that Arrow has itself."""
    target = t.arrow()
    array = _storage(array)
    if array.type == target:
        return array
    _check_fields(array.type, t)
    return _without_loss(_cast(array, target), array)


def _cast_decimal(array: pa.Array, t: Type) -> pa.Array:
    array = _storage(array)
    if pa.types.is_integer(array.type):  # else Arrow asks for room it may not need
        array = array.cast(pa.decimal128(20, 0))
    return _cast_values(array, t)


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        if not pa.types.is_nested(target):
            raise
        # Arrow does not make a tensor of a list within a struct that is null, and has no number.
        return pa.array(array.to_pylist(), target)


def _has_views(arrow: pa.DataType) -> bool:
    if pa.types.is_list_view(arrow) or pa.types.is_large_list_view(arrow):
        return True
    return any(_has_views(arrow.field(i).type) for i in range(arrow.num_fields))


def _without_views(arrow: pa.DataType) -> pa.DataType:
    if pa.types.is_map(arrow):
        return pa.map_(arrow.key_type, _without_views(arrow.item_type))
    if pa.types.is_struct(arrow):
        return pa.struct([field.with_type(_without_views(field.type)) for field in arrow])
    if pa.types.is_fixed_size_list(arrow):
        return pa.list_(_without_views(arrow.value_type), arrow.list_size)
    return pa.large_list(_without_views(arrow.value_type)) if arrow.num_fields else arrow


def _check_fields(arrow: pa.DataType, t: Type) -> None:
    """Arrow's casts drop the fields of a struct that the target has not."""
    parts = [arrow.field(i) for i in range(arrow.num_fields)]
    if t.kind == "STRUCT" and pa.types.is_struct(arrow):
        fields = dict(t.children)
        for part in parts:
            if part.name not in fields:
                raise SchemaError(f"no field {part.name}; {did_you_mean(part.name, fields)}")
            _check_fields(part.type, fields[part.name])
    elif t.kind == "MAP" and pa.types.is_map(arrow):
        _check_fields(arrow.item_type, t.children[1][1])
    elif t.kind == "LIST" and len(parts) == 1:
        _check_fields(parts[0].type, t.children[0][1])


def _without_loss(cast: pa.Array, array: pa.Array) -> pa.Array:
    """The result of a cast, if it says the same: Arrow rounds, cuts hours off or makes an infinity without a word."""
    source_type, result_type = array.type, cast.type
    if pa.types.is_floating(result_type) and pa.types.is_floating(source_type):
        before = np.isinf(array.to_numpy(zero_copy_only=False))
        if (np.isinf(cast.to_numpy(zero_copy_only=False)) != before).any():
            raise SchemaError(f"a number is out of the range of {result_type}")
        return cast
    rounded = pa.types.is_decimal(result_type) and pa.types.is_floating(source_type)
    cut = pa.types.is_date(result_type) and pa.types.is_timestamp(source_type)
    if (rounded or cut) and not cast.cast(source_type).equals(array):
        raise SchemaError(f"a value is none of {result_type} without loss")
    return cast


def _has_limits(t: Type) -> bool:
    """Whether Arrow's type allows what ours does not, be it of a part."""
    return _FORMS[t.kind].limits is not None or any(_has_limits(child) for _, child in t.children)


def _check_limits(array: pa.Array, t: Type) -> None:
    form = _FORMS[t.kind]
    if form.limits is not None:
        form.limits(array, t)
    if form.parts is not None and _has_limits(t):
        for part, (_, child) in zip(form.parts(array), t.children, strict=True):
            _check_limits(part, child)


def _tensor_limits(array: pa.Array, t: Type) -> None:
    """No number of a tensor is null, and no boolean 2."""
    numbers = array.flatten()  # of the rows that are not null
    if numbers.null_count:
        raise SchemaError("a number in a tensor is null")
    if t.element == "BOOL" and len(numbers) and pc.max(numbers).as_py() > 1:
        raise SchemaError("a number in a tensor of booleans is neither 0 nor 1")


def _time_limits(array: pa.Array, _: Type) -> None:
    least, most = (bound.value for bound in pc.min_max(array).values())
    if least is not None and not 0 <= least <= most < 86_400_000_000:
        raise SchemaError("a time of day is from 00:00 to less than 24:00")


def _timestamp_limits(array: pa.Array, _: Type) -> None:
    if pc.min(array.view(pa.int64())).as_py() == -(1 << 63):
        raise SchemaError("a moment is NaT: a null is meant")


def _map_parts(array: pa.Array) -> list[pa.Array]:
    return [pa.ListArray.from_arrays(array.offsets, part).flatten() for part in (array.keys, array.items)]


def _stack(array: pa.Array, t: Type) -> pa.Array:
    """A column of tensors."""
    target = t.arrow()
    if isinstance(array.type, pa.FixedShapeTensorType):
        if tuple(array.type.shape) != t.shape:
            raise SchemaError(f"shape {list(array.type.shape)} is not {list(t.shape)}")
        if array.type.permutation not in (None, list(range(len(t.shape)))):
            raise SchemaError("a tensor whose dimensions are permuted cannot be loaded: transpose it first")
    array = _storage(array)
    if array.type == target:
        return array
    shape: list[int] = []
    level = array.type
    while pa.types.is_fixed_size_list(level):
        shape.append(level.list_size)
        level = level.value_type
    if shape and shape != [t.size] and tuple(shape) != t.shape:
        raise SchemaError(f"shape {shape} is not {list(t.shape)}")
    if len(shape) > 1:  # nested lists of fixed size lie one after the other already
        inner = array
        offset, length = array.offset, len(array)
        for size in shape:
            inner, offset, length = inner.values, offset * size, length * size
        values = inner.slice(offset, length).cast(target.value_type)
        return pa.FixedSizeListArray.from_arrays(
            values, type=target, mask=array.is_null() if array.null_count else None
        )
    if not shape and array.null_count < len(array) and _depth(array.type) != len(t.shape) and _depth(array.type) != 1:
        raise SchemaError(f"{array.type} is not a tensor of shape {list(t.shape)}")
    if _depth(array.type) > 1:
        stacked = [None if v is None else np.asarray(v, dtype=t.dtype) for v in array.to_pylist()]
        for value in stacked:
            if value is not None and value.shape != t.shape:
                raise SchemaError(f"shape {list(value.shape)} is not {list(t.shape)}")
        return pa.array(
            [None if v is None else v.reshape(-1).view(target.value_type.to_pandas_dtype()) for v in stacked], target
        )
    return array.cast(target)


def _depth(arrow: pa.DataType) -> int:
    depth = 0
    while pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow):
        depth, arrow = depth + 1, arrow.value_type
    return depth


def _cast_uuid(array: pa.Array, t: Type) -> pa.Array:
    array = _storage(array)
    if array.type == t.arrow():
        return array
    values = array.to_pylist()
    return pa.array(
        [None if v is None else uuid.UUID(v).bytes if isinstance(v, str) else v for v in values], pa.binary(16)
    )


@dataclass(frozen=True)
class _Form:
    """How columns of a kind are Arrow's.

    Attributes:
        cast: brings a column to the layout of segments, without loss.
        limits: raises SchemaError for what Arrow's type allows and ours does not.
        parts: of a nested column, those of its parts that lie under no null.
    """

    cast: Callable[[pa.Array, Type], pa.Array] = _cast_values
    limits: Callable[[pa.Array, Type], None] | None = None
    parts: Callable[[pa.Array], list[pa.Array]] | None = None


_FORMS: ByKind[_Form] = ByKind(
    "columns brought to the layout of segments",
    {
        **dict.fromkeys(SCALARS, _Form()),
        "DECIMAL": _Form(cast=_cast_decimal),
        "TIME": _Form(limits=_time_limits),
        "TIMESTAMP": _Form(limits=_timestamp_limits),
        "UUID": _Form(cast=_cast_uuid),
        "TENSOR": _Form(cast=_stack, limits=_tensor_limits),
        "LIST": _Form(parts=lambda array: [array.flatten()]),
        "STRUCT": _Form(parts=lambda array: array.flatten()),
        "MAP": _Form(parts=_map_parts),
    },
)
