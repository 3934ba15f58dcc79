"""The lock that orders who makes versions of a table."""
import os
import threading
import time

from cpython.pythread cimport PyThread_get_thread_ident

from gridflow._native.store cimport Store

from gridflow.errors import TableBusyError


cdef class TableLock:
    """A reentrant lock that nobody waits for without end: after ``Store.lock_seconds`` the error says who has it.

    Args:
        store: the grid's.
        what: what it keeps others from, for messages: "table T".
        table: the table's name.
    """

    def __init__(self, Store store not None, str what not None, str table not None):
        self.lock = threading.RLock()
        self.store = store
        self.what = what
        self.table = table

    cdef bint take(self, double timeout) except -1:
        """Whether it could be had within some seconds; a negative number stands for as long as it takes."""
        if not self.lock.acquire(True, timeout):
            return False
        if self.depth == 0:
            self.holder = PyThread_get_thread_ident()
            self.since = time.monotonic()
        self.depth += 1
        return True

    cdef int wait(self) except -1:
        if not self.take(self.store.lock_seconds):
            raise self.busy()
        return 0

    cdef int give_back(self) except -1:
        self.depth -= 1
        self.lock.release()
        return 0

    def acquire(self, blocking=True, double timeout=-1):
        """As of ``threading.RLock``; without a time-out it waits as ``with`` does.

        Raises:
            TableBusyError: it took too long; names the holder.
        """
        if not blocking:
            return self.take(0)
        if timeout >= 0:
            return self.take(timeout)
        self.wait()
        return True

    def release(self):
        """As of ``threading.RLock``."""
        self.give_back()

    def __enter__(self):
        self.wait()
        return self

    def __exit__(self, *exc_info):
        self.give_back()

    def held(self):
        """Who holds it and how long, in words."""
        holder, seconds = self.holder, time.monotonic() - self.since
        return f"{self.what} has been held for {seconds:.0f} s by {self.store.describe(holder)} of process {os.getpid()}"

    def busy(self):
        """The error that says who holds it."""
        return TableBusyError(f"{self.held()}; nothing was done: try again when that has ended", table=self.table)
