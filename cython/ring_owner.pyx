"""The node's end of its clients' rings: small requests by shared memory; see ``gridflow/ring_format.h``.

One thread (``RingDrain.run``) takes the requests of all rings and answers them. It waits without the GIL, and for no
client: what cannot be done at once is answered so, and the client sends it by the socket, where a thread of its own waits
for it. Operations are checked and committed here, without Python; a message is Python's to carry out (``Carrier``).
"""
import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.set cimport set as cset
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.status cimport check
from gridflow._native.store cimport Store
from gridflow._native.table_store cimport TableStore

from gridflow._native.store import WouldWait
from gridflow._native.table_store import COMMIT_MODES
from gridflow.errors import GridflowError, UsageError

core.process_state = shared_state()

#: Bytes that every answer has room for.
ANSWER_BYTES = RING_LEAST_ANSWER
#: Requests of one ring that are taken before those of the next one.
MOST_AT_ONCE = 32


def discard_ring(str path):
    """For the owner of a grid: the ring of a node that has died. Its client learns that it is lost, and the file goes."""
    DiscardRing(<string>os.fsencode(path))


cdef class ServedRing:
    """One client's ring, as the node has it.

    Attributes:
        peer: who the client is, as it was known when it opened the ring; for whatever comes through it.
        path: the ring's file.
        pid: the client's process, by the lock that it holds on the file; 0 if it is of another pid namespace, -1 if
            there is none, or it is this one.
    """

    cdef shared_ptr[OwnerRing] ring
    cdef cset[uint64_t] allowed  # the kinds of commits that its peer may have done, as of `asked`; see RingDrain.allow
    cdef uint64_t asked
    cdef readonly object peer
    cdef readonly str path

    def __init__(self, str path, object peer):
        self.path = path
        self.peer = peer
        check(OwnerRing.Open(<string>os.fsencode(path), &self.ring))

    @property
    def pid(self):
        cdef int pid = 0
        check(self.ring.get().Holder(&pid))
        return pid


cdef class RingDrain:
    """The rings of a node, and what comes through them.

    Args:
        store: of the grid, which this process owns.
        bell: where the clients' bell is made.
        carrier: what is to be done with messages, and who may do what: ``server.rings.Carrier``.
    """

    cdef Store store
    cdef object carrier
    cdef unique_ptr[RingSet] set
    cdef list rings  # replaced, never changed
    cdef dict tables  # of those that rings may write
    cdef bint stopping
    cdef uint64_t permissions  # goes up when what was allowed must be asked for again
    # What was done and waits for the disk: it is answered with its count when that is sure.
    cdef vector[shared_ptr[OwnerRing]] due_rings
    cdef vector[RingRequest] due_requests
    cdef vector[uint64_t] due_counts

    def __init__(self, Store store, str bell, carrier):
        self.store = store
        self.carrier = carrier
        self.rings = []
        self.tables = {}
        check(RingSet.Create(<string>os.fsencode(bell), &self.set))

    def open(self, str path, peer):
        """Takes over a ring that a client has made; returns it as a ``ServedRing``.

        Raises:
            GridCorruptError, GridVersionError, GridNotFoundError: there is none, or one of another release.
            UsageError: nobody serves rings any more.
        """
        if self.stopping:
            raise UsageError("this node serves no rings any more")
        ring = ServedRing(path, peer)
        self.rings = [*self.rings, ring]
        self.set.get().Add((<ServedRing>ring).ring)
        return ring

    @property
    def opened(self):
        """The rings that are served."""
        return list(self.rings)

    def close(self, ServedRing ring, str reason, gf_ring_closed why=gf_ring_closed.GF_RING_STOPPED):
        """Serves a ring no more, and says why. May be called again."""
        if ring not in self.rings:
            return
        self.rings = [one for one in self.rings if one is not ring]
        self.set.get().Remove(ring.ring.get())
        ring.ring.get().Close(why, <string>reason.encode())
        try:
            os.unlink(ring.path)
        except OSError:
            pass
        self.carrier.closed(ring)

    def admit(self, TableStore table not None):
        """Lets rings write a table: a commit by the socket has shown that it is one that clients may name."""
        if table.table_id not in self.tables:
            self.tables = {i: t for i, t in self.tables.items() if not (<TableStore>t).dropped}
            self.tables[table.table_id] = table

    def ask_anew(self):
        """What peers were allowed may not be any more."""
        self.permissions += 1

    def stop(self):
        """Ends ``run``, once what was taken is answered."""
        self.stopping = True
        self.set.get().Wake()

    def run(self):
        """Serves the rings until ``stop``; for a thread of its own."""
        self.store.begin_hurry()
        try:
            while not self.stopping:
                with nogil:
                    self.set.get().Wait()
                self.round()
        except BaseException:  # a bug; nobody is to wait for this thread
            self.stopping = True
            for ring in self.rings:
                self.close(ring, "the thread that served it has failed", gf_ring_closed.GF_RING_LOST)
            raise
        finally:
            self.store.end_hurry()  # before another thread gets the same number

    cdef int round(self) except -1:
        """Takes what there is, does it, and answers it."""
        cdef ServedRing ring
        for ring in self.rings:
            try:
                self.take(ring)
            except Exception as error:  # what of it was done is not known
                self.close(ring, self.carrier.describe(error).decode(), gf_ring_closed.GF_RING_LOST)
        self.answer_due()
        return 0

    cdef int take(self, ServedRing ring) except -1:
        cdef RingRequest request
        cdef Status status
        cdef cbool there = False
        for _ in range(MOST_AT_ONCE):
            status = ring.ring.get().Next(&request, &there)
            if not status.ok():
                self.answer_due()
                reason = status.message.decode("utf-8", "replace")
                self.carrier.refused(ring, reason)
                self.close(ring, reason, gf_ring_closed.GF_RING_REFUSED)
                return 0
            if not there:
                if ring.ring.get().left():
                    self.answer_due()
                    self.close(ring, "the client has left")
                return 0
            if request.kind == GF_RING_COMMIT:
                self.commit(ring, request)
            else:
                self.carry(ring, request)
        return 0

    cdef int commit(self, ServedRing ring, RingRequest& request) except -1:
        cdef gf_ring_commit head
        cdef const char* bytes = request.bytes.data()
        cdef TableStore table
        cdef int64_t count
        cdef uint64_t before = self.store.next_lsn
        if request.bytes.size() < sizeof(head):
            return self.elsewhere(ring, request)
        head = (<const gf_ring_commit*>bytes)[0]
        table = self.tables.get(head.table_id)
        if table is None or table.dropped or head.mode >= GF_RING_MODES or head.columns != table.codec.digest:
            return self.elsewhere(ring, request)
        try:
            self.allow(ring, table, head.mode)
            count = table.apply(bytes + sizeof(head), request.bytes.size() - sizeof(head), head.mode, head.columns)
        except (GridflowError, WouldWait):  # nothing was done: what is wrong the client is told there
            return self.elsewhere(ring, request)
        except Exception as error:
            return self.failed(ring, request, error)
        return self.done(ring, request, count, self.store.next_lsn != before)

    cdef int allow(self, ServedRing ring, TableStore table, uint32_t mode) except -1:
        """Raises GridflowError unless the ring's peer may have such a commit done. A yes holds until ``ask_anew``."""
        cdef uint64_t kind = <uint64_t>table.table_id << 32 | mode, permissions = self.permissions
        if ring.asked != permissions:
            ring.allowed.clear()
            ring.asked = permissions
        if ring.allowed.count(kind) == 0:
            self.carrier.allow(ring.peer, self.carrier.probe(table, COMMIT_MODES[mode]))
            if permissions == self.permissions:
                ring.allowed.insert(kind)
        return 0

    cdef int carry(self, ServedRing ring, RingRequest& request) except -1:
        cdef uint64_t before = self.store.next_lsn
        try:
            count = self.carrier.carry(ring.peer, <bytes>request.bytes)
        except (GridflowError, WouldWait):
            return self.elsewhere(ring, request)
        except Exception as error:
            return self.failed(ring, request, error)
        if count is None:
            return self.elsewhere(ring, request)
        return self.done(ring, request, count, self.store.next_lsn != before)

    cdef int done(self, ServedRing ring, RingRequest& request, uint64_t count, bint wrote) except -1:
        """Answers what was done: at once, or when it is on the disk."""
        if not (wrote and self.store.durable):
            ring.ring.get().Answer(request, GF_RING_DONE, count, string())
            return 0
        self.due_rings.push_back(ring.ring)
        self.due_requests.push_back(request)
        self.due_counts.push_back(count)
        return 0

    cdef int answer_due(self) except -1:
        """One wait for the disk for all that was done since the last."""
        cdef size_t i
        cdef string text
        cdef uint32_t kind = GF_RING_DONE
        if self.due_rings.empty():
            return 0
        try:
            self.store.sync(self.store.next_lsn - 1)
        except Exception as error:
            kind = GF_RING_ERROR
            text = self.carrier.describe(error)
        for i in range(self.due_rings.size()):
            self.due_rings[i].get().Answer(self.due_requests[i], kind, self.due_counts[i], text)
        self.due_rings.clear()
        self.due_requests.clear()
        self.due_counts.clear()
        return 0

    cdef int elsewhere(self, ServedRing ring, RingRequest& request) except -1:
        ring.ring.get().Answer(request, GF_RING_ELSEWHERE, 0, string())
        return 0

    cdef int failed(self, ServedRing ring, RingRequest& request, object error) except -1:
        cdef string text = self.carrier.describe(error)
        ring.ring.get().Answer(request, GF_RING_ERROR, 0, text)
        return 0
