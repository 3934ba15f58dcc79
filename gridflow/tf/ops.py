"""Loads the op library that kernels/ops makes."""

from __future__ import annotations

import _thread
import ctypes
import functools
import os
import re
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import tensorflow as tf

from .._native.mirror import fetcher_address
from .._native.snapshot import RowPlan, Snapshot
from ..errors import GridEnvironmentError

LIBRARY = Path(__file__).with_name("_gridflow_ops.so")

_MARK = re.compile(rb"gridflow ops built for TensorFlow graph version (\d+)\.")
# As kernels/ops/python.h has them.
_REFRESH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64)
_SELECT = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64),
)
_in_use: tuple[ctypes._CFuncPtr, ctypes._CFuncPtr] | None = None  # C++ holds no reference


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


def stop(instance: int) -> None:
    """End the iterators of a dataset that follow its table, in this process."""
    _library().gridflow_ops_stop(instance)


def counters(instance: int) -> tuple[int, ...]:
    """Of a dataset in this process: tensors that were views, their bytes, tensors that were copied, their bytes, and of
    the views the bytes in pinned memory."""
    numbers = (ctypes.c_int64 * 5)()
    _library().gridflow_ops_counters(instance, numbers)
    return tuple(numbers)


@functools.cache
def _library() -> ctypes.CDLL:
    load()
    library = ctypes.CDLL(str(LIBRARY))  # it is loaded already: this is the same one
    for function, *arguments in (
        (library.gridflow_ops_set_python, _REFRESH, _SELECT),
        (library.gridflow_ops_set_fetcher, ctypes.c_void_p),
        (library.gridflow_ops_selected, ctypes.c_void_p, ctypes.c_void_p),
        (library.gridflow_ops_chosen, ctypes.c_void_p, ctypes.c_void_p),
        (library.gridflow_ops_free_selection, ctypes.c_void_p),
        (library.gridflow_ops_stop, ctypes.c_int64),
        (library.gridflow_ops_counters, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)),
    ):
        function.argtypes, function.restype = arguments, None
    library.gridflow_ops_set_fetcher(fetcher_address())
    library.gridflow_ops_make_selection.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    library.gridflow_ops_make_selection.restype = ctypes.c_void_p
    library.gridflow_ops_ordinals.argtypes = [ctypes.c_void_p]
    library.gridflow_ops_ordinals.restype = ctypes.POINTER(ctypes.c_int64)
    return library


class Selected:
    """Rows that a condition means, in an order of theirs or with weights, where the ops can share them.

    Args:
        rows: their ordinals, int64[n].
        weights: float64[n], or None.
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray | None):
        library = _library()
        ends = None if weights is None else weights.ctypes.data
        self.handle = library.gridflow_ops_make_selection(rows.ctypes.data, ends, len(rows))
        self.count = len(rows)
        weakref.finalize(self, library.gridflow_ops_free_selection, self.handle)

    @property
    def rows(self) -> np.ndarray:
        """Their ordinals, int64[count]: a view, as long as this is held."""
        if not self.count:
            return np.empty(0, np.int64)
        return np.ctypeslib.as_array(_library().gridflow_ops_ordinals(self.handle), (self.count,))


def set_python(
    refresh: Callable[[str, str], tuple[int, str]] | None,
    select: Callable[[str, str, RowPlan, str], tuple[int, str, RowPlan | Selected | None]] | None,
) -> None:
    """Have ``refresh(directory, table)`` called before a new iterator reads a table, and ``selection.select`` where it
    reads only some of the rows; None for nothing.

    TensorFlow's threads call them. They return 0, or the code of a ``tf.errors.OpError``, and a message. When this
    returns, no thread is in the functions that were set before.
    """
    global _in_use
    library = _library()

    def say(text: str, message: int, room: int) -> None:
        data = text.encode()[: room - 1] + b"\0"
        ctypes.memmove(message, data, len(data))

    def interrupted(error: BaseException) -> tuple[int, str]:
        """For a Ctrl-C, mostly: nothing may pass through C++, and the main thread is to have it, but not in here."""
        if isinstance(error, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        return tf.errors.CANCELLED, f"interrupted: {error!r}"

    def call_refresh(directory: bytes, table: bytes, message: int, room: int) -> int:
        try:
            code, text = refresh(os.fsdecode(directory), table.decode())
        except BaseException as error:
            code, text = interrupted(error)
        say(text, message, room)
        return code

    def call_select(
        directory: bytes,
        table: bytes,
        snapshot: int,
        plan: int,
        selection: bytes,
        result: int,
        message: int,
        room: int,
    ) -> int:
        try:
            rows = RowPlan.adopt(Snapshot.adopt(snapshot), plan)
            code, text, selected = select(os.fsdecode(directory), table.decode(), rows, selection.decode())
            if isinstance(selected, RowPlan):
                library.gridflow_ops_chosen(result, selected.address)
            elif selected is not None:
                library.gridflow_ops_selected(result, selected.handle)
        except BaseException as error:
            code, text = interrupted(error)
        say(text, message, room)
        return code

    callbacks = (_REFRESH(call_refresh) if refresh else _REFRESH(), _SELECT(call_select) if select else _SELECT())
    library.gridflow_ops_set_python(*callbacks)
    _in_use = callbacks
