cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native.codecs cimport Codec
from gridflow._native.core cimport ColumnView, Schema, Type


@cython.final
cdef class RowCodec:
    cdef Schema schema
    cdef vector[Codec] codecs  # of the columns, in their order
    cdef size_t bitmap_bytes  # of a value: a bit for each of its columns that may be null
    cdef readonly object python_schema
    cdef readonly str table
    cdef readonly bint plain_value
    cdef readonly tuple value_names
    cdef readonly dict defaults  # column -> the value of its DEFAULT
    cdef readonly uint64_t digest
    cdef dict default_values(self)
    cdef object fail(self, uint32_t position, object mismatch)
    cdef dict place(self, uint32_t position)
    cdef int encode_key(self, object key, string& out) except -1
    cdef int encode_value(self, object value, string& out) except -1
    cdef int encode_values(self, tuple values, string& out) except -1
    cdef tuple decode_values(self, const uint8_t* p)
    cdef object decode_key(self, const uint8_t* p)
    cdef object decode_value(self, const uint8_t* p)
    cdef object decode_part(self, uint32_t position, const uint8_t** at)
    cdef object decode_cell(self, uint32_t position, const ColumnView* column, int64_t row)
    cdef object decode_row(self, const vector[ColumnView]& columns, int64_t row)


cdef int type_to_native(str name, object t, Type* out) except -1
cdef object schema_from_native(const Schema& schema)
