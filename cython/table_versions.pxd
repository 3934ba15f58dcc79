from libc.stdint cimport uint8_t, uint64_t
from libcpp.memory cimport shared_ptr

from gridflow._native.core cimport *
from gridflow._native.rows cimport RowCodec
from gridflow._native.log_table cimport LogTable
from gridflow._native.store cimport Store
from gridflow._native.table_lock cimport TableLock


cdef class TableVersions(LogTable):
    cdef readonly Store store
    cdef readonly RowCodec codec
    cdef readonly TableLock lock
    cdef readonly TableLock merging
    cdef readonly set loads
    cdef shared_ptr[const TableSnapshot] current
    cdef shared_ptr[KeptVersions] kept
    cdef shared_ptr[MemoryTable] active
    cdef shared_ptr[MemoryTable] frozen
    cdef uint64_t active_lsn
    cdef uint64_t frozen_lsn
    cdef int exclusive
    cdef int holds
    cdef unsigned long excluder
    cdef bint dropped
    cdef bint of_reader
    cdef uint64_t row_bytes
    cdef SegmentMerge* merge
    cdef readonly uint64_t added_bytes
    cdef readonly uint64_t moved_bytes
    cdef readonly uint64_t bitmap_bytes
    cdef int unmerged
    cdef int failures
    cdef double flush_again
    cdef int take_codec(self, RowCodec codec) except -1
    cdef int follow_or_raise(self) except -1
    cdef bint is_behind(self)
    cdef object conflict_at(self, const uint8_t* encoded_key)
    cdef object duplicate(self, object key, bint twice)
    cdef int cut(self, TableCut* out) except -1
    cdef int publish(
        self, TableEdit* edit, shared_ptr[const TableSnapshot] fresh, RowCodec codec, bint of_reader
    ) except -1
    cdef int thaw(self) except -1
    cdef TableEdit* new_edit(self) except NULL
    cdef int flush_locked(self, bint to_read) except -1
    cdef TableEdit* begin_edit(self) except NULL
    cdef int end_edit(self, TableEdit* edit) except -1
    cdef int _check_changeable(self) except -1
    cdef int check_open(self) except -1
    cdef int let_go(self) except -1
    cdef bint excludes_others(self)


cdef inline int check_readable(TableVersions table) except -1:
    """Raises if the table cannot be read; a reader sees every acknowledged write afterwards."""
    if table.store.owner and not table.store.closed and not table.dropped:
        return 0
    return table.follow_or_raise()
