"""Text files: opened whatever they are compressed with, and read in UTF-8 whatever they are written in."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..._native.formats import count_byte
from ...errors import UsageError

_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_BOM = b"\xef\xbb\xbf"


def compression_of(path: Path) -> str | None:
    """What a file is compressed with, by its name: ``.gz``, ``.zst``, ``.bz2``."""
    return _COMPRESSED.get(path.suffix.lower())


def open_text(path: Path) -> tuple[Any, Callable[[], int], int]:
    """A file to read bytes from, how many of its own bytes have been read, and how many there are."""
    raw = pa.OSFile(str(path))
    kind = compression_of(path)
    size = raw.size()
    # Whoever drops the stream closes the file.
    return (pa.CompressedInputStream(raw, kind) if kind else raw), (lambda: size if raw.closed else raw.tell()), size


def text_blocks(file: Any, charset: str, size: int, path: Path) -> Iterator[bytes]:
    """The file's text in UTF-8, about ``size`` bytes at a time, without a byte order mark.

    Raises:
        UsageError: bytes are no text in that charset. UTF-8 is not checked here.
    """
    decoder = None if is_utf8(charset) else codecs.getincrementaldecoder(charset)()
    first, read = True, 0
    while True:
        block = file.read(size)
        if decoder is not None:
            try:
                text = decoder.decode(block, not block)
            except UnicodeDecodeError as error:
                raise UsageError(f"{path}: byte {read + error.start} is no character of {charset}") from None
            read += len(block)
            ended = not block
            block = text.encode()
            if ended and not block:
                return
        elif not block:
            return
        if first and block:
            block, first = block.removeprefix(_BOM), False
        if block:
            yield block


def is_utf8(charset: str) -> bool:
    """Whether a charset is UTF-8, by any of its names; ASCII is a part of it."""
    return codecs.lookup(charset).name in ("utf-8", "utf-8-sig", "ascii")


def line_of(data: bytes, offset: int) -> int:
    """How many lines end before an offset, whether they end as Unix, Windows or old Macs have it."""
    newlines = count_byte(data, 10, offset)
    return newlines if newlines or b"\n" in data else count_byte(data, 13, offset)
