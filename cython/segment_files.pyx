"""Segments without a table: those that a job on many machines writes for one."""
import os

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec
from gridflow._native.status cimport check

from gridflow.errors import DuplicateKeyError, SchemaError, reworded

core.process_state = shared_state()


cdef class Columns:
    """Batches of Arrow arrays, one array for each column of a schema, as the native side reads them."""

    cdef vector[vector[ColumnView]] sources
    cdef vector[ArrowArray] arrays

    def __cinit__(self, RowCodec codec not None, list batches not None):
        cdef size_t i, j, done = 0, columns = codec.schema.columns.size()
        self.arrays.resize(len(batches) * columns)
        for i in range(self.arrays.size()):
            self.arrays[i].release = NULL
        self.sources.resize(len(batches))
        for i in range(self.sources.size()):
            self.sources[i].resize(columns)
            for j in range(columns):
                batches[i][j]._export_to_c(<uintptr_t>&self.arrays[done])
                done += 1
                try:
                    check(ImportColumn(codec.schema.columns[j].type, self.arrays[done - 1], &self.sources[i][j]))
                except SchemaError as error:
                    raise reworded(error, f"table {codec.table}, {error}", **codec.place(j)) from None

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.arrays.size()):
            if self.arrays[i].release != NULL:
                self.arrays[i].release(&self.arrays[i])


def key_hashes(RowCodec codec not None, list batch not None):
    """The key hashes of the rows of a batch, in their order, as an array of 64-bit numbers.

    Args:
        batch: one ``pyarrow.Array`` for each column of the schema, of exactly its type.
    """
    cdef Columns columns = Columns(codec, [batch])
    cdef int64_t row, rows = len(batch[0])
    cdef string key
    cdef Status status
    result = np.empty(rows, np.uint64)
    cdef uint64_t[::1] out = result
    with nogil:
        for row in range(rows):
            key.clear()
            status = EncodeKey(codec.schema, columns.sources[0], row, &key)
            if not status.ok():
                break
            out[row] = KeyHash(key.data(), key.size())
    check(status)
    return result


cdef class SegmentFiles:
    """Writes rows as segments that have no number and no table yet, to a folder that is empty.

    They are removed with this object. No two rows may have the same key.

    Args:
        codec: of the columns.
        folder: where they go.
        threads: that may work on it.
    """

    cdef RowCodec codec
    cdef SegmentLoad* it
    cdef int threads

    def __cinit__(self, RowCodec codec not None, str folder not None, int threads):
        self.codec = codec
        self.threads = threads
        self.it = new SegmentLoad(os.fsencode(folder), b"piece", 0, codec.schema, LoadMode.kInsert, False)

    def __dealloc__(self):
        del self.it

    def add(self, list batches not None):
        """Writes batches as one file.

        Args:
            batches: lists of ``pyarrow.Array``, one for each column of the schema, of exactly its type.

        Raises:
            DuplicateKeyError: a key is there twice.
        """
        cdef Columns columns = Columns(self.codec, batches)
        cdef int64_t rows = 0
        cdef string duplicate
        cdef Status status
        with nogil:
            status = self.it.Add(columns.sources, self.threads, &rows, &duplicate)
        if duplicate.size():
            key = self.codec.decode_key(<const uint8_t*>duplicate.data())
            raise DuplicateKeyError(f"table {self.codec.table}: key {key!r} is there twice", table=self.codec.table, key=key)
        check(status)

    def paths(self):
        """The files that were written."""
        cdef size_t i
        return [os.fsdecode(self.it.files()[i].path) for i in range(self.it.files().size())]
