"""The codecs of TENSOR, LIST, MAP and STRUCT; of a nested value, those of its parts."""
from collections.abc import Mapping

import numpy as np

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy
from libcpp.string cimport string

from gridflow._native.codecs cimport Codec, codec_of, put_u32, read_encoded, register_codec, short
from gridflow._native.core cimport *

from gridflow._native.codecs import KIND_NAMES, Mismatch


# ---- TENSOR: its numbers, row-major; booleans are bytes ----

cdef object dtype_of(const Type* t):
    return np.dtype("bool" if t.element == GF_BOOL else KIND_NAMES[<int>t.element].lower())


cdef tuple shape_of(const Type* t):
    cdef size_t i
    return tuple([t.dims[i] for i in range(t.dims.size())])


cdef int encode_tensor(const Type* t, object value, string& out) except -1:
    cdef const uint8_t[::1] flat
    dtype, shape = dtype_of(t), shape_of(t)
    if hasattr(value, "__array__") and not isinstance(value, np.ndarray):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        if value.dtype != dtype and not np.can_cast(value.dtype, dtype, "safe"):
            raise Mismatch(f"{short(value)} does not fit dtype {dtype.name}")
        array = value
    elif isinstance(value, (list, tuple)):
        try:
            array = np.array(value)
            if array.dtype != dtype and array.size:
                cast = array.astype(dtype)
                if array.dtype.kind not in "biuf" or (dtype.kind in "biu" and not np.array_equal(cast, array)):
                    raise Mismatch(f"{short(value)} does not fit dtype {dtype.name}")
        except (TypeError, ValueError, OverflowError) as error:
            raise Mismatch(f"{short(value)} is not a tensor: {error}") from None
    else:
        raise Mismatch(f"{short(value)} is not an array")
    if array.shape != shape:
        raise Mismatch(f"shape {list(array.shape)} is not {list(shape)}")
    array = np.ascontiguousarray(array, dtype=dtype)
    flat = array.reshape(-1).view(np.uint8)
    out.append(<const char*>&flat[0], flat.shape[0])
    return 0


cdef object decode_tensor(const Type* t, const uint8_t** at):
    cdef uint8_t[::1] flat
    array = np.empty(shape_of(t), dtype_of(t))
    flat = array.reshape(-1).view(np.uint8)
    memcpy(&flat[0], at[0], t.width)
    at[0] += t.width
    return array


# ---- LIST and MAP: a uint32, a bit for each item that may be null, the items that are not ----

cdef inline size_t put_bitmap(string& out, size_t bits) noexcept:
    """Room for so many bits; returns where it starts."""
    cdef size_t start = out.size()
    out.append((bits + 7) // 8, <char>0)
    return start


cdef inline void set_bit(string& out, size_t bitmap, size_t bit) noexcept:
    out[bitmap + bit // 8] = <char>(<uint8_t>out[bitmap + bit // 8] | (1 << (bit % 8)))


cdef inline bint is_set(const uint8_t* bitmap, size_t bit) noexcept:
    return (bitmap[bit >> 3] >> (bit & 7)) & 1


cdef inline uint32_t take_count(const uint8_t** at) noexcept:
    cdef uint32_t count
    memcpy(&count, at[0], 4)
    at[0] += 4
    return count


cdef int encode_list(const Type* t, object value, string& out) except -1:
    cdef const Type* item = &t.children[0]
    cdef const Codec* codec = codec_of(item.kind)
    cdef size_t bitmap = 0, i = 0
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            raise Mismatch(f"{short(value)} is not a list")
        value = list(value) if value.ndim > 1 or value.dtype.kind == "M" else value.tolist()
    elif not isinstance(value, (list, tuple)):
        raise Mismatch(f"{short(value)} is not a list")
    if len(value) > 0xFFFFFFFF:
        raise Mismatch("a list has at most 4 G items")
    put_u32(out, <uint32_t>len(value))
    if item.nullable:
        bitmap = put_bitmap(out, len(value))
    for i, element in enumerate(value):
        if element is None:
            if item.nullable:
                continue
            error = Mismatch("a null is not allowed")
            error.path.append(f"[{i}]")
            raise error
        if item.nullable:
            set_bit(out, bitmap, i)
        try:
            codec.encode(item, element, out)
        except Mismatch as error:
            error.path.append(f"[{i}]")
            raise
    return 0


cdef object decode_list(const Type* t, const uint8_t** at):
    cdef uint32_t count = take_count(at), i
    cdef const Type* item = &t.children[0]
    cdef const Codec* codec = codec_of(item.kind)
    cdef const uint8_t* bitmap = at[0]
    if item.nullable:
        at[0] += (<size_t>count + 7) // 8
    items = []
    for i in range(count):
        items.append(codec.decode(item, at) if not item.nullable or is_set(bitmap, i) else None)
    return items


cdef int encode_map(const Type* t, object value, string& out) except -1:
    cdef size_t bitmap = 0, i = 0
    cdef const Type* key_type = &t.children[0]
    cdef const Type* value_type = &t.children[1]
    cdef const Codec* key_codec = codec_of(key_type.kind)
    cdef const Codec* value_codec = codec_of(value_type.kind)
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, (list, tuple)) and all(isinstance(p, tuple) and len(p) == 2 for p in value):
        pairs = value
    else:
        raise Mismatch(f"{short(value)} is not a map")
    put_u32(out, <uint32_t>len(pairs))
    if value_type.nullable:
        bitmap = put_bitmap(out, len(pairs))
    for i, (key, element) in enumerate(pairs):
        try:
            if key is None:
                raise Mismatch("a null is not allowed as a key")
            key_codec.encode(key_type, key, out)
            if element is None:
                if not value_type.nullable:
                    raise Mismatch("a null is not allowed")
                continue
            if value_type.nullable:
                set_bit(out, bitmap, i)
            value_codec.encode(value_type, element, out)
        except Mismatch as error:
            error.path.append(f"[{key!r}]")
            raise
    return 0


cdef object decode_map(const Type* t, const uint8_t** at):
    cdef uint32_t count = take_count(at), i
    cdef const Type* key_type = &t.children[0]
    cdef const Type* value_type = &t.children[1]
    cdef const Codec* key_codec = codec_of(key_type.kind)
    cdef const Codec* value_codec = codec_of(value_type.kind)
    cdef const uint8_t* bitmap = at[0]
    if value_type.nullable:
        at[0] += (<size_t>count + 7) // 8
    pairs = {}
    for i in range(count):
        key = key_codec.decode(key_type, at)
        present = not value_type.nullable or is_set(bitmap, i)
        pairs[key] = value_codec.decode(value_type, at) if present else None
    return pairs


# ---- STRUCT: a bit for each field that may be null, the fields that are not ----

cdef size_t count_nullable(const Type* t) noexcept:
    cdef size_t i, nullable = 0
    for i in range(t.children.size()):
        nullable += t.children[i].nullable
    return nullable


cdef int encode_struct(const Type* t, object value, string& out) except -1:
    cdef size_t i, bit = 0, bitmap, used = 0
    cdef const Type* field
    if not isinstance(value, Mapping):
        raise Mismatch(f"{short(value)} is not a dict")
    bitmap = put_bitmap(out, count_nullable(t))
    for i in range(t.children.size()):
        field = &t.children[i]
        name = field.name.decode()
        element = value.get(name)
        used += name in value
        try:
            if element is None:
                if not field.nullable:
                    raise Mismatch("a null is not allowed")
                bit += 1
                continue
            if field.nullable:
                set_bit(out, bitmap, bit)
                bit += 1
            codec_of(field.kind).encode(field, element, out)
        except Mismatch as error:
            error.path.append(f".{name}")
            raise
    if used != <size_t>len(value):
        known = [t.children[i].name.decode() for i in range(t.children.size())]
        extra = next(k for k in value if k not in known)
        raise Mismatch(f"there is no field {extra!r}; there are {', '.join(known)}")
    return 0


cdef object decode_struct(const Type* t, const uint8_t** at):
    cdef size_t i, bit = 0
    cdef const Type* field
    cdef const uint8_t* bitmap = at[0]
    at[0] += (count_nullable(t) + 7) // 8
    result = {}
    for i in range(t.children.size()):
        field = &t.children[i]
        present = True
        if field.nullable:
            present = is_set(bitmap, bit)
            bit += 1
        result[field.name.decode()] = codec_of(field.kind).decode(field, at) if present else None
    return result


register_codec(GF_TENSOR, encode_tensor, decode_tensor)
register_codec(GF_LIST, encode_list, decode_list, read_encoded)
register_codec(GF_MAP, encode_map, decode_map, read_encoded)
register_codec(GF_STRUCT, encode_struct, decode_struct, read_encoded)
