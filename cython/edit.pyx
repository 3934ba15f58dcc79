"""New versions of a table that do not come from the log: bulk loads, other columns."""
from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.row_changes cimport RowChanges
from gridflow._native.rows cimport RowCodec
from gridflow._native.status cimport check
from gridflow._native.table_versions cimport TableVersions

from gridflow.errors import SchemaError

core.process_state = shared_state()


cdef class Edit:
    """A new version of a table in the making, as of a bulk load. Other writers of the table wait meanwhile.

    ``with Edit(table) as edit: edit.add_batches(...); edit.commit()``. Left without ``commit``, nothing has happened.
    """

    cdef TableVersions table
    cdef TableEdit* it
    cdef RowCodec codec  # of the columns that it gives the table; None: those that it has
    cdef readonly int64_t rows

    def __cinit__(self, TableVersions table):
        self.table = table
        self.it = NULL
        self.rows = 0

    def __enter__(self):
        self.it = self.table.begin_edit()
        return self

    def __exit__(self, *exc_info):
        cdef TableEdit* it = self.it
        self.it = NULL
        self.codec = None
        self.table.end_edit(it)

    def add_batches(self, list batches, str mode):
        """Adds rows of Arrow arrays as one segment.

        Args:
            batches: lists of ``pyarrow.Array``, one for each column of the schema, of exactly its type.
            mode: ``replace`` or ``insert``.

        Raises:
            DuplicateKeyError: with ``insert``, a key is there already or twice.
        """
        cdef vector[vector[ColumnView]] sources
        cdef vector[ArrowArray] arrays
        cdef RowCodec codec = self.table.codec
        cdef size_t i, j, columns = codec.schema.columns.size(), done = 0
        arrays.resize(len(batches) * columns)
        sources.resize(len(batches))
        try:
            for i in range(sources.size()):
                sources[i].resize(columns)
                for j in range(columns):
                    batches[i][j]._export_to_c(<uintptr_t>&arrays[done])
                    done += 1
                    try:
                        check(ImportColumn(codec.schema.columns[j].type, arrays[done - 1], &sources[i][j]))
                    except SchemaError as error:
                        raise SchemaError(f"table {codec.table}, {error}") from None
            self._add(sources, mode)
        finally:
            for i in range(done):
                if arrays[i].release != NULL:
                    arrays[i].release(&arrays[i])

    def add_rows(self, rows, str mode):
        """Adds rows given as dicts of all columns, as one segment."""
        cdef string key, value
        cdef RowCodec codec = self.table.codec
        cdef RowsBuilder* builder = new RowsBuilder(codec.schema)
        cdef vector[vector[ColumnView]] sources
        names = codec.python_schema.key
        try:
            for row in rows:
                key.clear()
                value.clear()
                keys = tuple(row.get(name) for name in names)
                codec.encode_key(keys[0] if len(names) == 1 else keys, key)
                rest = {name: item for name, item in row.items() if name not in names}
                if codec.plain_value and set(rest) <= {"_VAL"}:
                    rest = rest.get("_VAL")
                codec.encode_value(rest, value)
                builder.Append(<const uint8_t*>key.data(), <const uint8_t*>value.data())
            sources.push_back(builder.Views())
            self._add(sources, mode)
        finally:
            del builder

    cdef int _add(self, vector[vector[ColumnView]]& sources, str mode) except -1:
        cdef int64_t rows = 0
        cdef string duplicate
        cdef Status status
        cdef RowCodec codec = self.table.codec
        cdef LoadMode load_mode = LoadMode.kInsert if mode == "insert" else LoadMode.kReplace
        with nogil:
            status = self.it.AddRows(sources, load_mode, &rows, &duplicate)
        if duplicate.size():
            key = codec.decode_key(<const uint8_t*>duplicate.data())
            raise self.table.duplicate(key, False)
        check(status)
        self.rows += rows
        return 0

    def change_rows(self, RowChanges changes not None):
        """Writes rows of an earlier version, or of the current one, anew, or removes them.

        Raises:
            TransactionConflictError: names a row that somebody else has written since.
        """
        cdef string conflict
        cdef Status status
        with nogil:
            status = self.it.ChangeRows(changes.it, &conflict)
        if conflict.size():
            raise self.table.conflict_at(<const uint8_t*>conflict.data())
        check(status)
        if not changes.it.removes:
            self.rows += <int64_t>changes.it.rows.size()

    def alter(self, RowCodec codec):
        """Gives the table the columns of ``codec``, which must be made for it; see ``TableEdit::SetSchema``."""
        self.it.SetSchema(codec.schema)
        self.codec = codec

    def clear(self):
        """Drops all rows that are there."""
        self.it.Clear()

    def commit(self):
        """Publishes the new version."""
        cdef Status status
        cdef shared_ptr[const TableSnapshot] fresh
        # Memory was flushed when the edit began and writers of this table are kept out since: whatever the log holds up
        # to here is in segments, or another table's.
        cdef uint64_t lsn = self.table.store.next_lsn - 1
        if self.rows:
            self.table.store.check_room(0)
        with nogil:
            status = self.it.Commit(lsn, &fresh)
        self.table.publish(self.it, fresh, self.codec)
        check(status)
