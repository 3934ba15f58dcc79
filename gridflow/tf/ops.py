"""Loads the op library that kernels/ops makes."""

from __future__ import annotations

import ctypes
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import tensorflow as tf

from ..errors import GridEnvironmentError

LIBRARY = Path(__file__).with_name("_gridflow_ops.so")

_MARK = re.compile(rb"gridflow ops built for TensorFlow graph version (\d+)\.")
# int (const char* directory, const char* table, char* message, int64_t room), as kernels/ops/refresh.h has it.
_REFRESH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64)
_refresh_in_use: ctypes._CFuncPtr | None = None  # C++ holds no reference


@functools.cache
def load(path: Path = LIBRARY) -> ModuleType:
    """The module of Gridflow's ops; the library is loaded at the first call.

    Raises:
        GridEnvironmentError: the library is missing, or was built for another TensorFlow.
    """
    try:
        built_for = _MARK.search(path.read_bytes())
    except FileNotFoundError:
        raise GridEnvironmentError(
            f"there is no {path}: install gridflow with pip, or run `make build` in its sources"
        ) from None
    # Asked before it is loaded: C++ made for another TensorFlow may end the process rather than fail.
    version = int(built_for[1]) if built_for else None
    if version != tf.version.GRAPH_DEF_VERSION:
        raise GridEnvironmentError(
            f"{path} was built for another TensorFlow (graph version {version}; {tf.__version__} has "
            f"{tf.version.GRAPH_DEF_VERSION}): install gridflow again, or run `make build` in its sources"
        )
    try:
        return tf.load_op_library(str(path))
    except (tf.errors.OpError, RuntimeError, OSError) as error:
        raise GridEnvironmentError(f"TensorFlow {tf.__version__} cannot load {path}: {error}") from error


def set_refresh(refresh: Callable[[str, str], tuple[int, str]] | None) -> None:
    """Have ``refresh(directory, table)`` called before a new iterator reads a table; None for nothing.

    TensorFlow's threads call it. It returns 0, or the code of a ``tf.errors.OpError`` and a message. When this
    returns, no thread is in the function that was set before.
    """
    global _refresh_in_use
    load()
    library = ctypes.CDLL(str(LIBRARY))  # it is loaded already: this is the same one
    library.gridflow_ops_set_refresh.argtypes = [_REFRESH]
    library.gridflow_ops_set_refresh.restype = None

    def call(directory: bytes, table: bytes, message: int, room: int) -> int:
        code, text = refresh(os.fsdecode(directory), table.decode())
        data = text.encode()[: room - 1] + b"\0"
        ctypes.memmove(message, data, len(data))
        return code

    callback = _REFRESH(call) if refresh else _REFRESH()
    library.gridflow_ops_set_refresh(callback)
    _refresh_in_use = callback
