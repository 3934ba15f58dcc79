from libc.stdint cimport uint32_t, uint64_t
from libcpp.memory cimport shared_ptr

from gridflow._native.core cimport *


cdef class LogTable:
    cdef readonly uint32_t table_id
    cdef uint64_t flush_needs(self)
    cdef int flush_if_idle(self) except -1
    cdef int flush_if_behind(self) except -1
    cdef int enter(self, uint64_t lsn, const shared_ptr[LogFile]& file, OperationWalk* walk) except -1
    cdef uint64_t oldest_lsn(self)
    cdef int writable(self, uint64_t payload, bint frees) except -1
    cdef bint settled(self)
    cdef int check_columns(self, object digest) except -1
    cdef int check_operation(self, Operation operation) except -1
    cdef int now(self, TableCut* out) except -1
    cdef object conflict(self, Operation operation)
    cdef int begin_replay(self, ReplayTarget* target) except -1
    cdef int end_replay(self, uint64_t first_lsn) except -1
    cdef object open_current(self)
    cdef bint can_adopt(self, object version) except -1
    cdef bint adopt(self, object version, ReplayTarget* target) except -1
