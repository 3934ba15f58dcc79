"""The library that kernels/cuda makes, by ctypes: ``cuda_api.h`` in Python, and what its functions fail with."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from ..errors import (
    DeviceError,
    GridCorruptError,
    GridEnvironmentError,
    GridflowError,
    InternalError,
    SchemaError,
    UsageError,
    VersionNotFoundError,
)

LIBRARY = Path(__file__).with_name("_gridflow_cuda.so")

#: As a device: host memory.
CPU = -1

#: Of gf_cuda_dtype.
DTYPES = {
    1: "bool",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "uint8",
    7: "uint16",
    8: "uint32",
    9: "uint64",
    10: "float16",
    11: "float32",
    12: "float64",
    64: "bfloat16",
}
DTYPE_CODES = {name: code for code, name in DTYPES.items()}

#: Of gf_cuda_code, as ``DeviceError.code`` has them.
CODES = {1: "NO_DRIVER", 2: "NO_COMPILER", 3: "NO_DEVICE", 4: "NO_MEMORY", 9: "FAILED"}
_NOT_FOUND, _INVALID, _OUT_OF_RANGE, _CORRUPT = 5, 6, 7, 8
_DAMAGED = re.compile(r"(?P<file>/.*) is damaged at byte (?P<offset>\d+): ")


class RowNotFoundError(UsageError, IndexError):
    """The table has no row of that number: rows go from 0 to their count - 1, whatever their keys."""


class Error(ctypes.Structure):
    """gf_cuda_error"""

    _fields_ = [("code", c_int32), ("message", c_char * 1020)]


class DeviceInfo(ctypes.Structure):
    """gf_cuda_device"""

    _fields_ = [
        ("name", c_char * 256),
        ("uuid", c_uint8 * 16),
        ("major", c_int32),
        ("minor", c_int32),
        ("multiprocessors", c_int32),
        ("reads_pinned", c_int32),
        ("memory_bytes", c_uint64),
        ("free_bytes", c_uint64),
    ]


class ColumnInfo(ctypes.Structure):
    """gf_cuda_column"""

    _fields_ = [("dtype", c_int32), ("rank", c_int32), ("dims", POINTER(c_int64)), ("row_bytes", c_int64)]


class Conversion(ctypes.Structure):
    """gf_cuda_convert"""

    _fields_ = [
        ("dtype", c_int32),
        ("channels", c_int32),
        ("scale", POINTER(c_float)),
        ("offset", POINTER(c_float)),
        ("height", c_int32),
        ("width", c_int32),
        ("crop_height", c_int32),
        ("crop_width", c_int32),
        ("channels_first", c_int32),
        ("places", c_void_p),
    ]


PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, c_uint64, c_uint64, c_void_p)

# Arguments of the functions that fail, without the gf_cuda_error that comes last.
_FUNCTIONS: dict[str, list[Any]] = {
    "count": [POINTER(c_int32)],
    "describe": [c_int32, POINTER(DeviceInfo)],
    "allocate": [c_int32, c_uint64, POINTER(c_void_p)],
    "free": [c_int32, c_void_p],
    "stream_create": [c_int32, POINTER(c_void_p)],
    "stream_destroy": [c_int32, c_void_p],
    "stream_synchronize": [c_int32, c_void_p],
    "copy": [c_int32, c_void_p, c_void_p, c_uint64, c_void_p],
    "event_create": [c_int32, POINTER(c_void_p)],
    "event_record": [c_int32, c_void_p, c_void_p],
    "event_elapsed": [c_int32, c_void_p, c_void_p, POINTER(c_float)],
    "event_destroy": [c_int32, c_void_p],
    "use_driver": [c_char_p],
    "use_compiler": [c_char_p],
    "compile": [c_int32, POINTER(c_uint64)],
    "open": [c_char_p, c_uint32, c_uint64, c_int32, POINTER(c_char_p), c_int32, POINTER(c_void_p)],
    "pin_memory": [c_int32, c_void_p, c_uint64, POINTER(c_void_p)],
    "retain": [c_void_p],
    "describe_column": [c_void_p, c_int32, POINTER(ColumnInfo)],
    "pin": [c_void_p, PROGRESS, c_void_p],
    "load": [c_void_p, c_uint64, PROGRESS, c_void_p],
    "unload": [c_void_p],
    "result_bytes": [c_void_p, c_int32, POINTER(Conversion), POINTER(c_int64)],
    "gather": [c_void_p, c_int32, c_void_p, c_int32, c_int64, POINTER(Conversion), c_void_p, c_void_p],
    "batch": [c_void_p, c_int32, c_int64, c_int64, POINTER(Conversion), c_void_p, c_void_p],
    "view": [c_void_p, c_int32, c_int64, c_int64, POINTER(c_void_p), POINTER(c_void_p)],
    "check": [c_void_p, c_void_p],
    "share": [c_void_p, POINTER(c_int32), POINTER(c_int32)],
    "adopt": [c_void_p, POINTER(c_int32), c_int32],
}


@functools.cache
def load(path: Path = LIBRARY) -> ctypes.CDLL:
    """The library, with every function declared; it is loaded at the first call.

    Raises:
        GridEnvironmentError: it is missing, or cannot be loaded.
    """
    try:
        library = ctypes.CDLL(str(path))
        for name, arguments in _FUNCTIONS.items():
            function = getattr(library, f"gf_cuda_{name}")
            function.argtypes, function.restype = [*arguments, POINTER(Error)], ctypes.c_int
        for name in ("close", "release", "unpin_memory"):
            function = getattr(library, f"gf_cuda_{name}")
            function.argtypes, function.restype = [c_void_p], None
        for name in ("rows", "resident_rows"):
            function = getattr(library, f"gf_cuda_{name}")
            function.argtypes, function.restype = [c_void_p], c_int64
        library.gf_cuda_version.argtypes, library.gf_cuda_version.restype = [c_void_p], c_uint64
    except (OSError, AttributeError) as error:
        missing = f"there is no {path}" if not path.exists() else f"cannot load {path}: {error}"
        raise GridEnvironmentError(
            f"{missing}: install gridflow with pip, or run `make build` in its sources"
        ) from None
    return library


def call(name: str, *arguments: Any, not_found: type[GridflowError] = VersionNotFoundError) -> None:
    """Call ``gf_cuda_<name>``.

    Args:
        not_found: what to raise where the library says that something is not there.

    Raises:
        DeviceError: the GPU, its driver, NVRTC or memory is missing, or failed.
        RowNotFoundError, SchemaError, GridCorruptError: as the library says.
    """
    error = Error()
    if getattr(load(), f"gf_cuda_{name}")(*arguments, byref(error)):
        raise to_error(error.code, error.message.decode("utf-8", "replace"), not_found)


def to_error(code: int, message: str, not_found: type[GridflowError] = VersionNotFoundError) -> GridflowError:
    """What to raise for a gf_cuda_code; the one place where one becomes an error."""
    if code in CODES:
        return DeviceError(message, CODES[code])
    if code == _NOT_FOUND:
        return not_found(message)
    if code == _INVALID:
        return SchemaError(message)
    if code == _OUT_OF_RANGE:
        return RowNotFoundError(message)
    if code == _CORRUPT:
        place = _DAMAGED.search(message)
        return GridCorruptError(message, place and place["file"], int(place["offset"]) if place else None)
    return InternalError(f"gf_cuda_code {code}: {message}")


@contextmanager
def reported(progress: Callable[[int, int], Any] | None) -> Iterator[ctypes._CFuncPtr]:
    """The gf_cuda_progress that calls ``progress(bytes done, bytes of all)``; what that raises ends the work.

    So does Ctrl-C, also without ``progress``: Python handles signals between two of its own instructions only.
    """
    raised: list[BaseException] = []

    def called(done: int, of: int, _: int | None) -> int:
        try:
            if progress is not None:
                progress(done, of)
        except BaseException as error:  # nothing may pass through C++
            raised.append(error)
        return len(raised)

    try:
        yield PROGRESS(called)
    except DeviceError:
        if raised:
            raise raised[0] from None
        raise
    if raised:
        raise raised[0]


def find_compiler() -> Path | None:
    """NVRTC as a package of Python brings it, where the dynamic loader does not look; None if there is none."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for pattern in ("cu1[0-9]/lib/libnvrtc.so.*", "cuda_nvrtc/lib/libnvrtc.so.*"):
            libraries = [path for path in sorted(Path(folder).glob(pattern)) if "alt" not in path.name]
            if libraries:
                return libraries[0]
    return None


@functools.cache
def offer_compiler() -> None:
    """Tell the library where a package of Python has NVRTC; once in a process."""
    path = find_compiler()
    if path is not None:
        call("use_compiler", os.fsencode(path))


def compile_kernels(capability: int) -> int:
    """Compile all kernels for a compute capability, 90 for 9.0; a GPU is not needed.

    Returns:
        The bytes of the compiled code.

    Raises:
        DeviceError: there is no NVRTC, or it cannot compile for that capability.
    """
    offer_compiler()
    size = c_uint64()
    call("compile", capability, byref(size))
    return size.value
