"""New versions of a table that do not come from the log: other rows, other columns, none."""
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.row_changes cimport RowChanges
from gridflow._native.rows cimport RowCodec
from gridflow._native.snapshot cimport Snapshot
from gridflow._native.status cimport check
from gridflow._native.table_versions cimport TableVersions

core.process_state = shared_state()


cdef class Edit:
    """A new version of a table in the making. Other writers of the table wait meanwhile, so it must wait for nobody.

    ``with Edit(table) as edit: edit.clear(); edit.commit()``. Left without ``commit``, nothing has happened.
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

    def _change_rows(self, RowChanges changes not None):
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

    def restore(self, Snapshot past not None):
        """Gives the table the rows and the columns of an earlier version of it; see ``TableEdit::Restore``."""
        cdef Status status
        if past.it.get().schema().Serialize() != self.table.codec.schema.Serialize():
            self.codec = RowCodec(past.schema, self.table.codec.table)
        with nogil:
            status = self.it.Restore(past.it.get()[0])
        check(status)
        self.rows += past.rows

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
        self.table.check_open()
        with nogil:
            status = self.it.Commit(lsn, &fresh)
        self.table.publish(self.it, fresh, self.codec, False)
        check(status)
