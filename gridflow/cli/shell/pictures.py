"""Tensors as pictures in the terminal: two pixels a character with colours, a letter a pixel without."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from ...errors import UsageError
from .cells import cut, width_of

#: From dark to bright.
_RAMP = " .:-=+*#%@"
#: The share of red, green and blue in the brightness of a pixel (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])
#: xterm's 256 colours: levels and strides of a cube of 6x6x6, then 24 greys from 8 in steps of 10.
_CUBE_LEVELS, _CUBE_STRIDES, _CUBE_START = np.array([0, 95, 135, 175, 215, 255]), np.array([36, 6, 1]), 16
_GREYS, _FIRST_GREY, _GREY_STEP, _GREY_START = 24, 8, 10, 232
#: Pixels of a side to which a smaller picture is enlarged, by a whole factor.
LEAST_PIXELS = 32
_UPPER, _RESET = "▀", "\x1b[0m"
#: Columns of the terminal between two pictures on a line.
SPACE = 2


def is_picture_shape(shape: Sequence[int]) -> bool:
    """Whether a tensor of a shape can be drawn: (H,W), (H,W,channels) or (channels,H,W) of 1, 3 or 4 channels.

    >>> [is_picture_shape(s) for s in ((28, 28), (32, 32, 3), (3, 32, 32), (5,), (2, 2, 7))]
    [True, True, True, False, False]
    """
    return len(shape) == 2 or (len(shape) == 3 and (shape[2] in (1, 3, 4) or shape[0] in (1, 3, 4)))


def decode(data: bytes) -> np.ndarray:
    """The pixels of a PNG, JPEG, GIF or BMP file.

    Raises:
        UsageError: the bytes are none of these.
    """
    if not data.startswith((b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM")):
        raise UsageError("these bytes are no PNG, JPEG, GIF or BMP file")
    try:
        from PIL import Image
    except ImportError:  # Pillow is optional; TensorFlow is there, if slow to start
        import tensorflow as tf

        try:
            return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise UsageError(f"the image cannot be read: {str(error).splitlines()[0]}") from None
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"the image cannot be read: {error}") from None


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """A tensor of a picture's shape as uint8 (H,W,3).

    Bytes with colours stay as they are, and floats within [0, 1] are scaled by 255. All other values are stretched:
    from 0, or the least value if negative, to the greatest. Values that are not finite are black, and black lies
    behind transparent pixels.
    """
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, 2)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    alpha = None
    if pixels.dtype == np.uint8 and pixels.shape[2] > 1:
        values = pixels.astype(np.float64)
        if pixels.shape[2] == 4:
            alpha = values[:, :, 3:] / 255
    else:
        values = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        if pixels.shape[2] == 4:
            top = 1.0 if pixels.dtype.kind == "f" else max(1.0, float(values[:, :, 3].max(initial=0)))
            alpha = np.clip(values[:, :, 3:] / top, 0, 1)
        values = _stretch(values[:, :, :3], pixels.dtype.kind == "f")
    values = values[:, :, :3] if alpha is None else values[:, :, :3] * alpha
    return np.broadcast_to(np.clip(values + 0.5, 0, 255).astype(np.uint8), (*pixels.shape[:2], 3))


def _stretch(values: np.ndarray, is_float: bool) -> np.ndarray:
    low, high = min(0.0, values.min(initial=0.0)), values.max(initial=0.0)
    if is_float and low == 0 and high <= 1:
        return values * 255
    return (values - low) * (255 / (high - low)) if high > low else values * 0


def scaled(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture within ``width`` x ``height`` pixels, in proportion: means of areas, or a whole factor larger."""
    rows, columns = rgb.shape[:2]
    factor = min(width / columns, height / rows, 1.0)
    if factor == 1.0:
        times = max(1, min(LEAST_PIXELS // max(rows, columns), width // columns, height // rows))
        return rgb.repeat(times, 0).repeat(times, 1)
    lower = _shrink(rgb.astype(np.float64), max(1, round(rows * factor)), 0)
    return np.clip(_shrink(lower, max(1, round(columns * factor)), 1) + 0.5, 0, 255).astype(np.uint8)


def _shrink(values: np.ndarray, count: int, axis: int) -> np.ndarray:
    """Shrink an axis to ``count`` places: each is the mean of the old places under it, in part at both ends."""
    size = values.shape[axis]
    edges = np.linspace(0, size, count + 1)
    sums = np.concatenate([np.zeros_like(values.take([0], axis)), values.cumsum(axis)], axis)
    whole = np.minimum(edges.astype(np.intp), size - 1)
    share = (edges - whole).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    at_edges = sums.take(whole, axis) + values.take(whole, axis) * share
    return np.diff(at_edges, axis=axis) * (count / size)


def draw(rgb: np.ndarray, colours: str | None) -> list[str]:
    """The lines of a picture; a line has two rows of pixels.

    Args:
        colours: ``truecolor`` or ``256``; any other value means no colours.
    """
    if len(rgb) % 2:
        rgb = np.concatenate([rgb, np.zeros_like(rgb[:1])])
    if colours == "truecolor":
        codes = [[f"2;{r};{g};{b}" for r, g, b in row] for row in rgb.tolist()]
    elif colours == "256":
        codes = [[f"5;{n}" for n in row] for row in _palette(rgb).tolist()]
    else:
        grey = (rgb @ _LUMA).reshape(-1, 2, rgb.shape[1]).mean(1)
        return ["".join(_RAMP[int(v * (len(_RAMP) - 1) / 255 + 0.5)] for v in row) for row in grey.tolist()]
    return [_half_blocks(upper, lower) for upper, lower in zip(codes[::2], codes[1::2], strict=True)]


def _half_blocks(upper: list[str], lower: list[str]) -> str:
    parts, before = [], None
    for pair in zip(upper, lower, strict=True):
        if pair != before:
            parts.append(f"\x1b[38;{pair[0]};48;{pair[1]}m")
            before = pair
        parts.append(_UPPER)
    return "".join(parts) + _RESET


def _palette(rgb: np.ndarray) -> np.ndarray:
    """The number of the nearest of xterm's 256 colours: of the cube, or of the greys where a grey is nearer."""
    values = rgb.astype(np.int64)
    cube = np.abs(values[..., None] - _CUBE_LEVELS).argmin(-1)
    halfway = _FIRST_GREY - _GREY_STEP / 2  # truncation rounds from here
    grey = np.clip((values.mean(-1) - halfway) / _GREY_STEP, 0, _GREYS - 1).astype(np.int64)
    cube_error = ((_CUBE_LEVELS[cube] - values) ** 2).sum(-1)
    grey_error = (((grey * _GREY_STEP + _FIRST_GREY)[..., None] - values) ** 2).sum(-1)
    return np.where(grey_error < cube_error, _GREY_START + grey, _CUBE_START + cube @ _CUBE_STRIDES)


def sheet(pictures: Sequence[tuple[str, np.ndarray]], width: int, height: int, colours: str | None) -> list[str]:
    """The lines of pictures with titles, side by side while there is room.

    Args:
        pictures: title and tensor of each.
        width, height: size of the terminal in characters.
    """
    tiles = []
    for title, pixels in pictures:
        rgb = scaled(as_rgb(pixels), width, 2 * max(4, height - 3))
        tiles.append((title, draw(rgb, colours), rgb.shape[1]))
    lines: list[str] = []
    while tiles:
        group, room = [tiles.pop(0)], width
        room -= group[0][2]
        while tiles and tiles[0][2] + SPACE <= room:
            room -= tiles[0][2] + SPACE
            group.append(tiles.pop(0))
        lines.append(_join([_fit(title, size, len(group) == 1 and width or size) for title, _, size in group]))
        for row in range(max(len(picture) for _, picture, _ in group)):
            lines.append(_join([p[row] if row < len(p) else " " * size for _, p, size in group]))
    return lines


def _fit(title: str, size: int, most: int) -> str:
    text = cut(title, max(size, most))
    return text + " " * max(0, size - width_of(text))


def _join(parts: list[str]) -> str:
    return (" " * SPACE).join(parts).rstrip(" ")
