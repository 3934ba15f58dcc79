# cython: boundscheck=False, wraparound=False
"""Marks of rows whose values lie between bounds: what a condition on columns of numbers comes to. Nothing locks here."""
import numpy as np

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef fused Number:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t

ctypedef fused Real:
    float
    double

cdef enum:
    POSSIBLE = 1  # bit of a row's mark: the condition may hold
    SURE = 2  # and it does
    BOTH = 3


def mark_numbers(const Number[::1] values, Number low, Number high, Number sure_low, Number sure_high,
                 uint8_t[::1] marks not None):
    """Takes the bits from the marks of rows whose values do not lie within the bounds, all of them included."""
    cdef Py_ssize_t i, rows = values.shape[0]
    cdef Number value
    if marks.shape[0] != rows:
        raise IndexError("a mark for each row")
    with nogil:
        for i in range(rows):
            value = values[i]
            marks[i] &= ((value >= low) & (value <= high)) | (((value >= sure_low) & (value <= sure_high)) << 1)


def mark_reals(const Real[::1] values, Real low, Real high, Real sure_low, Real sure_high, bint nan, bint sure_nan,
               uint8_t[::1] marks not None):
    """As ``mark_numbers``; ``nan`` and ``sure_nan`` say whether a NaN lies within the bounds."""
    cdef Py_ssize_t i, rows = values.shape[0]
    cdef Real value
    cdef uint8_t of_nan = (POSSIBLE if nan else 0) | (SURE if sure_nan else 0)
    if marks.shape[0] != rows:
        raise IndexError("a mark for each row")
    with nogil:
        for i in range(rows):
            value = values[i]
            marks[i] &= (
                ((value >= low) & (value <= high)) | (((value >= sure_low) & (value <= sure_high)) << 1)
                | (of_nan if value != value else 0)
            )


def packed(const uint8_t[::1] marks not None, uint8_t[::1] bits not None):
    """Sets the bits of rows that have both marks, the lowest of a byte first, and clears all others.

    Args:
        bits: a byte for every eight rows.

    Returns:
        The numbers of the rows that are only possible, int64.
    """
    cdef Py_ssize_t i, k, rows = marks.shape[0]
    cdef int64_t count = 0
    cdef uint8_t byte
    cdef int64_t[::1] others
    if bits.shape[0] != (rows + 7) // 8:
        raise IndexError("a byte for every eight rows")
    with nogil:
        for i in range(rows // 8):
            byte = 0
            for k in range(8):
                byte |= (marks[8 * i + k] == BOTH) << k
            bits[i] = byte
        if rows % 8:
            byte = 0
            for k in range(rows % 8):
                byte |= (marks[rows // 8 * 8 + k] == BOTH) << k
            bits[rows // 8] = byte
        for i in range(rows):
            count += marks[i] == POSSIBLE
    numbers = np.empty(count, np.int64)
    if count:
        others = numbers
        count = 0
        for i in range(rows):
            if marks[i] == POSSIBLE:
                others[count] = i
                count += 1
    return numbers
