"""Text files of any compression and charset, as blocks of UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..._native.formats import count_byte
from ...errors import UsageError

_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_BOM = b"\xef\xbb\xbf"
_NEWLINE, _CARRIAGE_RETURN = b"\n\r"


#: Character -> how a TSV file has it; the backslash itself comes first.
TSV_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def unescaped(text: str) -> str:
    r"""A field of a TSV file as it is meant; a backslash before any other character leaves that as it is.

    >>> unescaped(r"one\\two\x") == r"one\twox"
    True
    """
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text)


def compression_of(path: Path) -> str | None:
    """The compression that a file's name tells (``.gz``, ``.zst``, ``.bz2``), as pyarrow calls it; None for none."""
    return _COMPRESSED.get(path.suffix.lower())


def open_text(path: Path) -> tuple[Any, Callable[[], int], int]:
    """A file to read text from; a function that gives how many of the file's bytes have been read; the file's size."""
    raw = pa.OSFile(str(path))
    kind = compression_of(path)
    size = raw.size()
    # Whoever drops the stream closes the file.
    return (pa.CompressedInputStream(raw, kind) if kind else raw), (lambda: size if raw.closed else raw.tell()), size


def text_blocks(file: Any, charset: str, size: int, path: Path) -> Iterator[bytes]:
    """The file's text in UTF-8, about ``size`` bytes at a time, without a byte order mark.

    Raises:
        UsageError: bytes are no text in that charset. Blocks of a UTF-8 file are not checked here.
    """
    decoder = None if is_utf8(charset) else codecs.getincrementaldecoder(charset)()
    is_first, offset = True, 0
    while True:
        block = file.read(size)
        if decoder is not None:
            try:
                text = decoder.decode(block, not block)
            except UnicodeDecodeError as error:
                raise UsageError(f"{path}: byte {offset + error.start} is no character of {charset}") from None
            offset += len(block)
            at_end = not block
            block = text.encode()
            if at_end and not block:
                return
        elif not block:
            return
        if is_first and block:
            block, is_first = block.removeprefix(_BOM), False
        if block:
            yield block


def is_utf8(charset: str) -> bool:
    """Whether a charset is UTF-8 or ASCII, by any name."""
    return codecs.lookup(charset).name in ("utf-8", "utf-8-sig", "ascii")


def line_of(data: bytes, offset: int) -> int:
    """The number of lines that end before an offset, with the line ends of Unix, Windows or old Macs."""
    newlines = count_byte(data, _NEWLINE, offset)
    return newlines if newlines or b"\n" in data else count_byte(data, _CARRIAGE_RETURN, offset)
