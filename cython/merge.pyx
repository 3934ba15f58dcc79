"""Merges of a table's segments, beside those who read and write it."""
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.snapshot cimport Snapshot
from gridflow._native.status cimport check
from gridflow._native.table_versions cimport TableVersions

core.process_state = shared_state()

cdef enum:
    CATCH_UPS = 3  # with what was deleted meanwhile, before other makers of versions have to wait


cdef class Merge:
    """Some segments of a version of a table that become one.

    ``with table.merging, Merge(table, snapshot, segments) as merge: merge.run() and merge.publish()``. Neither step holds
    the interpreter's lock, and only ``publish`` keeps others from making a version of the table, at its end and briefly.

    Args:
        table: the table.
        snapshot: the version.
        segments: their positions in it.
        yielding: whether it leaves processor and disk to whoever else wants them.
    """

    cdef TableVersions table
    cdef SegmentMerge* it
    cdef bint yielding

    def __cinit__(self, TableVersions table not None, Snapshot snapshot not None, list segments not None, bint yielding=False):
        cdef vector[int] positions = segments
        for position in segments:
            if not 0 <= position < <int>snapshot.it.get().segments().size():
                raise IndexError(f"segment {position} of {snapshot.it.get().segments().size()}")
        self.table = table
        self.yielding = yielding
        self.it = new SegmentMerge(
            TableFolder(table.store.home, table.table_id), snapshot.it, positions, table.store.durable
        )

    def __dealloc__(self):
        self.end()

    cdef int end(self) except -1:
        """Removes what was written and is not published."""
        cdef SegmentMerge* it = self.it
        self.it = NULL
        with nogil:
            del it
        return 0

    def __enter__(self):
        table = self.table
        table._check_mergeable()
        table.merge = self.it
        return self

    def __exit__(self, *exc_info):
        self.table.merge = NULL
        self.end()  # while ``merging`` is held: the next merge writes under the same name

    def run(self):
        """Writes the segment. Returns False if ``TableVersions._stop_merge`` was called meanwhile.

        Raises:
            GridFullError: there is no room for it.
            GridCorruptError: a segment is damaged.
        """
        cdef Status status
        cdef int threads = self.table.store.threads
        with nogil:
            status = self.it.Run(threads, self.yielding)
        if self.it.cancelled():
            return False
        check(status)
        return True

    def publish(self):
        """Puts the segment in the place of those that it was made of.

        Returns:
            Whether it could: one of them may have gone meanwhile, as when all rows were removed.
        """
        cdef TableVersions table = self.table
        cdef shared_ptr[const TableSnapshot] current, fresh
        cdef const TableSnapshot* seen = NULL
        cdef TableEdit* edit = NULL
        cdef Status status
        cdef cbool usable = False
        for _ in range(CATCH_UPS):
            if seen == table.current.get():
                break
            current = table.current
            seen = current.get()
            with nogil:
                usable = self.it.CatchUp(seen[0])
                current.reset()  # it may be the last that holds a past version: to let go of much memory takes long
            if not usable:
                return False
        with table.lock:
            table._check_changeable()
            edit = table.new_edit()
            try:
                if table.of_reader:
                    edit.LetGoOfBase()
                with nogil:
                    status = edit.Replace(self.it, &usable)
                    if status.ok() and usable:
                        status = edit.Commit(table.current.get().manifest().flushed_lsn, &fresh)
                table.publish(edit, fresh, None, table.of_reader)
                check(status)
            finally:
                with nogil:
                    del edit
        return usable
