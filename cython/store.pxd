from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string

from gridflow._native.core cimport *
from gridflow._native.log_table cimport LogTable

cdef enum:
    FLUSH_BYTES = 32 << 10  # of a flush that are no rows: headers, a manifest, what of their last pages is not used
    SPARE_BYTES = 256 << 10  # that writes leave free: rows can be removed and tables dropped where nothing else fits


cdef class Store:
    cdef readonly string home
    cdef readonly bint owner
    cdef readonly bint durable
    cdef bint recovered
    cdef readonly bint closing
    cdef readonly bint closed
    cdef readonly str closed_because
    cdef readonly object wake
    cdef public uint64_t flush_bytes
    cdef public double lock_seconds
    cdef public object doing
    cdef public object guard
    cdef readonly uint64_t small_bytes
    cdef readonly uint64_t listed_bytes
    cdef int threads
    cdef shared_ptr[ControlPage] control
    cdef shared_ptr[LogFile] log
    cdef shared_ptr[LogSync] syncs
    cdef unsigned long hurried[2]  # threads that must not wait
    cdef uint64_t next_lsn
    cdef uint64_t since_wake
    cdef dict tables
    cdef LogReplay* replay
    cdef cmap[uint32_t, ReplayTarget] targets
    cdef uint64_t generation
    cdef uint64_t followed
    cdef int add(self, LogTable table) except -1
    cdef int remove(self, LogTable table) except -1
    cdef uint64_t spare(self)
    cdef int make_room(self, uint64_t payload, bint frees) except -1
    cdef int append(self, string& payload, const uint8_t** at, bint frees) except -1
    cdef int commit(self, string& payload, bint frees, LogTable table) except -1
    cdef int sync(self, uint64_t lsn) except -1
    cdef int begin_hurry(self) except -1
    cdef int end_hurry(self) except -1
    cdef bint hurries(self)
    cdef int may_wait(self) except -1
    cdef int rotate(self, uint64_t payload, uint64_t spare) except -1
    cpdef bump(self)
    cpdef trim(self)
    cdef int follow(self) except -1
    cdef int reload(self) except -1
