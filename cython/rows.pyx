"""Python values to encoded rows (log_format.h) and back."""
import datetime
import decimal
import uuid
from collections.abc import Mapping

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_Check
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeUTF8
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.math cimport fabs, isinf
from libc.string cimport memcpy
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native.core cimport *
from gridflow._native.status cimport check

from gridflow import schema as _schema
from gridflow.config import MAX_KEY_BYTES
from gridflow import errors as _errors
from gridflow.errors import ColumnNotFound, SchemaError


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL
    long long PyLong_AsLongLong(object) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object) except? 0xFFFFFFFFFFFFFFFF

KINDS = {
    "BOOL": GF_BOOL, "INT8": GF_INT8, "INT16": GF_INT16, "INT32": GF_INT32, "INT64": GF_INT64,
    "UINT8": GF_UINT8, "UINT16": GF_UINT16, "UINT32": GF_UINT32, "UINT64": GF_UINT64,
    "FLOAT16": GF_FLOAT16, "FLOAT32": GF_FLOAT32, "FLOAT64": GF_FLOAT64, "DECIMAL": GF_DECIMAL,
    "STRING": GF_STRING, "BINARY": GF_BINARY, "DATE": GF_DATE, "TIME": GF_TIME, "TIMESTAMP": GF_TIMESTAMP,
    "UUID": GF_UUID, "TENSOR": GF_TENSOR, "LIST": GF_LIST, "STRUCT": GF_STRUCT, "MAP": GF_MAP,
}
KIND_NAMES = {code: name for name, code in KINDS.items()}
UNITS = {"": GF_SECOND, "s": GF_SECOND, "ms": GF_MILLISECOND, "us": GF_MICROSECOND, "ns": GF_NANOSECOND}
UNIT_NAMES = ("s", "ms", "us", "ns")

EPOCH = datetime.datetime(1970, 1, 1)
EPOCH_UTC = EPOCH.replace(tzinfo=datetime.timezone.utc)
EPOCH_ORDINAL = datetime.date(1970, 1, 1).toordinal()
TEN = 10  # a Python integer: a power of it in C would overflow
MICROSECOND = datetime.timedelta(microseconds=1)
cdef tuple UNITS_PER_SECOND = (1, 1000, 1000000, 1000000000)
MAX_INT32 = int(np.iinfo(np.int32).max)
MAX_INT64 = int(np.iinfo(np.int64).max)
MIN_INT64 = int(np.iinfo(np.int64).min)  # numpy's NaT: no time
# Attoseconds in numpy's units of time.
ATTO = TEN ** 18
NUMPY_UNITS = {
    "W": 604800 * ATTO, "D": 86400 * ATTO, "h": 3600 * ATTO, "m": 60 * ATTO, "s": ATTO, "ms": TEN ** 15, "us": TEN ** 12,
    "ns": TEN ** 9, "ps": TEN ** 6, "fs": TEN ** 3, "as": 1,
}


class Mismatch(Exception):
    """A value that does not fit; `path` names the parts from the innermost out."""

    def __init__(self, str message):
        self.message = message
        self.path = []


cdef str short(object value):
    text = repr(value)
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype}[{','.join(map(str, value.shape))}]"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


# ---- schemas ----

cdef int type_to_native(str name, object t, Type* out) except -1:
    cdef size_t i
    out.kind = <gf_kind><int>KINDS[t.kind]
    out.nullable = t.nullable
    out.utc = t.utc
    out.unit = <gf_unit><int>UNITS[t.unit]
    out.precision = t.precision
    out.scale = t.scale
    out.name = name.encode()
    if t.kind == "TENSOR":
        out.element = <gf_kind><int>KINDS[t.element]
        for dim in t.shape:
            out.dims.push_back(dim)
        if t.size * t.dtype.itemsize > 1 << 31:
            raise SchemaError(f"column {name} {t}: a tensor may have 2 GiB")
    out.children.resize(len(t.children))
    for i, (child_name, child) in enumerate(t.children):
        type_to_native(child_name, child, &out.children[i])
    return 0


cdef object type_from_native(const Type& t):
    cdef size_t i
    kind = KIND_NAMES[<int>t.kind]
    return _schema.Type(
        kind,
        nullable=t.nullable,
        precision=t.precision,
        scale=t.scale,
        unit=UNIT_NAMES[<int>t.unit] if t.kind == GF_TIMESTAMP else "",
        utc=t.utc,
        element=KIND_NAMES[<int>t.element] if t.kind == GF_TENSOR else "",
        shape=tuple([t.dims[i] for i in range(t.dims.size())]),
        children=tuple([
            (t.children[i].name.decode(), type_from_native(t.children[i])) for i in range(t.children.size())
        ]),
    )


cdef object schema_from_native(const Schema& schema):
    cdef size_t i
    cdef const Column* column
    columns = []
    for i in range(schema.columns.size()):
        column = &schema.columns[i]
        columns.append(
            _schema.Column(column.type.name.decode(), type_from_native(column.type), column.id, column.fill)
        )
    return _schema.Schema(tuple(columns), tuple([columns[schema.key[i]].name for i in range(schema.key.size())]))


# ---- values to bytes ----

cdef inline void put_u32(string& out, uint32_t value) noexcept:
    out.append(<const char*>&value, 4)


cdef inline int put_bytes(string& out, const char* data, Py_ssize_t size) except -1:
    if size > <Py_ssize_t>0xFFFFFFFE:
        raise Mismatch("a value has at most 4 GiB - 2")
    put_u32(out, <uint32_t>size)
    out.append(data, size)
    return 0


cdef int encode_integer(const Type* t, object value, string& out) except -1:
    cdef int64_t signed = 0
    cdef uint64_t unsigned = 0
    cdef int64_t bits = t.width * 8
    if not PyLong_Check(value) or value is True or value is False:
        if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
            raise Mismatch(f"{short(value)} is not an integer")
        try:
            value = value.__index__()
        except TypeError:  # an array, for one
            raise Mismatch(f"{short(value)} is not an integer") from None
    try:
        if t.kind >= GF_UINT8:
            unsigned = PyLong_AsUnsignedLongLong(value)
            signed = <int64_t>unsigned
            if bits < 64 and (unsigned >> bits) != 0:
                raise OverflowError
        else:
            signed = PyLong_AsLongLong(value)
            if bits < 64 and not (-(<int64_t>1 << (bits - 1)) <= signed < (<int64_t>1 << (bits - 1))):
                raise OverflowError
    except OverflowError:
        raise Mismatch(f"{short(value)} is out of its range") from None
    out.append(<const char*>&signed, t.width)  # little endian: the low bytes
    return 0


cdef int encode_float(const Type* t, object value, string& out) except -1:
    cdef double d
    cdef float f
    if PyFloat_Check(value):
        d = PyFloat_AS_DOUBLE(value)
    elif isinstance(value, (bool, np.bool_, str, bytes)) or not (
        hasattr(value, "__float__") or hasattr(value, "__index__")
    ):
        raise Mismatch(f"{short(value)} is not a number")
    else:
        try:
            d = float(value)
        except OverflowError:
            raise Mismatch(f"{short(value)} is out of its range") from None
        except (TypeError, ValueError):  # an array, for one
            raise Mismatch(f"{short(value)} is not a number") from None
    if t.kind == GF_FLOAT64:
        out.append(<const char*>&d, 8)
    elif t.kind == GF_FLOAT32:
        f = <float>d
        if isinf(f) and not isinf(d):
            raise Mismatch(f"{short(value)} is out of its range")
        out.append(<const char*>&f, 4)
    else:
        if fabs(d) >= 65520.0 and not isinf(d):  # rounds to an infinity
            raise Mismatch(f"{short(value)} is out of its range")
        encoded = np.float16(d).tobytes()
        out.append(PyBytes_AS_STRING(encoded), 2)
    return 0


cdef int canonical_float(const Type* t, string& out, size_t start) except -1:
    """Of a key's float that was just encoded at ``start``: -0.0 becomes 0.0, so that both are one key, and NaN is none."""
    cdef uint8_t* bytes = <uint8_t*>&out[start]
    cdef size_t i, last = t.width - 1
    cdef uint64_t bits = 0
    memcpy(&bits, bytes, t.width)
    cdef uint64_t sign = <uint64_t>1 << (8 * t.width - 1)
    cdef uint64_t infinity = (
        <uint64_t>0x7FF0000000000000 if t.kind == GF_FLOAT64 else 0x7F800000 if t.kind == GF_FLOAT32 else 0x7C00
    )
    if bits == sign:
        bytes[last] = 0
    elif (bits & ~sign) > infinity:
        raise Mismatch("NaN is not allowed in a key")
    return 0


cdef int encode_decimal(const Type* t, object value, string& out) except -1:
    if isinstance(value, (bool, np.bool_, float)) or not isinstance(value, (decimal.Decimal, int, np.integer)):
        raise Mismatch(f"{short(value)} is not a decimal.Decimal or an integer")
    number = value if isinstance(value, decimal.Decimal) else decimal.Decimal(int(value))
    if not number.is_finite():
        raise Mismatch(f"{short(value)} is not finite")
    sign, digits, exponent = number.as_tuple()
    if len(digits) > 1000:
        raise Mismatch(f"{short(value)} has more than {t.precision} digits")
    unscaled = int("".join(map(str, digits)) or "0")
    shift = exponent + t.scale
    if shift >= 0:
        unscaled *= TEN ** min(shift, 60)
    else:
        # A power above the number of digits leaves the same rest, and no exponent makes it a number of a million digits.
        unscaled, rest = divmod(unscaled, TEN ** min(-shift, len(digits) + 1))
        if rest:
            raise Mismatch(f"{short(value)} has more than {t.scale} digits after the point")
    if unscaled >= TEN ** <object>t.precision:
        raise Mismatch(f"{short(value)} has more than {t.precision} digits")
    encoded = (-unscaled if sign else unscaled).to_bytes(16, "little", signed=True)
    out.append(PyBytes_AS_STRING(encoded), 16)
    return 0


cdef int64_t timestamp_units(const Type* t, object value) except? -1:
    cdef object per_second = UNITS_PER_SECOND[<int>t.unit]
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise Mismatch("NaT is not a time; use None for a null")
        unit = UNIT_NAMES[<int>t.unit]
        # In Python's integers: numpy wraps around where a time is too far away for a finer unit.
        name, count = np.datetime_data(value.dtype)
        number = int(value.astype("int64"))
        if name in ("Y", "M"):
            if abs(number * count) > TEN ** 12:
                raise Mismatch(f"{short(value)} is out of range")
            number, name, count = int(value.astype("datetime64[D]").astype("int64")), "D", 1
        units, rest = divmod(number * count * per_second * NUMPY_UNITS[name], ATTO)
        if rest:
            raise Mismatch(f"{short(value)} does not fit a unit of {unit}")
        if not MIN_INT64 < units <= MAX_INT64:
            raise Mismatch(f"{short(value)} is out of range")
        return <int64_t>units
    if not isinstance(value, datetime.datetime):
        raise Mismatch(f"{short(value)} is not a datetime.datetime")
    nanoseconds = getattr(value, "nanosecond", 0)  # pandas.Timestamp
    if t.utc:
        if value.tzinfo is None:
            raise Mismatch(f"{short(value)} has no time zone")
        micro = (value - EPOCH_UTC) // MICROSECOND
    else:
        if value.tzinfo is not None:
            raise Mismatch(f"{short(value)} has a time zone; the column has none")
        micro = (value - EPOCH) // MICROSECOND
    if per_second >= 1000000:
        units = micro * (per_second // 1000000) + (nanoseconds if per_second > 1000000 else 0)
        rest = nanoseconds if per_second == 1000000 else 0
    else:
        units, rest = divmod(micro, 1000000 // per_second)
        rest = rest or nanoseconds
    if rest:
        raise Mismatch(f"{short(value)} does not fit a unit of {UNIT_NAMES[<int>t.unit]}")
    if not MIN_INT64 < units <= MAX_INT64:
        raise Mismatch(f"{short(value)} is out of range")
    return <int64_t>units


cdef int encode_tensor(const Type* t, object value, string& out) except -1:
    cdef const uint8_t[::1] flat
    cdef int element = <int>t.element
    name = "bool" if element == GF_BOOL else KIND_NAMES[element].lower()
    dtype = np.dtype(name)
    shape = tuple([t.dims[i] for i in range(t.dims.size())])
    if hasattr(value, "__array__") and not isinstance(value, np.ndarray):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        if value.dtype != dtype and not np.can_cast(value.dtype, dtype, "safe"):
            raise Mismatch(f"{short(value)} does not fit dtype {name}")
        array = value
    elif isinstance(value, (list, tuple)):
        try:
            array = np.array(value)
            if array.dtype != dtype and array.size:
                cast = array.astype(dtype)
                if array.dtype.kind not in "biuf" or (dtype.kind in "biu" and not np.array_equal(cast, array)):
                    raise Mismatch(f"{short(value)} does not fit dtype {name}")
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


cdef int encode_list(const Type* t, object value, string& out) except -1:
    cdef const Type* item = &t.children[0]
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
        bitmap = out.size()
        out.append((<size_t>len(value) + 7) // 8, <char>0)
    for i, element in enumerate(value):
        if element is None:
            if item.nullable:
                continue
            error = Mismatch("a null is not allowed")
            error.path.append(f"[{i}]")
            raise error
        if item.nullable:
            out[bitmap + i // 8] = <char>(<uint8_t>out[bitmap + i // 8] | (1 << (i % 8)))
        try:
            encode_item(item, element, out)
        except Mismatch as error:
            error.path.append(f"[{i}]")
            raise
    return 0


cdef int encode_map(const Type* t, object value, string& out) except -1:
    cdef size_t bitmap = 0, i = 0
    cdef const Type* key_type = &t.children[0]
    cdef const Type* value_type = &t.children[1]
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, (list, tuple)) and all(isinstance(p, tuple) and len(p) == 2 for p in value):
        pairs = value
    else:
        raise Mismatch(f"{short(value)} is not a map")
    put_u32(out, <uint32_t>len(pairs))
    if value_type.nullable:
        bitmap = out.size()
        out.append((<size_t>len(pairs) + 7) // 8, <char>0)
    for i, (key, element) in enumerate(pairs):
        try:
            if key is None:
                raise Mismatch("a null is not allowed as a key")
            encode_item(key_type, key, out)
            if element is None:
                if not value_type.nullable:
                    raise Mismatch("a null is not allowed")
                continue
            if value_type.nullable:
                out[bitmap + i // 8] = <char>(<uint8_t>out[bitmap + i // 8] | (1 << (i % 8)))
            encode_item(value_type, element, out)
        except Mismatch as error:
            error.path.append(f"[{key!r}]")
            raise
    return 0


cdef int encode_struct(const Type* t, object value, string& out) except -1:
    cdef size_t i, nullable = 0, bit = 0, bitmap, used = 0
    if not isinstance(value, Mapping):
        raise Mismatch(f"{short(value)} is not a dict")
    for i in range(t.children.size()):
        nullable += t.children[i].nullable
    bitmap = out.size()
    out.append((nullable + 7) // 8, <char>0)
    for i in range(t.children.size()):
        name = t.children[i].name.decode()
        element = value.get(name)
        used += name in value
        try:
            if element is None:
                if not t.children[i].nullable:
                    raise Mismatch("a null is not allowed")
                bit += 1
                continue
            if t.children[i].nullable:
                out[bitmap + bit // 8] = <char>(<uint8_t>out[bitmap + bit // 8] | (1 << (bit % 8)))
                bit += 1
            encode_item(&t.children[i], element, out)
        except Mismatch as error:
            error.path.append(f".{name}")
            raise
    if used != <size_t>len(value):
        known = [t.children[i].name.decode() for i in range(t.children.size())]
        extra = next(k for k in value if k not in known)
        raise Mismatch(f"there is no field {extra!r}; there are {', '.join(known)}")
    return 0


cdef int encode_item(const Type* t, object value, string& out) except -1:
    cdef Py_ssize_t size
    cdef const char* text
    cdef int64_t i64
    cdef int32_t i32
    cdef const uint8_t[::1] view
    if t.kind == GF_BINARY:
        if isinstance(value, bytes):
            return put_bytes(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        if isinstance(value, (bytearray, memoryview)):
            value = bytes(value)
            return put_bytes(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        raise Mismatch(f"{short(value)} is not bytes")
    if t.kind == GF_STRING:
        if not PyUnicode_Check(value):
            raise Mismatch(f"{short(value)} is not a str")
        try:
            text = PyUnicode_AsUTF8AndSize(value, &size)
        except UnicodeEncodeError:
            raise Mismatch(f"{short(value)} cannot be written as UTF-8") from None
        return put_bytes(out, text, size)
    if GF_INT8 <= t.kind <= GF_UINT64:
        return encode_integer(t, value, out)
    if GF_FLOAT16 <= t.kind <= GF_FLOAT64:
        return encode_float(t, value, out)
    if t.kind == GF_BOOL:
        if not isinstance(value, (bool, np.bool_)):
            raise Mismatch(f"{short(value)} is not a bool")
        out.push_back(1 if value else 0)
        return 0
    if t.kind == GF_TENSOR:
        return encode_tensor(t, value, out)
    if t.kind == GF_STRUCT:
        return encode_struct(t, value, out)
    if t.kind == GF_LIST:
        return encode_list(t, value, out)
    if t.kind == GF_MAP:
        return encode_map(t, value, out)
    if t.kind == GF_DECIMAL:
        return encode_decimal(t, value, out)
    if t.kind == GF_UUID:
        if isinstance(value, uuid.UUID):
            value = value.bytes
        elif not (isinstance(value, bytes) and len(value) == 16):
            raise Mismatch(f"{short(value)} is not a uuid.UUID")
        out.append(PyBytes_AS_STRING(value), 16)
        return 0
    if t.kind == GF_DATE:
        if isinstance(value, np.datetime64):
            if np.isnat(value) or np.datetime_data(value.dtype)[0] not in ("D", "s", "ms", "us", "ns"):
                raise Mismatch(f"{short(value)} is not a date")
            if value.astype("datetime64[D]") != value:
                raise Mismatch(f"{short(value)} is not a whole day")
            days = int(value.astype("datetime64[D]").astype("int64"))
            if abs(days) > MAX_INT32:
                raise Mismatch(f"{short(value)} is out of range")
            i32 = days
        elif not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            raise Mismatch(f"{short(value)} is not a datetime.date")
        else:
            i32 = value.toordinal() - EPOCH_ORDINAL
        out.append(<const char*>&i32, 4)
        return 0
    if t.kind == GF_TIME:
        if not isinstance(value, datetime.time) or value.tzinfo is not None:
            raise Mismatch(f"{short(value)} is not a datetime.time without time zone")
        i64 = ((value.hour * 60 + value.minute) * 60 + value.second) * 1000000 + value.microsecond
        out.append(<const char*>&i64, 8)
        return 0
    if t.kind == GF_TIMESTAMP:
        i64 = timestamp_units(t, value)
        out.append(<const char*>&i64, 8)
        return 0
    raise AssertionError("unknown kind")


# ---- bytes to values ----

cdef object decode_timestamp(const Type* t, int64_t units):
    unit = UNIT_NAMES[<int>t.unit]
    if t.unit == GF_NANOSECOND:
        return np.datetime64(units, "ns")
    try:
        micro = units * (1000000 // UNITS_PER_SECOND[<int>t.unit])
        return (EPOCH_UTC if t.utc else EPOCH) + datetime.timedelta(microseconds=micro)
    except OverflowError:
        return np.datetime64(units, unit)


cdef object decode_item(const Type* t, const uint8_t** at):
    cdef const uint8_t* p = at[0]
    cdef uint32_t count
    cdef int64_t i64
    cdef uint64_t u64
    cdef int32_t i32
    cdef double d
    cdef float f
    cdef uint8_t[::1] flat
    if t.kind == GF_BINARY or t.kind == GF_STRING:
        memcpy(&count, p, 4)
        at[0] = p + 4 + count
        if t.kind == GF_BINARY:
            return PyBytes_FromStringAndSize(<const char*>p + 4, count)
        return PyUnicode_DecodeUTF8(<const char*>p + 4, count, NULL)
    if t.kind == GF_LIST or t.kind == GF_MAP or t.kind == GF_STRUCT:
        return decode_nested(t, at)
    if t.kind == GF_BOOL:
        at[0] = p + 1
        return p[0] != 0
    at[0] = p + t.width
    if GF_INT8 <= t.kind <= GF_INT64:
        i64 = 0
        memcpy(&i64, p, t.width)
        i64 = i64 << (64 - 8 * t.width) >> (64 - 8 * t.width)
        return i64
    if GF_UINT8 <= t.kind <= GF_UINT64:
        u64 = 0
        memcpy(&u64, p, t.width)
        return u64
    if t.kind == GF_FLOAT64:
        memcpy(&d, p, 8)
        return d
    if t.kind == GF_FLOAT32:
        memcpy(&f, p, 4)
        return <double>f
    if t.kind == GF_FLOAT16:
        return float(np.frombuffer(p[:2], dtype=np.float16)[0])
    if t.kind == GF_DATE:
        memcpy(&i32, p, 4)
        try:
            return datetime.date.fromordinal(i32 + EPOCH_ORDINAL)
        except (ValueError, OverflowError):
            return np.datetime64(i32, "D")
    if t.kind == GF_TIME:
        memcpy(&i64, p, 8)
        return (datetime.datetime.min + datetime.timedelta(microseconds=i64)).time()
    if t.kind == GF_TIMESTAMP:
        memcpy(&i64, p, 8)
        return decode_timestamp(t, i64)
    if t.kind == GF_UUID:
        return uuid.UUID(bytes=p[:16])
    if t.kind == GF_DECIMAL:
        number = int.from_bytes(p[:16], "little", signed=True)
        return decimal.Decimal((number < 0, tuple(map(int, str(abs(number)))), -<int>t.scale))
    # a tensor
    dtype = np.dtype("bool" if t.element == GF_BOOL else KIND_NAMES[<int>t.element].lower())
    array = np.empty(tuple([t.dims[i] for i in range(t.dims.size())]), dtype)
    flat = array.reshape(-1).view(np.uint8)
    memcpy(&flat[0], p, t.width)
    return array


cdef object decode_cell(const ColumnView& column, int64_t row):
    """The value of a cell where it lies; nested ones go by way of their encoding."""
    cdef const Type* t = column.type
    cdef int64_t start, end
    cdef string encoded
    cdef const uint8_t* p
    if column.missing() or column.IsNull(row):
        return None
    if t.kind == GF_BOOL:
        return column.Bit(row)
    if t.kind == GF_BINARY or t.kind == GF_STRING:
        if not CheckedRange(column, row, &start, &end):
            raise _errors.GridCorruptError(f"column {t.name.decode()} has impossible offsets")
        if t.kind == GF_BINARY:
            return PyBytes_FromStringAndSize(<const char*>column.data + start, end - start)
        return PyUnicode_DecodeUTF8(<const char*>column.data + start, end - start, NULL)
    if t.width > 0:
        p = column.Value(row)
    else:
        check(EncodeCell(column, row, &encoded))
        p = <const uint8_t*>encoded.data()
    return decode_item(t, &p)


cdef object decode_nested(const Type* t, const uint8_t** at):
    cdef uint32_t count, i
    cdef size_t field, nullable = 0, bit = 0
    cdef const uint8_t* bitmap
    cdef const Type* item
    if t.kind == GF_STRUCT:
        for field in range(t.children.size()):
            nullable += t.children[field].nullable
        bitmap = at[0]
        at[0] += (nullable + 7) // 8
        result = {}
        for field in range(t.children.size()):
            item = &t.children[field]
            present = True
            if item.nullable:
                present = (bitmap[bit >> 3] >> (bit & 7)) & 1
                bit += 1
            result[item.name.decode()] = decode_item(item, at) if present else None
        return result
    memcpy(&count, at[0], 4)
    at[0] += 4
    item = &t.children[0 if t.kind == GF_LIST else 1]
    bitmap = at[0]
    if item.nullable:
        at[0] += (<size_t>count + 7) // 8
    if t.kind == GF_LIST:
        items = []
        for i in range(count):
            present = not item.nullable or (bitmap[i >> 3] >> (i & 7)) & 1
            items.append(decode_item(item, at) if present else None)
        return items
    pairs = {}
    for i in range(count):
        key = decode_item(&t.children[0], at)
        present = not item.nullable or (bitmap[i >> 3] >> (i & 7)) & 1
        pairs[key] = decode_item(item, at) if present else None
    return pairs


cdef class RowCodec:
    """Encodes and decodes keys and values of one table's schema. Immutable; any thread that holds the GIL may use it.

    Args:
        schema: a ``gridflow.schema.Schema``.
        table: the table's name, for messages.
    """

    def __init__(self, object schema, str table):
        cdef size_t i
        cdef string bytes
        self.python_schema = schema
        self.table = table
        self.plain_value = schema.plain_value
        names = schema.names
        self.schema.columns.resize(len(schema.columns))
        for i, column in enumerate(schema.columns):
            self.schema.columns[i].id = column.id
            self.schema.columns[i].fill = column.fill
            type_to_native(column.name, column.type, &self.schema.columns[i].type)
        for name in schema.key:
            self.schema.key.push_back(names.index(name))
        self.schema.Finish()
        self.value_names = tuple(c.name for c in schema.value_columns)
        bytes = self.schema.Serialize()
        self.digest = KeyHash(bytes.data(), bytes.size())  # of all that the bytes of a row depend on

    def encode_cell(self, str name, value):
        """The log's encoding of one value of a column, as ``Column.fill`` takes it."""
        cdef string encoded
        cdef uint32_t position = self.python_schema.names.index(name)
        try:
            encode_item(&self.schema.columns[position].type, value, encoded)
        except Mismatch as mismatch:
            raise self.fail(position, mismatch) from None
        return <bytes>encoded

    cdef object fail(self, uint32_t position, object mismatch):
        column = self.python_schema.columns[position]
        path = "".join(reversed(mismatch.path))
        return SchemaError(f"table {self.table}, column {column.name}{path} {column.type}: {mismatch.message}")

    cdef int encode_key(self, object key, string& out) except -1:
        cdef size_t start = out.size(), i, count = self.schema.key.size(), at
        if count == 1:
            parts = None
        elif isinstance(key, Mapping):
            names = self.python_schema.key
            if set(key) != set(names):
                raise SchemaError(f"table {self.table}: the key is {', '.join(names)}, got {', '.join(map(str, key))}")
            parts = tuple(key[name] for name in names)
        elif isinstance(key, (tuple, list)) and len(key) == <Py_ssize_t>count:
            parts = key
        else:
            names = ", ".join(self.python_schema.key)
            raise SchemaError(f"table {self.table}: a key is a tuple ({names}), got {short(key)}")
        for i in range(count):
            value = key if parts is None else parts[i]
            position = self.schema.key[i]
            try:
                if value is None:
                    raise Mismatch("a null is not allowed in a key")
                at = out.size()
                encode_item(&self.schema.columns[position].type, value, out)
                if GF_FLOAT16 <= self.schema.columns[position].type.kind <= GF_FLOAT64:
                    canonical_float(&self.schema.columns[position].type, out, at)
            except Mismatch as error:
                raise self.fail(position, error) from None
        if out.size() - start > <size_t>MAX_KEY_BYTES:
            raise SchemaError(
                f"table {self.table}: a key has at most {MAX_KEY_BYTES} bytes, this one has {out.size() - start}"
            )
        return 0

    cdef int encode_value(self, object value, string& out) except -1:
        cdef size_t i, nullable = 0, bit = 0, bitmap, used = 0, count = self.schema.value.size()
        cdef const Type* t
        for i in range(count):
            nullable += self.schema.columns[self.schema.value[i]].type.nullable
        bitmap = out.size()
        out.append((nullable + 7) // 8, <char>0)
        if not self.plain_value and not isinstance(value, Mapping):
            if count == 0 and value is None:
                return 0
            raise SchemaError(
                f"table {self.table}: a value is a dict of {', '.join(self.value_names)}, got {short(value)}"
            )
        for i in range(count):
            position = self.schema.value[i]
            t = &self.schema.columns[position].type
            if self.plain_value:
                item = value
            else:
                name = self.value_names[i]
                item = value.get(name)
                used += item is not None or name in value
            try:
                if item is None:
                    if not t.nullable:
                        raise Mismatch("a null is not allowed")
                    bit += 1
                    continue
                if t.nullable:
                    out[bitmap + bit // 8] = <char>(<uint8_t>out[bitmap + bit // 8] | (1 << (bit % 8)))
                    bit += 1
                encode_item(t, item, out)
            except Mismatch as error:
                raise self.fail(position, error) from None
        if not self.plain_value and used != <size_t>len(value):
            extra = next(name for name in value if name not in self.value_names)
            if extra in self.python_schema.key:
                raise SchemaError(f"table {self.table}: {extra} is in the key, it cannot be in the value")
            known = _errors.did_you_mean(str(extra), self.python_schema.names)
            raise ColumnNotFound(f"table {self.table} has no column {extra}; {known}")
        return 0

    cdef object decode_key(self, const uint8_t* p):
        cdef size_t i
        if self.schema.key.size() == 1:
            return decode_item(&self.schema.columns[self.schema.key[0]].type, &p)
        return tuple([
            decode_item(&self.schema.columns[self.schema.key[i]].type, &p) for i in range(self.schema.key.size())
        ])

    cdef object decode_value(self, const uint8_t* p):
        cdef size_t i, nullable = 0, bit = 0, count = self.schema.value.size()
        cdef const uint8_t* bitmap = p
        cdef const Type* t
        for i in range(count):
            nullable += self.schema.columns[self.schema.value[i]].type.nullable
        p += (nullable + 7) // 8
        if self.plain_value:
            if nullable and not bitmap[0] & 1:
                return None
            return decode_item(&self.schema.columns[self.schema.value[0]].type, &p)
        result = {}
        for i in range(count):
            t = &self.schema.columns[self.schema.value[i]].type
            if t.nullable:
                bit += 1
                if not (bitmap[(bit - 1) >> 3] >> ((bit - 1) & 7)) & 1:
                    result[self.value_names[i]] = None
                    continue
            result[self.value_names[i]] = decode_item(t, &p)
        return result

    def check(self, object key, object value):
        """Raises SchemaError or ColumnNotFound if a row with this key and value does not fit."""
        cdef string encoded
        self.encode_key(key, encoded)
        self.encode_value(value, encoded)

    def check_column(self, str name, list values):
        """Raises SchemaError if one of these values of a column does not fit it."""
        cdef string encoded
        cdef uint32_t position = self.python_schema.names.index(name)
        cdef const Type* t = &self.schema.columns[position].type
        for value in values:
            try:
                if value is not None:
                    encoded.clear()
                    encode_item(t, value, encoded)
                elif not t.nullable:
                    raise Mismatch("a null is not allowed")
            except Mismatch as error:
                raise self.fail(position, error) from None

    cdef object decode_row(self, const vector[ColumnView]& columns, int64_t row):
        """The value of a row of a segment; ``columns`` are in the order of the schema."""
        cdef size_t i
        if self.plain_value:
            return decode_cell(columns[self.schema.value[0]], row)
        result = {}
        for i in range(self.schema.value.size()):
            result[self.value_names[i]] = decode_cell(columns[self.schema.value[i]], row)
        return result

    def partition_of(self, object key, int partitions):
        """The partition that a key lies in, of ``partitions``."""
        cdef string encoded
        self.encode_key(key, encoded)
        return PartitionOf(KeyHash(encoded.data(), encoded.size()), partitions)
