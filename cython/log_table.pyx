"""What the store asks of a table."""
from libc.stdint cimport uint32_t, uint64_t
from libcpp.memory cimport shared_ptr

from gridflow._native.core cimport *


cdef class LogTable:
    """A table as the store knows it: whose writes are in the log, and who says what else the log must respect.

    ``TableStore`` is what there is of them; here stands what ``Store`` asks of it: the store imports nothing of a table.
    """

    def __init__(self, uint32_t table_id):
        self.table_id = table_id

    # ---- room ----

    cdef uint64_t flush_needs(self):
        """At least the bytes that flushing what is in memory takes."""
        raise NotImplementedError

    cdef int flush_if_idle(self) except -1:
        """Flushes, after a flush under way; not where somebody keeps writers out, or there is no room. This may run Python."""
        raise NotImplementedError

    cdef int flush_if_behind(self) except -1:
        """After a commit: flushes, if the background work is too far behind. This may run Python."""
        raise NotImplementedError

    # ---- commits ----

    cdef int enter(self, uint64_t lsn, const shared_ptr[LogFile]& file, OperationWalk* walk) except -1:
        """Takes the operations of a record up to the first of another table. Runs no Python."""
        raise NotImplementedError

    cdef uint64_t oldest_lsn(self):
        """The oldest record of which an operation is in memory alone; 0 if all are in segments."""
        raise NotImplementedError

    cdef int writable(self, uint64_t payload, bint frees) except -1:
        """Raises if the table cannot be written. May wait, and makes room for a commit, if ``payload`` is not 0."""
        raise NotImplementedError

    cdef bint settled(self):
        """Whether ``writable`` would return at once."""
        raise NotImplementedError

    cdef int check_columns(self, object digest) except -1:
        """Raises if what a transaction has written was encoded for other columns than the table has."""
        raise NotImplementedError

    cdef int check_operation(self, Operation operation) except -1:
        """Raises SchemaError unless key and value are well-formed ones of the table's columns."""
        raise NotImplementedError

    cdef int now(self, TableCut* out) except -1:
        """Where the table's rows lie: good until anything else runs."""
        raise NotImplementedError

    cdef object conflict(self, Operation operation):
        """The error that says that another row is under this operation's key than a transaction has seen."""
        raise NotImplementedError

    # ---- recovery and following ----

    cdef int begin_replay(self, ReplayTarget* target) except -1:
        """Says where operations of the log go that are in no segment."""
        raise NotImplementedError

    cdef int end_replay(self, uint64_t first_lsn) except -1:
        """Takes note of the oldest record of which an operation is in memory now; 0 if there is none."""
        raise NotImplementedError

    cdef object open_current(self):
        """Opens the current version for ``adopt``; None if the table was dropped. This may run Python."""
        raise NotImplementedError

    cdef bint can_adopt(self, object version) except -1:
        """Whether a version still fits the table, which may have got other columns since it was opened."""
        raise NotImplementedError

    cdef bint adopt(self, object version, ReplayTarget* target) except -1:
        """Shows a version from now on, and what is replayed to ``target``; False if it is None. Runs no Python."""
        raise NotImplementedError
