"""The codecs of DATE (int32 days), TIME (int64 microseconds) and TIMESTAMP (int64 of its unit)."""
import datetime

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy
from libcpp.string cimport string

from gridflow._native.codecs cimport register_codec, short
from gridflow._native.core cimport *

from gridflow._native.codecs import UNIT_NAMES, Mismatch

EPOCH = datetime.datetime(1970, 1, 1)
EPOCH_UTC = EPOCH.replace(tzinfo=datetime.timezone.utc)
EPOCH_ORDINAL = datetime.date(1970, 1, 1).toordinal()
MICROSECOND = datetime.timedelta(microseconds=1)
TEN = 10  # a Python integer: a power of it in C would overflow
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


cdef int encode_date(const Type* t, object value, string& out) except -1:
    cdef int32_t days
    if isinstance(value, np.datetime64):
        if np.isnat(value) or np.datetime_data(value.dtype)[0] not in ("D", "s", "ms", "us", "ns"):
            raise Mismatch(f"{short(value)} is not a date")
        if value.astype("datetime64[D]") != value:
            raise Mismatch(f"{short(value)} is not a whole day")
        number = int(value.astype("datetime64[D]").astype("int64"))
        if abs(number) > MAX_INT32:
            raise Mismatch(f"{short(value)} is out of range")
        days = number
    elif not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
        raise Mismatch(f"{short(value)} is not a datetime.date")
    else:
        days = value.toordinal() - EPOCH_ORDINAL
    out.append(<const char*>&days, 4)
    return 0


cdef object decode_date(const Type* t, const uint8_t** at):
    cdef int32_t days
    memcpy(&days, at[0], 4)
    at[0] += 4
    try:
        return datetime.date.fromordinal(days + EPOCH_ORDINAL)
    except (ValueError, OverflowError):
        return np.datetime64(days, "D")


cdef int encode_time(const Type* t, object value, string& out) except -1:
    cdef int64_t micro
    if not isinstance(value, datetime.time) or value.tzinfo is not None:
        raise Mismatch(f"{short(value)} is not a datetime.time without time zone")
    micro = ((value.hour * 60 + value.minute) * 60 + value.second) * 1000000 + value.microsecond
    out.append(<const char*>&micro, 8)
    return 0


cdef object decode_time(const Type* t, const uint8_t** at):
    cdef int64_t micro
    memcpy(&micro, at[0], 8)
    at[0] += 8
    return (datetime.datetime.min + datetime.timedelta(microseconds=micro)).time()


cdef int64_t units_of_numpy(const Type* t, object value) except? -1:
    """In Python's integers: numpy wraps around where a time is too far away for a finer unit."""
    if np.isnat(value):
        raise Mismatch("NaT is not a time; use None for a null")
    name, count = np.datetime_data(value.dtype)
    number = int(value.astype("int64"))
    if name in ("Y", "M"):
        if abs(number * count) > TEN ** 12:
            raise Mismatch(f"{short(value)} is out of range")
        number, name, count = int(value.astype("datetime64[D]").astype("int64")), "D", 1
    units, rest = divmod(number * count * UNITS_PER_SECOND[<int>t.unit] * NUMPY_UNITS[name], ATTO)
    return checked_units(t, value, units, rest)


cdef int64_t units_of_datetime(const Type* t, object value) except? -1:
    cdef object per_second = UNITS_PER_SECOND[<int>t.unit]
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
    return checked_units(t, value, units, rest)


cdef int64_t checked_units(const Type* t, object value, object units, object rest) except? -1:
    if rest:
        raise Mismatch(f"{short(value)} does not fit a unit of {UNIT_NAMES[<int>t.unit]}")
    if not MIN_INT64 < units <= MAX_INT64:
        raise Mismatch(f"{short(value)} is out of range")
    return <int64_t>units


cdef int encode_timestamp(const Type* t, object value, string& out) except -1:
    cdef int64_t units = units_of_numpy(t, value) if isinstance(value, np.datetime64) else units_of_datetime(t, value)
    out.append(<const char*>&units, 8)
    return 0


cdef object decode_timestamp(const Type* t, const uint8_t** at):
    cdef int64_t units
    memcpy(&units, at[0], 8)
    at[0] += 8
    if t.unit == GF_NANOSECOND:
        return np.datetime64(units, "ns")
    try:
        micro = units * (1000000 // UNITS_PER_SECOND[<int>t.unit])
        return (EPOCH_UTC if t.utc else EPOCH) + datetime.timedelta(microseconds=micro)
    except OverflowError:
        return np.datetime64(units, UNIT_NAMES[<int>t.unit])


register_codec(GF_DATE, encode_date, decode_date)
register_codec(GF_TIME, encode_time, decode_time)
register_codec(GF_TIMESTAMP, encode_timestamp, decode_timestamp)
