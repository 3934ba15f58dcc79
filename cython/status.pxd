from gridflow._native.core cimport Status

cdef int check(const Status& status) except -1
