"""Array: numbers in the memory of a device, for whatever library goes on with them."""

from __future__ import annotations

import functools
import math
import weakref
from ctypes import byref, c_void_p
from typing import Any

import numpy as np

from .._native.dlpack import capsule
from ..errors import SchemaError, UsageError
from . import library
from .devices import device_name, handle_of, number_of, same_stream, synchronize
from .library import CPU, DTYPE_CODES, call

# DLPack's codes: of devices, and of numbers by kind of their numpy dtype.
_DLPACK_CPU, _DLPACK_CUDA = (1, 0), 2
_DLPACK_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
_DLPACK_BFLOAT = 4


class Memory:
    """Bytes of a device, aligned to 256; given back when nothing refers to them any more.

    That waits for the device, so they are not in use by then, whatever stream uses them.
    """

    __slots__ = ("pointer", "__weakref__")

    def __init__(self, device: int, size: int):
        pointer = c_void_p()
        call("allocate", device, max(size, 1), byref(pointer))
        self.pointer: int = pointer.value or 0
        weakref.finalize(self, _free, device, self.pointer).atexit = False


def _free(device: int, pointer: int) -> None:
    library.load().gf_cuda_free(device, pointer, None)


_NOTHING = np.zeros(1, np.int64)  # where arrays without numbers lie


class Array:
    """C-contiguous numbers in the memory of a device. Its contents come about in the order of ``stream``.

    A GPU's array has ``__cuda_array_interface__`` and ``__dlpack__``, which ``cupy.asarray``, ``torch.from_dlpack`` and
    others understand without a copy; one of the CPU has ``__array_interface__`` and ``__dlpack__``, for
    ``numpy.asarray``. A view of a table is read only: whoever writes to it through a library that takes no notice
    changes the rows for all that read them.

    Attributes:
        shape: rows first.
        dtype_name: such as ``uint8`` or ``bfloat16``.
        device: number of the GPU, or -1.
        pointer: where it lies in the memory of the device.
        stream: the CUstream that it is made in; 0 is the default one.
        read_only: whether it is a view of a table.
    """

    __slots__ = ("shape", "dtype_name", "device", "pointer", "stream", "read_only", "_owner", "_inputs", "__weakref__")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype_name: str,
        device: int,
        pointer: int,
        owner: object,
        *,
        stream: int = 0,
        read_only: bool = False,
    ):
        self.shape = shape
        self.dtype_name = dtype_name
        self.device = device
        self.pointer = pointer
        self.stream = stream
        self.read_only = read_only
        self._owner = owner  # Memory, or the table that it is a view of
        self._inputs: object = None  # what the device still reads to fill it

    @classmethod
    def empty(cls, shape: int | tuple[int, ...], dtype: Any, device: int | str = 0, *, stream: Any = None) -> Array:
        """An array of its own, with anything in it; for ``out`` of a gather.

        Raises:
            DeviceError: there is no such device, or not enough memory.
        """
        name, number = name_of(dtype), number_of(device)
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        memory = Memory(number, math.prod(sizes) * item_bytes(name))
        return cls(sizes, name, number, memory.pointer, memory, stream=handle_of(stream))

    @classmethod
    def of(cls, data: Any, device: int | str = 0, *, stream: Any = None) -> Array:
        """A copy of numbers in host memory, made when this returns."""
        host = np.ascontiguousarray(data)
        array = cls.empty(np.shape(data), host.dtype, device, stream=stream)
        call("copy", array.device, array.pointer, host.ctypes.data, host.nbytes, array.stream)
        synchronize(array.device, array.stream)
        return array

    def __repr__(self) -> str:
        kind = "view" if self.read_only else "array"
        sizes = ", ".join(map(str, self.shape))
        return f"<gridflow.cuda.Array {self.dtype_name}[{sizes}], {kind} on {device_name(self.device)}>"

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype | None:
        """numpy's; None for bfloat16, which numpy does not have."""
        return dtype_of(self.dtype_name)

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""
        return self.size * item_bytes(self.dtype_name)

    def synchronize(self) -> None:
        """Wait until its contents are there."""
        if not self.read_only:
            synchronize(self.device, self.stream)

    def numpy(self) -> np.ndarray:
        """Its numbers in host memory: a copy of a GPU's, the array itself of the CPU's; bfloat16 as uint16 bits."""
        name = "uint16" if self.dtype is None else self.dtype_name
        if self.device == CPU:
            return np.asarray(self._as(name))
        host = np.empty(self.shape, name)
        call("copy", self.device, host.ctypes.data, self.pointer, self.nbytes, self.stream)
        synchronize(self.device, self.stream)
        return host

    def copy(self) -> Array:
        """Another array on the same device, made in the same stream."""
        copy = Array.empty(self.shape, self.dtype_name, self.device, stream=self.stream)
        call("copy", self.device, copy.pointer, self.pointer, self.nbytes, self.stream)
        copy._inputs = self
        return copy

    def _as(self, name: str) -> Array:
        """The same bytes as other numbers."""
        options = {"stream": self.stream, "read_only": self.read_only}
        return Array(self.shape, name, self.device, self.pointer, self._owner, **options)

    def _interface(self) -> dict[str, Any]:
        if self.dtype is None:
            raise AttributeError(f"numpy has no {self.dtype_name}; use __dlpack__")
        data = (self.pointer if self.size else 0, self.read_only)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "version": 3, "strides": None}

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self.device != CPU:
            raise AttributeError("it lies in a GPU's memory; numpy() copies it")
        interface = self._interface()
        if not self.size:  # numpy before 2.3 takes no null pointer
            interface["data"] = (_NOTHING.ctypes.data, self.read_only)
        return interface

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.device == CPU:
            raise AttributeError("it lies in host memory")
        # A view was there before anybody asked for it. The default stream is 1 here, as 0 could mean others, too.
        return self._interface() | {"stream": None if self.read_only else self.stream or 1}

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CPU if self.device == CPU else (_DLPACK_CUDA, self.device)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule as the array API's standard has it.

        Args:
            stream: the CUstream that the taker is going to use it in; None for the default one, -1 for one that it has
                ordered itself.
            max_version: what the taker knows of DLPack.
            dl_device: where it is to be, if elsewhere.
            copy: whether it must be a copy, must not, or may.

        Raises:
            BufferError: what is asked for cannot be done.
        """
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            if tuple(dl_device) != _DLPACK_CPU or copy is False:
                raise BufferError(f"{self!r} cannot be handed over on device {tuple(dl_device)}")
            host = Array(self.shape, self.dtype_name, CPU, 0, self.numpy())
            host.pointer = host._owner.ctypes.data
            return host._capsule(max_version, copied=True)
        if copy:
            twin = self.copy()
            twin.synchronize()
            return twin._capsule(max_version, copied=True)
        if self.device == CPU:
            if stream is not None:
                raise BufferError(f"host memory has no streams, got {stream!r}")
        elif not self.read_only and stream != -1 and not same_stream(stream or 0, self.stream):
            self.synchronize()
        return self._capsule(max_version, copied=False)

    def _capsule(self, max_version: tuple[int, int] | None, *, copied: bool) -> Any:
        dtype = self.dtype
        code = _DLPACK_BFLOAT if dtype is None else _DLPACK_KINDS[dtype.kind]
        kind = (code, 8 * item_bytes(self.dtype_name))
        versioned = max_version is not None and max_version[0] >= 1
        device = self.__dlpack_device__()
        return capsule(self, self.pointer, device, self.shape, kind, self.read_only, copied, versioned)


def name_of(dtype: Any) -> str:
    """The name of a dtype: of text, numpy, PyTorch or ml_dtypes.

    Raises:
        SchemaError: no column and no conversion has such numbers.
    """
    text = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype)
    name = text.rpartition(".")[2].rstrip("_'> ")
    if name not in DTYPE_CODES:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            pass
    if name not in DTYPE_CODES:
        raise SchemaError(f"no numbers of type {dtype!r} on a device; there are {', '.join(DTYPE_CODES)}")
    return name


@functools.cache
def dtype_of(name: str) -> np.dtype | None:
    """numpy's dtype of a name; None for bfloat16."""
    return None if name == "bfloat16" else np.dtype(name)


def item_bytes(name: str) -> int:
    """Bytes of a number."""
    dtype = dtype_of(name)
    return 2 if dtype is None else dtype.itemsize


class ArrayArgument:
    """An array of a caller: where it lies on a device.

    Args:
        data: an ``Array``; on a GPU anything with ``__cuda_array_interface__``; on the CPU what numpy takes as it is.
        what: what to call it in messages.
        writable: whether it is to be written.

    Raises:
        UsageError: it is elsewhere, not C-contiguous, or may not be written.

    Attributes:
        pointer, shape, dtype_name: of its numbers.
        stream: that they come about in; None if they are there.
        owner: the object whose memory they are.
    """

    def __init__(self, data: Any, device: int, what: str, *, writable: bool = False):
        self.owner = data
        self.stream: int | None = None
        if isinstance(data, Array):
            if data.device != device:
                raise UsageError(f"{what} lies on {device_name(data.device)}, not on {device_name(device)}")
            if writable and data.read_only:
                raise UsageError(f"{what} is a view of a table, which cannot be written")
            self.pointer, self.shape, self.dtype_name = data.pointer, data.shape, data.dtype_name
            self.stream = data.stream
            return
        on_gpu = hasattr(data, "__cuda_array_interface__")
        if on_gpu == (device == CPU):
            raise UsageError(f"{what} lies in {'a GPU' if on_gpu else 'host'} memory, not on {device_name(device)}")
        if on_gpu:
            interface = data.__cuda_array_interface__
            self.stream = interface.get("stream")
        else:
            self.owner = np.asarray(data)
            interface = self.owner.__array_interface__
        self.shape = tuple(interface["shape"])
        dtype = np.dtype(interface["typestr"])
        self.dtype_name = name_of(dtype)
        self.pointer, read_only = interface["data"] or (0, False)
        if _strides(interface, dtype) != _strides({"shape": self.shape}, dtype) and math.prod(self.shape):
            raise UsageError(f"{what} is not C-contiguous")
        if writable and read_only:
            raise UsageError(f"{what} is read only")


def _strides(interface: dict[str, Any], dtype: np.dtype) -> list[int]:
    """Bytes from one number to the next along those dimensions that have several."""
    shape = tuple(interface["shape"])
    strides = interface.get("strides") or [dtype.itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return [stride for stride, size in zip(strides, shape, strict=True) if size > 1]
