"""Changes of bytes, all of which follow from a seed."""

from __future__ import annotations

import struct
from random import Random

_WIDTHS = {1: "B", 2: "<H", 4: "<I", 8: "<Q"}
#: What text formats give a meaning, and what programs tend to stumble over.
_TOKENS = [
    *(c.encode() for c in "\"',\n\r\t\\[]{}:()-"), b"\r\n", b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"9" * 40,
    b"9" * 5000, b"1e99999999999999999999", b"0.1e-9999999999", b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80",
    b'"\\ud800"', b"\\ud800", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"[" * 5000, b'{"a":' * 3000, b" " * 300, b"'<c16'",
    b"'>i4'", b"[('a', '<i4')]", b"'|O'", b"99999999999999999999, ", b"-1,", b"",
]  # fmt: skip


def mutated(data: bytes, random: Random, *, text: bool = False) -> bytes:
    """A copy of ``data`` with some changes, mostly one or two; ``text``: pieces of text are put in, too."""
    result = bytearray(data)
    changes = [_flip, _number, _number, _number, _byte, _copy, _end, _insert, _erase] + [_token] * (6 if text else 0)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 8))):
        random.choice(changes)(result, random)
    return bytes(result)


def _place(data: bytearray, random: Random) -> int:
    return random.randrange(len(data)) if data else 0


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[_place(data, random)] ^= 1 << random.randrange(8)


def _byte(data: bytearray, random: Random) -> None:
    if data:
        data[_place(data, random)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _number(data: bytearray, random: Random) -> None:
    """A number of one to eight bytes becomes another one: near, negative, huge, or the file's size."""
    width = random.choice((1, 2, 4, 4, 8, 8))
    at = _place(data, random)
    if random.random() < 0.8:
        at -= at % width
    if at + width > len(data):
        return
    code = _WIDTHS[width]
    (before,) = struct.unpack_from(code, data, at)
    top = 1 << (8 * width)
    after = random.choice(
        (before + 1, before - 1, before * 2, before + 8, -before, 0, 1, top // 2 - 1, top // 2, top - 1, top - 8,
         len(data), len(data) - at, random.randrange(top), random.randrange(1 << random.randrange(1, 8 * width + 1)))
    )  # fmt: skip
    struct.pack_into(code, data, at, after % top)


def _copy(data: bytearray, random: Random) -> None:
    size = random.randrange(1, 64)
    source, target = _place(data, random), _place(data, random)
    piece = data[source : source + size]
    data[target : target + len(piece)] = piece


def _end(data: bytearray, random: Random) -> None:
    if random.random() < 0.5:
        del data[_place(data, random) :]
    else:
        data.extend(random.randbytes(random.randrange(200)))


def _insert(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    data[at:at] = random.choice((bytes(random.randrange(16)), random.randbytes(random.randrange(16))))


def _erase(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    del data[at : at + random.randrange(32)]


def _token(data: bytearray, random: Random) -> None:
    at = _place(data, random)
    data[at : at + random.choice((0, 0, 1, 4))] = random.choice(_TOKENS)
