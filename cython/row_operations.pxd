from libc.stdint cimport uint32_t
from libcpp.string cimport string

from gridflow._native.core cimport OperationBuilder
from gridflow._native.rows cimport RowCodec


cdef int end_put(RowCodec codec, uint32_t table_id, OperationBuilder& builder) except -1
cdef int append_put(
    RowCodec codec, uint32_t table_id, object key, object value, string& out, string* encoded_key
) except -1
cdef int append_batches(RowCodec codec, uint32_t table_id, list batches, string* out) except -1
