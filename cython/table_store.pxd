from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native.core cimport *
from gridflow._native.rows cimport RowCodec
from gridflow._native.table_versions cimport TableVersions


cdef class TableStore(TableVersions):
    cdef int same_columns(self, RowCodec codec) except -1
    cdef int begin_write(self, uint64_t payload, bint frees) except -1
    cdef int commit(self, string& payload, bint frees=*) except -1
    cdef int lookup(self, uint64_t hash, const string& key, const uint8_t** value, int* segment, int64_t* row) except -1
    cdef bint has(self, const string& key) except -1
    cdef object value_at(self, int where, const uint8_t* value, int segment, int64_t row)
    cdef int append_put(self, RowCodec codec, object key, object value, string& out, string* encoded_key) except -1
    cdef int append_values(
        self, RowCodec codec, tuple places, tuple fixed, object values, string& out, string* encoded_key
    ) except -1
    cdef bint get_together(self, list batch, dict result) except -1
    cdef int end_put(self, OperationBuilder& builder) except -1
    cdef int64_t apply(self, const char* operations, size_t size, int mode, uint64_t digest) except -1
