"""A type and a value of every kind of column: what a new kind needs before the tests can show where it is missing."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import Any

import numpy as np

from gridflow.schema import Type, parse_type

SAMPLES: dict[str, tuple[str, Any]] = {
    "BOOL": ("BOOL", True),
    "INT8": ("INT8", -8),
    "INT16": ("INT16", -16_000),
    "INT32": ("INT32", -32_000_000),
    "INT64": ("INT64", -(2**60)),
    "UINT8": ("UINT8", 200),
    "UINT16": ("UINT16", 60_000),
    "UINT32": ("UINT32", 2**31),
    "UINT64": ("UINT64", 2**62),
    "FLOAT16": ("FLOAT16", 1.5),
    "FLOAT32": ("FLOAT32", -0.25),
    "FLOAT64": ("FLOAT64", 2.5),
    "DECIMAL": ("DECIMAL(10,2)", decimal.Decimal("1.50")),
    "STRING": ("STRING", "warm kitty"),
    "BINARY": ("BINARY", b"\x00\xff!"),
    "DATE": ("DATE", dt.date(2020, 2, 29)),
    "TIME": ("TIME", dt.time(12, 34, 56, 789)),
    "TIMESTAMP": ("TIMESTAMP", dt.datetime(2020, 2, 29, 12, 34, 56, 789)),
    "UUID": ("UUID", uuid.UUID(int=2**127 + 5)),
    "TENSOR": ("UINT8[2,3]", np.arange(6, dtype=np.uint8).reshape(2, 3)),
    "LIST": ("LIST<INT64 NOT NULL>", [3, 1, 2]),
    "STRUCT": ("STRUCT<A INT64, B STRING>", {"A": 5, "B": "soft"}),
    "MAP": ("MAP<STRING, INT64>", {"x": 1, "y": 2}),
}


def sample(kind: str) -> tuple[Type, Any]:
    """The type and the value of a kind."""
    text, value = SAMPLES[kind]
    return parse_type(text), value
