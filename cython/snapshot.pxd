from libcpp.memory cimport shared_ptr

from gridflow._native.core cimport TableSnapshot


cdef class Snapshot:
    cdef shared_ptr[const TableSnapshot] it
    cdef readonly object schema


cdef Snapshot wrap(shared_ptr[const TableSnapshot] snapshot, object schema)
