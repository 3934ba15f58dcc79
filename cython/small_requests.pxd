from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.set cimport set as cset

from gridflow._native.store cimport Store
from gridflow._native.table_store cimport TableStore


cdef class Asker:
    cdef cset[uint64_t] allowed  # the kinds of requests that its peer may have done, as of `asked`
    cdef uint64_t asked
    cdef readonly object peer


cdef class SmallRequests:
    cdef readonly Store store
    cdef readonly object carrier
    cdef dict tables  # of those that requests may name
    cdef uint64_t permissions  # goes up when what was allowed must be asked for again
    cdef TableStore named(self, uint32_t table_id, uint64_t columns)
    cdef int allow(self, Asker asker, TableStore table, uint32_t mode) except -1
    cdef bint commit(self, Asker asker, const char* bytes, size_t size, int64_t* count) except -1
    cdef bint carry(self, Asker asker, bytes message, int64_t* count) except -1
