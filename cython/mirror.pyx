"""Sealed files that travel: what names their content, and those of which only some blocks have come."""
import os

from libc.stdint cimport uint64_t
from libcpp.string cimport string

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.status cimport check

core.process_state = shared_state()


cdef extern from "core/sealed_file.h" namespace "gridflow" nogil:
    Status ReadFingerprint(const string&, uint64_t*, uint64_t*) except +


def fingerprint(str path):
    """(bytes, fingerprint) of a segment, a deletion bitmap or a list of deleted rows.

    Raises:
        GridNotFoundError: there is no such file.
        GridCorruptError: it is none of these.
    """
    cdef uint64_t size, result
    cdef Status status
    cdef string name = os.fsencode(path)
    with nogil:
        status = ReadFingerprint(name, &size, &result)
    check(status)
    return size, result
