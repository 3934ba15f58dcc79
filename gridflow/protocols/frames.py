"""Small messages over a TCP connection of their own: frames, in either direction.

    0   uint32    bytes that follow the head
    4   uint32    number of the request, chosen by the client; its answer has the same
    8   uint32    kind
    12  ...

All numbers are little endian. The first frame of a client is LOGIN, and its answer DONE, or ERROR and the end. Then
requests, as many at once as a client likes; answers come in any order.

    kind        what follows the head                         answers
    LOGIN       uint32 magic, uint32 version,                 DONE, ERROR
                run of the node (32 bytes), authorization
    COMMIT      gf_ring_commit (16 bytes), operations         DONE, ELSEWHERE, ERROR
    GET         gf_ring_commit (its mode is 0), encoded key   VALUE, ABSENT, ELSEWHERE, ERROR
    MESSAGE     a message of ``messages``                     DONE, ELSEWHERE, ERROR
    DONE        uint64 how many rows it concerned
    VALUE       the encoded value
    ERROR       ``messages.encode_error``

ELSEWHERE: nothing was done, as it would take longer than a moment, or is wrong: the same is to be sent by Arrow
Flight, where a thread of its own does it or an error says all. The run is that of ``Welcome``: frames are for the node
that said it, and no other one lets the client in. TCP and TLS see to it that bytes come as they were sent, so frames
have no checksums of their own.
"""

from __future__ import annotations

import struct

LOGIN, COMMIT, GET, MESSAGE = 16, 17, 18, 19
#: Kinds of answers: those of ``_native.small_requests``.
DONE, VALUE, ABSENT, ERROR, ELSEWHERE = 1, 2, 3, 4, 5
HEAD = struct.Struct("<III")
COMMIT_HEAD = struct.Struct("<IIQ")
LOGIN_HEAD = struct.Struct("<II")
COUNT = struct.Struct("<Q")
MAGIC = 0x4D524647  # GFRM
VERSION = 2
#: Bytes of a node's run.
RUN_BYTES = 32
#: Bytes after the head that a request, or an answer, has at most. What is larger goes by Arrow Flight.
MOST_BYTES = 256 << 10


def frame(number: int, kind: int, body: bytes = b"") -> bytes:
    """One frame.

    >>> frame(1, DONE, COUNT.pack(2)).hex()
    '0800000001000000010000000200000000000000'
    """
    return HEAD.pack(len(body), number, kind) + body


def login(run: str, authorization: bytes) -> bytes:
    """The body of LOGIN."""
    return LOGIN_HEAD.pack(MAGIC, VERSION) + run.encode().ljust(RUN_BYTES)[:RUN_BYTES] + authorization
