from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string

from gridflow._native.core cimport *
from gridflow._native.rows cimport RowCodec


cdef class TableStore


cdef class Store:
    cdef string home
    cdef readonly bint owner
    cdef readonly bint durable
    cdef readonly bint closing
    cdef readonly bint closed
    cdef readonly str closed_because
    cdef readonly object wake
    cdef public uint64_t flush_bytes
    cdef int threads
    cdef shared_ptr[ControlPage] control
    cdef shared_ptr[LogFile] log
    cdef uint64_t next_lsn
    cdef uint64_t since_wake
    cdef dict tables
    cdef LogReplay* replay
    cdef cmap[uint32_t, ReplayTarget] targets
    cdef uint64_t generation
    cdef uint64_t followed
    cdef uint64_t spare(self)
    cdef int make_room(self, uint64_t payload, bint frees) except -1
    cdef int append(self, string& payload, const uint8_t** at, bint frees) except -1
    cdef int commit(self, string& payload, bint frees, TableStore table) except -1
    cdef int check_columns(self, TableStore table, dict columns) except -1
    cdef int rotate(self, uint64_t payload, uint64_t spare) except -1
    cdef int follow(self) except -1
    cdef int reload(self) except -1


cdef class TableStore:
    cdef readonly Store store
    cdef readonly RowCodec codec
    cdef RowCodec next_codec
    cdef readonly uint32_t table_id
    cdef readonly object lock
    cdef shared_ptr[const TableSnapshot] current
    cdef shared_ptr[KeptVersions] kept
    cdef shared_ptr[MemoryTable] active
    cdef shared_ptr[MemoryTable] frozen
    cdef uint64_t active_lsn
    cdef uint64_t frozen_lsn
    cdef int exclusive
    cdef int held
    cdef bint dropped
    cdef uint64_t row_bytes
    cdef int take_codec(self, RowCodec codec) except -1
    cdef int same_columns(self, RowCodec codec) except -1
    cdef uint64_t flush_needs(self)
    cdef int check_readable(self) except -1
    cdef int writable(self, uint64_t payload=*, bint frees=*) except -1
    cdef int lookup(self, uint64_t hash, const string& key, const uint8_t** value, int* segment, int64_t* row) except -1
    cdef object duplicate(self, object key, bint twice)
    cdef bint has(self, const string& key) except -1
    cdef int append_removal(self, string& out, const string& key) except -1
    cdef int publish(self, TableEdit* edit, shared_ptr[const TableSnapshot] fresh) except -1
    cdef int begin_operation(self, string& out) except -1
    cdef int finish_operation(self, string& out, size_t start, size_t key_bytes, bint remove) except -1
    cdef int commit(self, string& payload, bint frees=*) except -1
    cdef int flush_if_behind(self) except -1
    cdef int cut(self, TableCut* out) except -1
    cdef int now(self, TableCut* out) except -1
    cdef object value_at(self, int where, const uint8_t* value, int segment, int64_t row)
    cdef int thaw(self) except -1
