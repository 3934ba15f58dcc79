"""Rows of a version that a statement has read, and what it makes of them: see ``core/row_changes.h``."""
from libc.stdint cimport int64_t, uintptr_t
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec
from gridflow._native.snapshot cimport Snapshot
from gridflow._native.status cimport check

from gridflow.errors import SchemaError, reworded

core.process_state = shared_state()


cdef class RowChanges:
    """New values for some columns of rows of a version, or the removal of the rows. Immutable.

    Args:
        seen: the version in which the rows were read.
        codec: of its columns.
        addresses: of the rows, each once, int64[rows]: the index of a segment of ``seen`` above 32 bits of the row there.
            Nobody changes them afterwards.
        names: the columns that get new values; None removes the rows.
        batches: the new values, as lists of ``pyarrow.Array``, one for each of the names, of exactly its column's type;
            all rows of all batches in the order of ``addresses``.

    Raises:
        SchemaError: a value is null and may not be.
    """

    def __init__(self, Snapshot seen not None, RowCodec codec not None, const int64_t[::1] addresses not None,
                 list names, list batches):
        cdef size_t i, j, columns = codec.schema.columns.size(), changed = 0 if names is None else len(names)
        cdef vector[int] places
        self.codec = codec
        self.imported = 0
        self.it.seen = seen.it
        self.it.removes = names is None
        self.addresses = addresses
        if addresses.shape[0]:
            self.it.rows = RowOrderView(<const RowRef*>&addresses[0], addresses.shape[0])
        self.it.positions.assign(columns, -1)
        if names is None:
            return
        all_names = codec.python_schema.names
        for i in range(changed):
            j = all_names.index(names[i])
            self.it.positions[j] = <int>i
            places.push_back(<int>j)
        self.arrays.resize(len(batches) * changed)
        self.it.sources.resize(len(batches))
        for i in range(self.it.sources.size()):
            self.it.sources[i].resize(changed)
            for j in range(changed):
                batches[i][j]._export_to_c(<uintptr_t>&self.arrays[self.imported])
                self.imported += 1
                try:
                    check(ImportColumn(
                        codec.schema.columns[places[j]].type, self.arrays[self.imported - 1], &self.it.sources[i][j]
                    ))
                except SchemaError as error:
                    raise reworded(error, f"table {codec.table}, {error}", **codec.place(places[j])) from None

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.imported):
            if self.arrays[i].release != NULL:
                self.arrays[i].release(&self.arrays[i])

    @property
    def rows(self):
        """How many rows are changed."""
        return self.it.rows.size()

    @property
    def removes(self):
        """Whether the rows are removed."""
        return self.it.removes
