"""Small requests of clients that a node carries out at once, whichever way they come: by rings or by framed TCP.

For a thread that serves many clients and must wait for none of them (``Store.begin_hurry``): what cannot be done at once
is left to the client, to send it another way, where a thread of its own waits for it. Operations are checked and committed
here, and rows looked up, without Python; a message is Python's to carry out (``Carrier``).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.store cimport Store
from gridflow._native.table_store cimport TableStore

from gridflow._native.store import WouldWait
from gridflow._native.table_store import COMMIT_MODES
from gridflow.errors import GridflowError

core.process_state = shared_state()

cdef enum:
    GET = 0xFFFF  # beside the modes of commits, where a peer is asked for

#: What ``FrameRequests`` answers.
DONE, VALUE, ABSENT, ERROR, ELSEWHERE = 1, 2, 3, 4, 5


cdef class Asker:
    """One client, as a door has it.

    Attributes:
        peer: who the client is, as it was known when it came in; for whatever comes from it.
    """

    def __init__(self, object peer):
        self.peer = peer


cdef class SmallRequests:
    """Carries out small requests on one grid. The thread of one door may call it beside that of another.

    Args:
        store: of the grid, which this process owns.
        carrier: what is to be done with messages, and who may do what: ``server.small.Carrier``.
    """

    def __init__(self, Store store, carrier):
        self.store = store
        self.carrier = carrier
        self.tables = {}

    def admit(self, TableStore table not None):
        """Lets requests name a table: one by another door has shown that it is one that clients may name."""
        if table.table_id not in self.tables:
            self.tables = {i: t for i, t in self.tables.items() if not (<TableStore>t).dropped} | {table.table_id: table}

    def ask_anew(self):
        """What peers were allowed may not be any more."""
        self.permissions += 1

    cdef TableStore named(self, uint32_t table_id, uint64_t columns):
        """The table of a request; None if it is not known here, or has other columns."""
        cdef TableStore table = self.tables.get(table_id)
        return None if table is None or table.dropped or columns != table.codec.digest else table

    cdef int allow(self, Asker asker, TableStore table, uint32_t mode) except -1:
        """Raises GridflowError unless the peer may have such a request done. A yes holds until ``ask_anew``."""
        cdef uint64_t kind = <uint64_t>table.table_id << 32 | mode, permissions = self.permissions
        if asker.asked != permissions:
            asker.allowed.clear()
            asker.asked = permissions
        if asker.allowed.count(kind) == 0:
            self.carrier.allow(asker.peer, self.carrier.probe(table, "get" if mode == GET else COMMIT_MODES[mode]))
            if permissions == self.permissions and self.carrier.lasts(asker.peer):
                asker.allowed.insert(kind)
        return 0

    cdef bint commit(self, Asker asker, const char* bytes, size_t size, int64_t* count) except -1:
        """Commits what a ``gf_ring_commit`` and the operations after it say; False: it is to go another way."""
        cdef gf_ring_commit head
        cdef TableStore table
        if size < sizeof(head):
            return False
        head = (<const gf_ring_commit*>bytes)[0]
        table = self.named(head.table_id, head.columns)
        if table is None or head.mode >= GF_RING_MODES:
            return False
        try:
            self.allow(asker, table, head.mode)
            count[0] = table.apply(bytes + sizeof(head), size - sizeof(head), head.mode, head.columns)
        except (GridflowError, WouldWait):  # nothing was done: what is wrong the client is told there
            return False
        return True

    cdef bint carry(self, Asker asker, bytes message, int64_t* count) except -1:
        """Has a message carried out; else as ``commit``."""
        try:
            result = self.carrier.carry(asker.peer, message)
        except (GridflowError, WouldWait):
            return False
        if result is None:
            return False
        count[0] = result
        return True


cdef class FrameRequests:
    """What comes in frames (``protocols.frames``), for the one thread that has them.

    Args:
        requests: the node's.
    """

    cdef SmallRequests requests

    def __init__(self, SmallRequests requests not None):
        self.requests = requests

    def begin(self):
        """Called by the thread, before its first request."""
        self.requests.store.begin_hurry()

    def end(self):
        """Called by the thread, when it ends."""
        self.requests.store.end_hurry()

    def commit(self, Asker asker not None, bytes data not None):
        """Commits; what is to be answered: (DONE, how many), (ELSEWHERE, None), (ERROR, its bytes)."""
        cdef int64_t count = 0
        try:
            if not self.requests.commit(asker, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &count):
                return ELSEWHERE, None
        except Exception as error:
            return ERROR, self.requests.carrier.describe(error)
        return DONE, count

    def carry(self, Asker asker not None, bytes data not None):
        """Has a message carried out; else as ``commit``."""
        cdef int64_t count = 0
        try:
            if not self.requests.carry(asker, data, &count):
                return ELSEWHERE, None
        except Exception as error:
            return ERROR, self.requests.carrier.describe(error)
        return DONE, count

    def get(self, Asker asker not None, bytes data not None):
        """Looks a key up, which follows a ``gf_ring_commit``: (VALUE, its bytes) or (ABSENT, None), else as ``commit``."""
        cdef gf_ring_commit head
        cdef TableStore table
        cdef size_t size = PyBytes_GET_SIZE(data)
        if size < sizeof(head):
            return ELSEWHERE, None
        head = (<const gf_ring_commit*>PyBytes_AS_STRING(data))[0]
        table = self.requests.named(head.table_id, head.columns)
        if table is None:
            return ELSEWHERE, None
        try:
            self.requests.allow(asker, table, GET)
            value = table._get_encoded(data[sizeof(head):], head.columns)
        except (GridflowError, WouldWait):
            return ELSEWHERE, None
        except Exception as error:
            return ERROR, self.requests.carrier.describe(error)
        return (ABSENT, None) if value is None else (VALUE, value)

    @property
    def durable(self):
        """Whether what was done is to be answered only after ``settle``."""
        return self.requests.store.durable

    def settle(self):
        """Waits until all that was committed so far is on the disk. Returns the bytes of the error if it cannot be."""
        try:
            self.requests.store.sync(self.requests.store.next_lsn - 1)
        except Exception as error:
            return self.requests.carrier.describe(error)
        return None
