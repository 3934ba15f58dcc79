"""A client's end of a ring: small requests to the node by shared memory; see ``gridflow/ring_format.h``."""
import os
import time

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport getpid
from libcpp cimport bool as cbool
from libcpp.memory cimport unique_ptr
from libcpp.string cimport string

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec
from gridflow._native.status cimport check
from gridflow._native.table_store cimport TableStore

from gridflow.errors import ColumnNotFoundError, InternalError, SchemaError

core.process_state = shared_state()

#: Bytes that one request can have.
MOST_BYTES = RING_MOST_BYTES
#: Nanoseconds after which who waits looks whether there is still somebody to wait for.
cdef int64_t LOOK_NS = 20_000_000
cdef int64_t MOST_LOOK_NS = 500_000_000

cdef enum:
    USUAL_BYTES = 240  # of one row's operation


class RingClosed(Exception):
    """The node takes nothing from this ring any more.

    Attributes:
        done: False: the request was not carried out; None: nobody knows.
        refused: whether the node takes this ring's requests for wrong ones.
        reason: what the node says; "" if it said nothing.
    """

    def __init__(self, done, bint refused, str reason):
        super().__init__(reason)
        self.done = done
        self.refused = refused
        self.reason = reason


class RingFull(Exception):
    """No room came back within the time: ``requests`` wait for their answers. The request was not published."""

    def __init__(self, size_t requests):
        super().__init__(requests)
        self.requests = requests


class RingSilent(Exception):
    """No answer came within the time. Whether the request was carried out is not known."""


cdef class ClientRing:
    """The ring of this process to one node. Any thread may use it; each waits for its own answer without the GIL.

    Args:
        path: where the ring is made; nobody serves it until the node is told.
        bell: the node's bell.

    Raises:
        GridFullError, GridAccessError, GridNotFoundError: the ring cannot be made; there is no bell.
        GridVersionError: the node's rings are those of another release.
    """

    cdef unique_ptr[RingClient] client
    cdef int pid

    def __init__(self, str path, str bell):
        self.pid = os.getpid()
        check(RingClient.Create(<string>os.fsencode(path), <string>os.fsencode(bell), &self.client))

    def __dealloc__(self):
        # A forked child has only a copy of the mapping: it goes without a word.
        if self.client.get() != NULL and self.pid == os.getpid():
            self.client.get().Leave()

    @property
    def closed(self):
        """Whether the node takes nothing from it any more, or it is that of the process that forked this one."""
        return not self.open()

    cdef bint open(self):
        return self.client.get().closed() == GF_RING_OPEN and self.pid == getpid()

    def commit(self, uint32_t table_id, uint64_t columns, int mode, bytes operations not None, double timeout):
        """Has operations committed, as ``TableStore._commit_encoded``; ``mode`` is a place in COMMIT_MODES.

        Args:
            timeout: seconds to wait, first for room and then for the answer.

        Returns:
            How many were applied, or the bytes of an error. None: nothing was done; it must be asked elsewhere.

        Raises:
            RingClosed, RingFull, RingSilent: there is no answer.
        """
        cdef gf_ring_commit head
        cdef RingAnswer answer
        head.table_id = table_id
        head.mode = mode
        head.columns = columns
        self.exchange(
            GF_RING_COMMIT, &head, sizeof(head), PyBytes_AS_STRING(operations), PyBytes_GET_SIZE(operations), timeout,
            &answer,
        )
        return self.result(answer)

    # ---- one row: as ``commit``, but that it is encoded here, while the node wakes up ----
    #
    # None also where the long way has something to say about it: the grid or the ring is closed, the row does not fit, or
    # is large. Then nothing was sent.

    def commit_put(self, TableStore table not None, RowCodec codec not None, int mode, key, value, double timeout):
        """Has a row put that was made for the columns of ``codec``."""
        cdef string out
        if codec is not table.codec or not self.usable(table):
            return None
        self.client.get().Announce()
        out.reserve(USUAL_BYTES)
        try:
            table.append_put(codec, key, value, out, NULL)
        except (SchemaError, ColumnNotFoundError):  # of the columns that it had when it was last looked at
            return None
        return self.commit_row(table, codec, mode, out, timeout)

    def commit_removal(self, TableStore table not None, key, double timeout):
        """Has the row under a key removed."""
        cdef string out, encoded
        cdef RowCodec codec = table.codec
        if not self.usable(table):
            return None
        self.client.get().Announce()
        try:
            codec.encode_key(key, encoded)
        except SchemaError:
            return None
        AppendRemoval(table.table_id, encoded, &out)
        return self.commit_row(table, codec, GF_RING_REMOVE, out, timeout)

    def commit_values(
        self, TableStore table not None, RowCodec codec not None, tuple places not None, tuple fixed not None, values,
        double timeout
    ):
        """Has a row put, unless there is one under its key: of values, as ``TableStore._insert_values`` takes them."""
        cdef string out
        if codec is not table.codec or not self.usable(table):
            return None
        self.client.get().Announce()
        out.reserve(USUAL_BYTES)
        try:
            table.append_values(codec, places, fixed, values, out, NULL)
        except SchemaError:
            return None
        return self.commit_row(table, codec, GF_RING_PUT_IF_ABSENT, out, timeout)

    cdef bint usable(self, TableStore table):
        return not table.store.closed and self.open()

    cdef object commit_row(self, TableStore table, RowCodec codec, int mode, string& operation, double timeout):
        cdef gf_ring_commit head
        cdef RingAnswer answer
        # Encoding may have run Python: in it others may have followed the owner to other columns, or closed the grid.
        if codec is not table.codec or not self.usable(table) or operation.size() > RING_MOST_BYTES - sizeof(head):
            return None
        head.table_id = table.table_id
        head.mode = mode
        head.columns = codec.digest
        self.exchange(GF_RING_COMMIT, &head, sizeof(head), operation.data(), operation.size(), timeout, &answer)
        return self.result(answer)

    def ask(self, bytes message not None, double timeout):
        """Has a message carried out, of those that the node does at once. Else as ``commit``."""
        cdef RingAnswer answer
        self.exchange(
            GF_RING_MESSAGE, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), NULL, 0, timeout, &answer
        )
        return self.result(answer)

    cdef object result(self, RingAnswer& answer):
        if answer.kind == GF_RING_DONE:
            return answer.count
        if answer.kind == GF_RING_ELSEWHERE:
            return None
        return PyBytes_FromStringAndSize(answer.bytes.data(), answer.bytes.size())

    cdef int exchange(self, uint32_t kind, const void* head, size_t head_bytes, const void* body, size_t body_bytes,
                      double timeout, RingAnswer* answer) except -1:
        cdef uint64_t ticket = 0
        cdef int64_t look = LOOK_NS
        cdef cbool answered
        cdef RingClient* client = self.client.get()
        if head_bytes + body_bytes > RING_MOST_BYTES:
            raise InternalError(f"a ring takes no request of {head_bytes + body_bytes} bytes")
        if not self.open():
            raise self.gone(False)
        if not client.Send(kind, head, head_bytes, body, body_bytes, &ticket):
            self.send_later(kind, head, head_bytes, body, body_bytes, timeout, &ticket)
        with nogil:
            answered = client.Await(ticket, look)
        if not answered:
            try:
                deadline = time.monotonic() + timeout
                while not answered:
                    PyErr_CheckSignals()
                    if client.closed() != GF_RING_OPEN or not client.OwnerLives():
                        with nogil:  # it may have answered just before
                            answered = client.Await(ticket, 0)
                        if not answered:
                            raise self.gone(None)
                        break
                    if time.monotonic() > deadline:
                        raise RingSilent()
                    look = min(2 * look, MOST_LOOK_NS)
                    with nogil:
                        answered = client.Await(ticket, look)
            except BaseException:
                client.Abandon(ticket)
                raise
        client.Take(ticket, answer)
        return 0

    cdef int send_later(self, uint32_t kind, const void* head, size_t head_bytes, const void* body, size_t body_bytes,
                        double timeout, uint64_t* ticket) except -1:
        """Publishes a request as soon as there is room."""
        cdef RingClient* client = self.client.get()
        deadline = time.monotonic() + timeout
        while True:
            with nogil:
                client.AwaitRoom(LOOK_NS)
            PyErr_CheckSignals()
            if client.closed() != GF_RING_OPEN or not client.OwnerLives():
                raise self.gone(False)
            if client.Send(kind, head, head_bytes, body, body_bytes, ticket):
                return 0
            if time.monotonic() > deadline:
                raise RingFull(client.waiting())

    cdef object gone(self, done):
        """The error of a ring that nobody serves any more; ``done`` is what is known of the request by itself."""
        cdef uint32_t closed = self.client.get().closed()
        if closed == GF_RING_STOPPED or closed == GF_RING_REFUSED:
            done = False
        reason = self.client.get().reason().decode("utf-8", "replace") if closed else ""
        return RingClosed(done, closed == GF_RING_REFUSED, reason)
