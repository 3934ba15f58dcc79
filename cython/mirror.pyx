"""Sealed files that travel: what names their content, and segments of which only some blocks have come.

Threads of Python take jobs from the process's fetcher (``core/mirror.h``) and deliver bytes to it; whoever reads a block
that is missing, in whatever thread and with or without an interpreter, waits for that.
"""
import os

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from gridflow import errors
from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.status cimport check

core.process_state = shared_state()


cdef extern from "core/sealed_file.h" namespace "gridflow" nogil:
    Status ReadFingerprint(const string&, uint64_t*, uint64_t*) except +
    cbool AreWholeDeletions(const uint8_t*, uint64_t, uint64_t)


cdef extern from "core/mirror.h" namespace "gridflow" nogil:
    cdef cppclass MirrorFile:
        const string& path() const
        uint64_t file_bytes() const
        uint64_t fingerprint() const
        uint64_t BlockBegin(uint64_t) const
        @staticmethod
        Status Create(const string&, uint64_t, uint64_t, const uint8_t*, uint64_t*, const uint8_t*, uint64_t) except +

    cdef cppclass NativeJob "gridflow::FetchJob":
        NativeJob(Fetcher*)
        const MirrorFile& file() const
        vector[pair[uint64_t, uint64_t]] Ranges() except +
        Status Deliver(uint64_t, const uint8_t*, uint64_t) except +
        uint64_t TakeDamaged(uint64_t*)
        void Fail(const Status&) except +

    cdef cppclass Fetcher:
        Fetcher() except +
        cbool Take(NativeJob*) except +
        void Begin(int)
        void Close()

    cdef cppclass MirrorUse:
        uint64_t bytes
        uint64_t present
        int64_t used
        cbool is_used

    Status LookAtMirror(const string&, MirrorUse*) except +


cdef extern from *:
    """
    static gridflow::Fetcher* SetFetcher(gridflow::Fetcher* fetcher) {
      gridflow::process_state->fetcher.store(fetcher, std::memory_order_release);
      return fetcher;
    }
    """
    Fetcher* SetFetcher(Fetcher*)


# Never destroyed: threads may wait in it to the very end.
cdef Fetcher* fetcher = SetFetcher(new Fetcher())


def fingerprint(str path):
    """(bytes, fingerprint) of a segment, a deletion bitmap or a list of deleted rows.

    Raises:
        GridNotFoundError: there is no such file.
        GridCorruptError: it is none of these.
    """
    cdef uint64_t size, result
    cdef Status status
    cdef string name = os.fsencode(path)
    with nogil:
        status = ReadFingerprint(name, &size, &result)
    check(status)
    return size, result


def are_whole_deletions(const uint8_t[::1] data not None, uint64_t fingerprint):
    """Whether bytes are those of the deletion bitmap, or the list of deleted rows, that has this fingerprint."""
    return data.shape[0] > 0 and AreWholeDeletions(&data[0], data.shape[0], fingerprint)


def create(str path, uint64_t size, uint64_t fingerprint, const uint8_t[::1] head not None, const uint8_t[::1] tail not None):
    """Makes a segment in a mirror of what has come of it: its first bytes, and its last ones, with all checksums.

    Returns:
        0; or how many of the first bytes are needed, if there are too few.

    Raises:
        GridCorruptError: it is not the segment that has this fingerprint.
        GridFullError: there is no room.
    """
    cdef uint64_t head_bytes = head.shape[0], tail_bytes = tail.shape[0]
    cdef Status status
    cdef string name = os.fsencode(path)
    if head_bytes == 0 or tail_bytes == 0:
        raise errors.GridCorruptError(f"{path} is empty", path, 0)
    with nogil:
        status = MirrorFile.Create(name, size, fingerprint, &head[0], &head_bytes, &tail[0], tail_bytes)
    check(status)
    return head_bytes


def use_of(str path):
    """(bytes, bytes that are there, when it was opened last in seconds since 1970, whether somebody has it open) of a
    segment in a mirror.

    Raises:
        GridNotFoundError: there is none.
        GridCorruptError: its map is damaged.
    """
    cdef MirrorUse use
    cdef string name = os.fsencode(path)
    check(LookAtMirror(name, &use))
    return use.bytes, use.present, use.used / 1e9, use.is_used


def announce(str home):
    """Tells readers of a mirror's folder that there is something new; makes what they look at."""
    cdef shared_ptr[ControlPage] control
    cdef string page = <string>os.fsencode(home) + <string>b"/control"
    check(ControlPage.Create(page, 0, &control))
    control.get().Bump()


def fetcher_address():
    """Where C++ finds the process's fetcher, for libraries with a copy of core of their own."""
    return <uintptr_t>fetcher


def begin(int threads):
    """Says that so many threads call ``take``."""
    fetcher.Begin(threads)


def close():
    """Has ``take`` return None, and whoever waits for a block get an error."""
    fetcher.Close()


def renew():
    """In a forked child: the parent's fetcher, and what waits in it, is not ours. Its libraries keep the old one."""
    global fetcher
    fetcher = SetFetcher(new Fetcher())


def take():
    """The next job, when there is one; None if there will be none any more."""
    cdef Job job = Job.__new__(Job)
    cdef cbool found
    with nogil:
        found = job.it.Take(job.it_)
    return job if found else None


cdef class Job:
    """Blocks of a segment in a mirror that one thread is to bring. Whoever waits for them gets an error if it goes."""

    cdef NativeJob* it_
    cdef Fetcher* it

    def __cinit__(self):
        self.it = fetcher
        self.it_ = new NativeJob(fetcher)

    def __dealloc__(self):
        del self.it_

    @property
    def path(self):
        """The segment."""
        return os.fsdecode(self.it_.file().path())

    @property
    def file(self):
        """(bytes, fingerprint) of the segment."""
        return self.it_.file().file_bytes(), self.it_.file().fingerprint()

    def ranges(self):
        """What is still to come: (begin, end) of each range of bytes."""
        return [(one.first, one.second) for one in self.it_.Ranges()]

    def deliver(self, uint64_t offset, const uint8_t[::1] data not None):
        """Takes bytes of the segment, those of a range in order.

        Raises:
            GridFullError: there is no room.
            SchemaError: they were not asked for.
        """
        cdef Status status
        cdef uint64_t size = data.shape[0]
        if size == 0:
            return
        with nogil:
            status = self.it_.Deliver(offset, &data[0], size)
        check(status)

    def take_damaged(self):
        """Before the ranges are asked for again: where the first block lies that did not match its checksum; or None."""
        cdef uint64_t first = 0
        return self.it_.file().BlockBegin(first) if self.it_.TakeDamaged(&first) else None

    def fail(self, error not None):
        """Whoever waits for what has not come gets this error."""
        cdef Status status
        status.code = Code.kInternal
        for kind, code in (
            (errors.GridConnectionError, Code.kUnreachable),
            (errors.GridCorruptError, Code.kCorrupt),
            (errors.GridFullError, Code.kFull),
            (errors.GridAccessError, Code.kAccess),
            (errors.GridNotFoundError, Code.kNotFound),
        ):
            if isinstance(error, kind):
                status.code = code
                break
        status.message = str(error).encode()
        status.file = self.it_.file().path()
        status.offset = getattr(error, "offset", None) or -1
        self.it_.Fail(status)
