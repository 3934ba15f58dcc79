"""Python values in a message: statement parameters as JSON, with their bytes beside it.

A value that JSON has is written as itself; any other is an object with one key that says what it is:

    {"b": [offset, length]}                     bytes, in the message's body
    {"a": [dtype, shape, offset, length]}       a numpy array, row-major, in the body
    {"n": "12.50"}                              Decimal        {"f": "nan"}   a float JSON has not
    {"d": "2024-02-29"}  {"t": "23:59:59"}      date, time     {"ts": "..."}  datetime, ISO 8601
    {"td": [days, seconds, microseconds]}       timedelta      {"u": "..."}   UUID
    {"l": [...]}                                list or tuple  {"m": [[key, value], ...]}  dict

>>> head, body = encode_values([1, b"raw", None])
>>> head, body
([1, {'b': [0, 3]}, None], b'raw')
>>> decode_values(head, body)
[1, b'raw', None]
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import SchemaError

#: dtypes that may travel: plain numbers, booleans and times, never Python objects.
_DTYPE_KINDS = "biufMm"


def encode_values(values: Any) -> tuple[Any, bytes]:
    """Write parameters (a sequence, a mapping, or None) as what JSON can hold, and the bytes they refer to.

    Raises:
        SchemaError: a value is of a type that no column has.
    """
    body = bytearray()
    if values is None:
        return None, b""
    if isinstance(values, Mapping):
        head: Any = {"m": [[_encode(str(k), body), _encode(v, body)] for k, v in values.items()]}
    else:
        head = [_encode(v, body) for v in values]
    return head, bytes(body)


def decode_values(head: Any, body: bytes) -> Any:
    """Read what ``encode_values`` wrote.

    Raises:
        SchemaError: the message is damaged or was made by something else.
    """
    if head is None:
        return None
    try:
        if isinstance(head, dict):
            return _decode(head, memoryview(body))
        if isinstance(head, list):
            return [_decode(v, memoryview(body)) for v in head]
    except SchemaError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise SchemaError(f"the parameters of a message cannot be read: {error}") from None
    raise SchemaError("the parameters of a message are not in this version's form")


def _append(data: bytes | memoryview, body: bytearray) -> tuple[int, int]:
    offset = len(body)
    body += data
    return offset, len(body) - offset


def _encode(value: Any, body: bytearray) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind not in "Mm":
        value = value.item()
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"f": repr(value)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"b": [*_append(bytes(value), body)]}
    if isinstance(value, (np.ndarray, np.datetime64, np.timedelta64)):
        array = np.asarray(value)
        if array.dtype.kind not in _DTYPE_KINDS:
            return {"l": [_encode(v, body) for v in array.tolist()]}
        array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        return {"a": [array.dtype.str, list(array.shape), *_append(array.tobytes(), body)]}
    if isinstance(value, decimal.Decimal):
        return {"n": str(value)}
    if isinstance(value, dt.datetime):  # before date, of which it is a kind
        return {"ts": value.isoformat()}
    if isinstance(value, dt.date):
        return {"d": value.isoformat()}
    if isinstance(value, dt.time):
        return {"t": value.isoformat()}
    if isinstance(value, dt.timedelta):
        return {"td": [value.days, value.seconds, value.microseconds]}
    if isinstance(value, uuid.UUID):
        return {"u": str(value)}
    if isinstance(value, Mapping):
        return {"m": [[_encode(k, body), _encode(v, body)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"l": [_encode(v, body) for v in value]}
    raise SchemaError(f"a parameter of type {type(value).__name__} cannot be sent: no column holds such values")


def _slice(body: memoryview, offset: Any, length: Any) -> bytes:
    if not (0 <= offset <= offset + length <= len(body)):
        raise SchemaError(f"a message names bytes {offset}+{length} of the {len(body)} it has")
    return bytes(body[offset : offset + length])


def _decode(value: Any, body: memoryview) -> Any:
    if not isinstance(value, (dict, list)):
        return value
    if isinstance(value, list) or len(value) != 1:
        raise SchemaError("the parameters of a message are not in this version's form")
    ((kind, content),) = value.items()
    if kind == "b":
        return _slice(body, *content)
    if kind == "a":
        name, shape, offset, length = content
        dtype = np.dtype(name)
        if dtype.kind not in _DTYPE_KINDS:
            raise SchemaError(f"a message holds an array of {name}")
        # A copy: a view of the message would not be writable, and would keep all of it alive.
        array = np.frombuffer(_slice(body, offset, length), dtype).reshape(shape).copy()
        return array if shape else array[()]
    if kind == "l":
        return [_decode(v, body) for v in content]
    if kind == "m":
        return {_decode(k, body): _decode(v, body) for k, v in content}
    if kind == "td":
        return dt.timedelta(*content)
    readers: dict[str, Callable[[Any], Any]] = {
        "n": decimal.Decimal,
        "f": float,
        "ts": dt.datetime.fromisoformat,
        "d": dt.date.fromisoformat,
        "t": dt.time.fromisoformat,
        "u": uuid.UUID,
    }
    return readers[kind](content)
