"""The node's end of its clients' rings: small requests by shared memory; see ``gridflow/ring_format.h``.

One thread (``RingDrain.run``) takes the requests of all rings and answers them. It waits without the GIL, and for no
client: what cannot be done at once is answered so, and the client sends it by the socket, where a thread of its own waits
for it. What is done with them says ``small_requests``.
"""
import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.small_requests cimport Asker, SmallRequests
from gridflow._native.status cimport check
from gridflow._native.store cimport Store

from gridflow.errors import UsageError

core.process_state = shared_state()

#: Bytes that every answer has room for.
ANSWER_BYTES = RING_LEAST_ANSWER
#: Requests of one ring that are taken before those of the next one.
MOST_AT_ONCE = 32


def discard_ring(str path):
    """For the owner of a grid: the ring of a node that has died. Its client learns that it is lost, and the file goes."""
    DiscardRing(<string>os.fsencode(path))


cdef class ServedRing(Asker):
    """One client's ring, as the node has it.

    Attributes:
        path: the ring's file.
        pid: the client's process, by the lock that it holds on the file; 0 if it is of another pid namespace, -1 if
            there is none, or it is this one.
    """

    cdef shared_ptr[OwnerRing] ring
    cdef readonly str path

    def __init__(self, str path, object peer):
        super().__init__(peer)
        self.path = path
        check(OwnerRing.Open(<string>os.fsencode(path), &self.ring))

    @property
    def pid(self):
        cdef int pid = 0
        check(self.ring.get().Holder(&pid))
        return pid


cdef class RingDrain:
    """The rings of a node, and what comes through them.

    Args:
        requests: what is to be done with requests.
        bell: where the clients' bell is made.
        keeper: who takes note of what becomes of rings: ``server.rings.Keeper``.
    """

    cdef Store store
    cdef SmallRequests requests
    cdef object keeper
    cdef unique_ptr[RingSet] set
    cdef list rings  # replaced, never changed
    cdef bint stopping
    # What was done and waits for the disk: it is answered with its count when that is sure.
    cdef vector[shared_ptr[OwnerRing]] due_rings
    cdef vector[RingRequest] due_requests
    cdef vector[uint64_t] due_counts

    def __init__(self, SmallRequests requests not None, str bell, keeper):
        self.store = requests.store
        self.requests = requests
        self.keeper = keeper
        self.rings = []
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
        self.keeper.closed(ring)

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
                self.close(ring, self.requests.carrier.describe(error).decode(), gf_ring_closed.GF_RING_LOST)
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
                self.keeper.refused(ring, reason)
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
        cdef int64_t count = 0
        cdef uint64_t before = self.store.next_lsn
        try:
            if not self.requests.commit(ring, request.bytes.data(), request.bytes.size(), &count):
                return self.elsewhere(ring, request)
        except Exception as error:
            return self.failed(ring, request, error)
        return self.done(ring, request, count, self.store.next_lsn != before)

    cdef int carry(self, ServedRing ring, RingRequest& request) except -1:
        cdef int64_t count = 0
        cdef uint64_t before = self.store.next_lsn
        try:
            if not self.requests.carry(ring, <bytes>request.bytes, &count):
                return self.elsewhere(ring, request)
        except Exception as error:
            return self.failed(ring, request, error)
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
            text = self.requests.carrier.describe(error)
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
        cdef string text = self.requests.carrier.describe(error)
        ring.ring.get().Answer(request, GF_RING_ERROR, 0, text)
        return 0
