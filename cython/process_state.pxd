from gridflow._native.core cimport ProcessState


cdef ProcessState* shared_state() noexcept
