"""Files that a grid keeps beside its segments: mapped, and their checksums."""
import os

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo
from libc.stdint cimport uint8_t, uint32_t
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.status cimport check

core.process_state = shared_state()


cdef class MappedFile:
    """A whole file, mapped to read only; give it to ``memoryview`` or ``numpy.frombuffer``.

    Stays readable when the file is unlinked, for as long as anything made from it lives.
    """

    cdef shared_ptr[const FileMapping] it

    def __init__(self, str path):
        cdef Status status
        cdef string name = os.fsencode(path)
        with nogil:
            status = FileMapping.Open(name, &self.it)
        check(status)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if flags & PyBUF_WRITABLE == PyBUF_WRITABLE:
            raise BufferError("a mapped file is read only")
        PyBuffer_FillInfo(buffer, self, <void*>self.it.get().data(), self.it.get().size(), 1, flags)

    def __len__(self):
        return self.it.get().size()


def block_checksum(const uint8_t[::1] data not None):
    """The checksum that the persistent formats have for a block or frame; see ``core/checksum.h``."""
    cdef uint32_t result
    cdef const uint8_t* begin = &data[0] if data.shape[0] else NULL
    with nogil:
        result = BlockChecksum(begin, data.shape[0])
    return result
