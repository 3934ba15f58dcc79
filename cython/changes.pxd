from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string

from gridflow._native.core cimport *
from gridflow._native.rows cimport RowCodec
from gridflow._native.table_store cimport TableStore


cdef class Changes:
    cdef readonly TableStore table
    cdef readonly RowCodec codec
    cdef TableCut base
    cdef shared_ptr[MemoryTable] own
    cdef shared_ptr[MemoryTable] saved
    cdef shared_ptr[const TableSnapshot] shown
    cdef bint stale
    cdef bint previewed
    cdef readonly bint live
    cdef cmap[string, uint64_t] seen
    cdef bint find(self, const string& key, const uint8_t** value, int* segment, int64_t* row) except -1
    cdef int cut(self) except -1
    cdef int take(self, shared_ptr[string]& operations) except -1
    cdef int take_puts(self, shared_ptr[string]& all, int count, str on_duplicate) except -1
    cdef bint takes(self, const string& encoded, set seen, str on_duplicate) except -1
