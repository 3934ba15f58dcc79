"""The codecs of BOOL, integers, floats and DECIMAL."""
import decimal

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_Check
from libc.math cimport fabs, isinf
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy
from libcpp.string cimport string

from gridflow._native.codecs cimport register_codec, short
from gridflow._native.core cimport *

from gridflow._native.codecs import Mismatch


cdef extern from "Python.h":
    long long PyLong_AsLongLong(object) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object) except? 0xFFFFFFFFFFFFFFFF

TEN = 10  # a Python integer: a power of it in C would overflow


# ---- BOOL: a byte; in a column's buffer a bit ----

cdef int encode_bool(const Type* t, object value, string& out) except -1:
    if not isinstance(value, (bool, np.bool_)):
        raise Mismatch(f"{short(value)} is not a bool")
    out.push_back(1 if value else 0)
    return 0


cdef object decode_bool(const Type* t, const uint8_t** at):
    cdef const uint8_t* p = at[0]
    at[0] = p + 1
    return p[0] != 0


cdef object read_bool(const ColumnView* column, int64_t row):
    return column.Bit(row)


# ---- integers: little endian, so of a wider number the low bytes ----

cdef object integer_of(object value):
    """Of a value that is no ``int`` itself."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise Mismatch(f"{short(value)} is not an integer")
    try:
        return value.__index__()
    except TypeError:  # an array, for one
        raise Mismatch(f"{short(value)} is not an integer") from None


cdef int encode_signed(const Type* t, object value, string& out) except -1:
    cdef int64_t number = 0
    cdef int64_t bits = t.width * 8
    if not PyLong_Check(value) or value is True or value is False:
        value = integer_of(value)
    try:
        number = PyLong_AsLongLong(value)
        if bits < 64 and not (-(<int64_t>1 << (bits - 1)) <= number < (<int64_t>1 << (bits - 1))):
            raise OverflowError
    except OverflowError:
        raise Mismatch(f"{short(value)} is out of its range") from None
    out.append(<const char*>&number, t.width)
    return 0


cdef int encode_unsigned(const Type* t, object value, string& out) except -1:
    cdef uint64_t number = 0
    cdef int64_t bits = t.width * 8
    if not PyLong_Check(value) or value is True or value is False:
        value = integer_of(value)
    try:
        number = PyLong_AsUnsignedLongLong(value)
        if bits < 64 and (number >> bits) != 0:
            raise OverflowError
    except OverflowError:
        raise Mismatch(f"{short(value)} is out of its range") from None
    out.append(<const char*>&number, t.width)
    return 0


cdef object decode_signed(const Type* t, const uint8_t** at):
    cdef int64_t number = 0
    memcpy(&number, at[0], t.width)
    at[0] += t.width
    # As one without a sign: to shift a negative number to the left is undefined.
    return <int64_t>(<uint64_t>number << (64 - 8 * t.width)) >> (64 - 8 * t.width)


cdef object decode_unsigned(const Type* t, const uint8_t** at):
    cdef uint64_t number = 0
    memcpy(&number, at[0], t.width)
    at[0] += t.width
    return number


# ---- floats: IEEE 754, little endian ----

cdef int number_of(object value, double* number) except -1:
    """Of a value that is no ``float`` itself."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or not (
        hasattr(value, "__float__") or hasattr(value, "__index__")
    ):
        raise Mismatch(f"{short(value)} is not a number")
    try:
        number[0] = float(value)
    except OverflowError:
        raise Mismatch(f"{short(value)} is out of its range") from None
    except (TypeError, ValueError):  # an array, for one
        raise Mismatch(f"{short(value)} is not a number") from None
    return 0


cdef int encode_float64(const Type* t, object value, string& out) except -1:
    cdef double number = 0
    if PyFloat_Check(value):
        number = PyFloat_AS_DOUBLE(value)
    else:
        number_of(value, &number)
    out.append(<const char*>&number, 8)
    return 0


cdef int encode_float32(const Type* t, object value, string& out) except -1:
    cdef double number = 0
    cdef float rounded
    if PyFloat_Check(value):
        number = PyFloat_AS_DOUBLE(value)
    else:
        number_of(value, &number)
    rounded = <float>number
    if isinf(rounded) and not isinf(number):
        raise Mismatch(f"{short(value)} is out of its range")
    out.append(<const char*>&rounded, 4)
    return 0


cdef int encode_float16(const Type* t, object value, string& out) except -1:
    cdef double number = 0
    if PyFloat_Check(value):
        number = PyFloat_AS_DOUBLE(value)
    else:
        number_of(value, &number)
    if fabs(number) >= 65520.0 and not isinf(number):  # rounds to an infinity
        raise Mismatch(f"{short(value)} is out of its range")
    encoded = np.float16(number).tobytes()
    out.append(PyBytes_AS_STRING(encoded), 2)
    return 0


cdef object decode_float64(const Type* t, const uint8_t** at):
    cdef double number
    memcpy(&number, at[0], 8)
    at[0] += 8
    return number


cdef object decode_float32(const Type* t, const uint8_t** at):
    cdef float number
    memcpy(&number, at[0], 4)
    at[0] += 4
    return <double>number


cdef object decode_float16(const Type* t, const uint8_t** at):
    cdef const uint8_t* p = at[0]
    at[0] = p + 2
    return float(np.frombuffer(p[:2], dtype=np.float16)[0])


cdef int float_key(const Type* t, string& out, size_t start) except -1:
    """-0.0 becomes 0.0, so that both are one key, and NaN is none."""
    cdef uint8_t* bytes = <uint8_t*>&out[start]
    cdef size_t last = t.width - 1
    cdef uint64_t bits = 0
    memcpy(&bits, bytes, t.width)
    cdef uint64_t sign = <uint64_t>1 << (8 * t.width - 1)
    cdef uint64_t infinity = (
        <uint64_t>0x7FF0000000000000 if t.width == 8 else 0x7F800000 if t.width == 4 else 0x7C00
    )
    if bits == sign:
        bytes[last] = 0
    elif (bits & ~sign) > infinity:
        raise Mismatch("NaN is not allowed in a key")
    return 0


# ---- DECIMAL: its digits as a number of 16 bytes, two's complement ----

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


cdef object decode_decimal(const Type* t, const uint8_t** at):
    cdef const uint8_t* p = at[0]
    at[0] = p + 16
    number = int.from_bytes(p[:16], "little", signed=True)
    return decimal.Decimal((number < 0, tuple(map(int, str(abs(number)))), -<int>t.scale))


register_codec(GF_BOOL, encode_bool, decode_bool, read_bool)
register_codec(GF_INT8, encode_signed, decode_signed)
register_codec(GF_INT16, encode_signed, decode_signed)
register_codec(GF_INT32, encode_signed, decode_signed)
register_codec(GF_INT64, encode_signed, decode_signed)
register_codec(GF_UINT8, encode_unsigned, decode_unsigned)
register_codec(GF_UINT16, encode_unsigned, decode_unsigned)
register_codec(GF_UINT32, encode_unsigned, decode_unsigned)
register_codec(GF_UINT64, encode_unsigned, decode_unsigned)
register_codec(GF_FLOAT16, encode_float16, decode_float16, NULL, float_key)
register_codec(GF_FLOAT32, encode_float32, decode_float32, NULL, float_key)
register_codec(GF_FLOAT64, encode_float64, decode_float64, NULL, float_key)
register_codec(GF_DECIMAL, encode_decimal, decode_decimal)
