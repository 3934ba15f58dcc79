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


def marked(const uint8_t[::1] marks not None, int64_t first):
    """The numbers of rows that have both bits, and of those that are only possible, counted from ``first``: int64."""
    cdef Py_ssize_t i, rows = marks.shape[0]
    cdef int64_t sure_count = 0, other_count = 0
    cdef int64_t[::1] sure, others
    with nogil:
        for i in range(rows):
            sure_count += marks[i] == BOTH
            other_count += marks[i] == POSSIBLE
    # A place more: it is written to for a row that does not count.
    all_sure, all_others = np.empty(sure_count + 1, np.int64), np.empty(other_count + 1, np.int64)
    sure, others = all_sure, all_others
    sure_count = other_count = 0
    with nogil:
        for i in range(rows):
            sure[sure_count] = first + i
            sure_count += marks[i] == BOTH
        if others.shape[0] > 1:
            for i in range(rows):
                others[other_count] = first + i
                other_count += marks[i] == POSSIBLE
    return all_sure[:-1], all_others[:-1]
