from gridflow._native.store cimport Store


cdef class TableLock:
    cdef object lock
    cdef Store store
    cdef str what, table
    cdef unsigned long holder
    cdef double since
    cdef int depth
    cdef bint take(self, double timeout) except -1
    cdef int wait(self) except -1
    cdef int give_back(self) except -1
