from libc.stdint cimport int64_t
from libcpp.vector cimport vector

from gridflow._native.core cimport ArrowArray, NativeRowChanges
from gridflow._native.rows cimport RowCodec


cdef class RowChanges:
    cdef NativeRowChanges it
    cdef const int64_t[::1] addresses  # what `it` points into, as `arrays` is
    cdef vector[ArrowArray] arrays
    cdef size_t imported
    cdef RowCodec codec
