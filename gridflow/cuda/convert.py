"""Convert: what becomes of the numbers of a row on their way to the reader."""

from __future__ import annotations

import math
from collections.abc import Iterable
from ctypes import c_float
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import SchemaError
from .arrays import Array, ArrayArgument, name_of
from .library import CPU, DTYPE_CODES, Conversion

_RESULTS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Convert:
    """Numbers of a row as floating point, scaled, shifted, and of an image a part, mirrored or not.

    A number becomes ``number * scale[channel] + offset[channel]``. It is rounded to float32 first, as the factors are,
    then the product is, then the sum, and last that is to ``dtype``: always to the nearest and of two such to the even
    one. What is too large becomes infinite, and a NaN that of 0x7fc00000, 0x7e00 or 0x7fc0. The results are the same on
    every device, to the last bit.

    Without ``image`` the channel of a number is its place in the row modulo ``channels``, and rows keep their shape.
    With it, a row of any shape is an image of height * width * channels numbers, and becomes one of the size of
    ``crop``.

    Args:
        dtype: float32, float16 or bfloat16.
        scale: a number, or one for each channel; 1 without it.
        offset: likewise; 0 without it.
        channels: how many there are.
        image: (height, width) of a row.
        crop: (height, width) of what is taken of it; without it all.
        channels_first: whether images come as [channels, height, width] instead of [height, width, channels].
        places: int32[rows, 3], of each row that is asked for: the top and left end of what is taken, which are held
            within the image, and whether it is mirrored from left to right. Without it the middle, not mirrored. It may
            lie on the table's device.

    Raises:
        SchemaError: arguments make no sense, by themselves or together.

    >>> Convert("float32", scale=1 / 255)
    Convert(dtype='float32', scale=(0.00392156862745098,), offset=None, channels=1, image=None, crop=None, ...)
    """

    dtype: Any
    scale: Any = None
    offset: Any = None
    channels: int = 1
    image: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    channels_first: bool = False
    places: Any = field(default=None, compare=False)

    def __post_init__(self) -> None:
        name = name_of(self.dtype)
        if name not in _RESULTS:
            raise SchemaError(f"numbers become {', '.join(_RESULTS[:-1])} or {_RESULTS[-1]}, not {name}")
        channels = _whole(self.channels, "channels")
        for what, numbers in (("scale", self.scale), ("offset", self.offset)):
            object.__setattr__(self, what, _factors(numbers, what, channels))
        for what, sizes in (("image", self.image), ("crop", self.crop)):
            if sizes is not None:
                object.__setattr__(self, what, _sizes(sizes, what))
        object.__setattr__(self, "dtype", name)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "channels_first", bool(self.channels_first))
        if self.image is None:
            for what in ("crop", "channels_first", "places"):
                if getattr(self, what) is not None and getattr(self, what) is not False:
                    raise SchemaError(f"{what} is for images: say how large they are with image=(height, width)")
        elif self.crop is not None and (self.crop[0] > self.image[0] or self.crop[1] > self.image[1]):
            raise SchemaError(f"crop {self.crop} does not fit into image {self.image}")

    def at(self, places: Any) -> Convert:
        """The same with other ``places``, for another batch."""
        return replace(self, places=places)

    def row_shape(self, shape: tuple[int, ...], column: str) -> tuple[int, ...]:
        """The shape of a result's row, of a row of the column.

        Raises:
            SchemaError: the row is no such image.
        """
        if self.image is None:
            return shape
        height, width = self.image
        if height * width * self.channels != math.prod(shape):
            row = " x ".join(map(str, shape)) or "1"
            raise SchemaError(
                f"a row of column {column} is {row} numbers, no image of {height} x {width} x {self.channels}"
            )
        height, width = self.crop or self.image
        return (self.channels, height, width) if self.channels_first else (height, width, self.channels)

    def native(self, rows: int, device: int, stream: int) -> tuple[Conversion, ArrayArgument | None]:
        """The gf_cuda_convert for so many rows, and the places, which must be kept for as long as it is in use."""
        native = Conversion(dtype=DTYPE_CODES[self.dtype], channels=self.channels, channels_first=self.channels_first)
        if self.scale is not None:
            native.scale = (c_float * self.channels)(*self.scale)
        if self.offset is not None:
            native.offset = (c_float * self.channels)(*self.offset)
        if self.image is not None:
            native.height, native.width = self.image
            native.crop_height, native.crop_width = self.crop or (0, 0)
        if self.places is None:
            return native, None
        places = self.places
        if device == CPU or not (isinstance(places, Array) or hasattr(places, "__cuda_array_interface__")):
            places = host_places(places)
            if device != CPU:
                places = Array.of(places, device, stream=stream)
        argument = ArrayArgument(places, device, "places")
        if argument.dtype_name != "int32" or argument.shape != (rows, 3):
            raise SchemaError(f"places is int32[{rows}, 3] here, not {argument.dtype_name}{list(argument.shape)}")
        native.places = argument.pointer
        return native, argument


def host_places(places: Any) -> np.ndarray:
    """As int32; what is too large is at the edge of the image anyway."""
    numbers = np.asarray(places)
    if numbers.dtype.kind not in "iub":
        raise SchemaError(f"places is int32[rows, 3], not {numbers.dtype}{list(numbers.shape)}")
    limits = np.iinfo(np.int32)
    return np.ascontiguousarray(np.clip(numbers, limits.min, limits.max), np.int32)


def _whole(number: Any, what: str) -> int:
    if isinstance(number, bool) or not hasattr(number, "__index__") or not 1 <= number.__index__() < 1 << 31:
        raise SchemaError(f"{what} is a whole number of at least 1, not {number!r}")
    return number.__index__()


def _sizes(sizes: Any, what: str) -> tuple[int, int]:
    if not isinstance(sizes, Iterable) or len(pair := tuple(sizes)) != 2:
        raise SchemaError(f"{what} is (height, width), not {sizes!r}")
    return _whole(pair[0], f"the height of {what}"), _whole(pair[1], f"the width of {what}")


def _factors(numbers: Any, what: str, channels: int) -> tuple[float, ...] | None:
    if numbers is None:
        return None
    try:
        factors = np.asarray(numbers, np.float64)
    except (TypeError, ValueError):
        factors = np.empty((0, 0))
    if factors.ndim == 0:
        factors = np.full(channels, factors)
    if factors.shape != (channels,):
        raise SchemaError(f"{what} is a number, or one for each of the {channels} channels, not {numbers!r}")
    return tuple(factors.tolist())
