"""GPUs of this machine, their names, and the order of work on them: streams and events."""

from __future__ import annotations

import re
import weakref
from ctypes import byref, c_float, c_int32, c_void_p
from dataclasses import dataclass
from typing import Any

from ..errors import DeviceError, GridEnvironmentError, UsageError
from . import library
from .library import CPU, call

_NAME = re.compile(r"(?:.*/)?(?:device:)?(?P<kind>gpu|cuda|cpu)(?::(?P<number>\d+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        number: as ``device`` of a table.
        name: what its maker calls it.
        uuid: 32 hexadecimal digits; the same in every process.
        capability: its compute capability, such as (9, 0).
        multiprocessors: how many it has.
        memory_bytes, free_bytes: of its memory, all of it and what is free now.
    """

    number: int
    name: str
    uuid: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int
    free_bytes: int


def count() -> int:
    """How many GPUs there are.

    Raises:
        DeviceError: there is no driver.
    """
    number = c_int32()
    call("count", byref(number))
    return number.value


def is_available() -> bool:
    """Whether there is a GPU that tables can be on."""
    try:
        return count() > 0
    except GridEnvironmentError:
        return False


def describe(number: int) -> Device:
    """What a GPU is.

    Raises:
        DeviceError: there is no driver, or no such GPU.
    """
    info = library.DeviceInfo()
    call("describe", number, byref(info))
    return Device(
        number=number,
        name=info.name.decode("utf-8", "replace"),
        uuid=bytes(info.uuid).hex(),
        capability=(info.major, info.minor),
        multiprocessors=info.multiprocessors,
        memory_bytes=info.memory_bytes,
        free_bytes=info.free_bytes,
    )


def devices() -> list[Device]:
    """The GPUs of this machine; an empty list where there is none, or no driver."""
    return [describe(number) for number in range(count())] if is_available() else []


def number_of(device: int | str) -> int:
    """The number of a device, ``CPU`` for host memory.

    Args:
        device: a number, or a name such as ``cpu``, ``gpu``, ``cuda:1`` or ``/GPU:0``.

    Raises:
        UsageError: it is none of these.
        DeviceError: there is no such GPU, or no driver.
    """
    kind, number = parsed(device)
    if kind == "cpu":
        return CPU
    if number >= count():
        raise DeviceError(f"no GPU {number}; there are {', '.join(['cpu', *_names()])}", "NO_DEVICE")
    return number


def parsed(device: int | str) -> tuple[str, int]:
    """The kind of a device, "cpu" or "gpu", and its number, whether there is one or not.

    Raises:
        UsageError: it is neither a number nor such a name.
    """
    if isinstance(device, str):
        named = _NAME.fullmatch(device.strip())
        if named is None:
            raise UsageError(f"no device {device!r}; there are {', '.join(['cpu', *_names()])}")
        return ("cpu" if named["kind"].lower() == "cpu" else "gpu"), int(named["number"] or 0)
    if isinstance(device, bool) or not hasattr(device, "__index__"):
        raise UsageError(f"a device is a number or a name such as 'cpu' or '/GPU:0', not {device!r}")
    number = device.__index__()
    if number < 0 and number != CPU:
        raise UsageError(f"no device {number}; there are {', '.join(['cpu', *_names()])}")
    return ("cpu", 0) if number == CPU else ("gpu", number)


def _names() -> list[str]:
    return [f"/GPU:{device.number} ({device.name})" for device in devices()]


def device_name(number: int) -> str:
    """The name of a device, as ``number_of`` understands it."""
    return "cpu" if number == CPU else f"/GPU:{number}"


def handle_of(stream: Any) -> int:
    """The CUstream of a stream; 0 for the default one.

    Args:
        stream: None, a CUstream as a number, a ``Stream`` of this module, of CuPy (``ptr``), of PyTorch
            (``cuda_stream``), or anything with ``__cuda_stream__``.

    Raises:
        UsageError: it is none of these.
    """
    if stream is None:
        return 0
    if isinstance(stream, Stream):
        return stream.handle
    for attribute in ("cuda_stream", "ptr"):
        if hasattr(stream, attribute):
            return int(getattr(stream, attribute))
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    if isinstance(stream, bool) or not hasattr(stream, "__index__"):
        raise UsageError(f"a stream is a CUstream or an object that has one, not {stream!r}")
    return stream.__index__()


def same_stream(one: int, other: int) -> bool:
    """Whether two handles name the same stream: 0 and 1 are the default one."""
    return one == other or (one in (0, 1) and other in (0, 1))


def synchronize(device: int, stream: Any = None) -> None:
    """Wait for what was begun in a stream of a device."""
    call("stream_synchronize", device, handle_of(stream))


class Stream:
    """A stream of its own: what is begun in it happens in that order, beside other streams."""

    def __init__(self, device: int | str = 0):
        self.device = number_of(device)
        handle = c_void_p()
        call("stream_create", self.device, byref(handle))
        self.handle: int = handle.value or 0
        weakref.finalize(self, _destroy, "stream_destroy", self.device, self.handle).atexit = False

    def __repr__(self) -> str:
        return f"<gridflow.cuda.Stream {self.handle:#x} of {device_name(self.device)}>"

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def synchronize(self) -> None:
        """Wait for what was begun in it."""
        synchronize(self.device, self.handle)


class Event:
    """A mark in a stream, for measuring what the device takes from one to another."""

    def __init__(self, device: int | str = 0):
        self.device = number_of(device)
        handle = c_void_p()
        call("event_create", self.device, byref(handle))
        self._handle: int = handle.value or 0
        weakref.finalize(self, _destroy, "event_destroy", self.device, self._handle).atexit = False

    def record(self, stream: Any = None) -> Event:
        """Set the mark behind all that was begun in the stream."""
        call("event_record", self.device, self._handle, handle_of(stream))
        return self

    def elapsed(self, since: Event) -> float:
        """Seconds from another mark to this one; waits for both."""
        milliseconds = c_float()
        call("event_elapsed", self.device, since._handle, self._handle, byref(milliseconds))
        return milliseconds.value / 1000


def _destroy(function: str, device: int, handle: int) -> None:
    """For finalizers: at the end of a process the driver may be gone before them."""
    getattr(library.load(), f"gf_cuda_{function}")(device, handle, None)
