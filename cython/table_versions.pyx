"""The versions of one table, where the grid is open: segments, the newest writes, the next version.

Who may do what: see ``store``.
"""
import logging
import os
import time

from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.set cimport set as cset
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.log_table cimport LogTable
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec, schema_from_native
from gridflow._native.snapshot cimport wrap as wrap_snapshot
from gridflow._native.status cimport check
from gridflow._native.store cimport FLUSH_BYTES, Store
from gridflow._native.table_lock cimport TableLock

from gridflow.errors import (
    DuplicateKeyError, GridAccessError, GridClosedError, GridEnvironmentError, TableNotFoundError, TransactionConflictError,
    UsageError,
)

core.process_state = shared_state()

_log = logging.getLogger("gridflow")

cdef enum:
    PAGE_BYTES = 4096  # of a file system
    FIRST_PAUSE = 1  # seconds after a flush that failed until one that nobody waits for is tried again
    LONGEST_PAUSE = 30
    PATIENCE = 10  # seconds until close() says for whom it waits
    ROOM_SECONDS = 10  # that a commit which needs room waits for a flush under way
    UNMERGED = 4  # segments that are not small and that come before the background work looks at them at once


cdef int unlink_all(const vector[string]& paths) except -1:
    """Unlinks files that nothing needs any more; what cannot be unlinked goes when the grid is opened next."""
    cdef size_t i
    for i in range(paths.size()):
        try:
            os.unlink(os.fsdecode(paths[i]))
        except OSError:
            pass
    return 0


cdef uint64_t row_bytes(const Type& t) noexcept:
    """Bytes that a row takes in the buffers of a column, its items and its text not counted."""
    cdef uint64_t bytes = 1 + (t.width if t.width > 0 else 1 if t.kind == GF_BOOL else 0 if t.kind == GF_STRUCT else 8)
    cdef size_t i
    if t.kind == GF_STRUCT:
        for i in range(t.children.size()):
            bytes += row_bytes(t.children[i])
    return bytes


cdef class OpenedVersion:
    """A version that a reader has opened and not adopted yet: those of all tables are adopted at once.

    ``codec`` is None if its columns are those that the table has.
    """

    cdef shared_ptr[const TableSnapshot] snapshot
    cdef RowCodec codec


cdef class TableVersions(LogTable):
    """A table's current version, what is in memory beside it, and who may make the next one.

    ``active`` takes the writes; a flush freezes it and lets another take its place, until the new version has what is in
    ``frozen``. Whoever makes a version holds ``lock``, a merge and a load only while they publish what they have written;
    ``merging`` is held by the one merge of the table that there may be, who takes ``lock`` within it. ``loads`` are those
    under way. ``exclusive`` counts who else keeps writers out meanwhile (an edit, a statement that ``hold``s the table),
    all in the thread ``excluder``; ``holds`` counts the second kind, beside which that thread may write.

    ``of_reader``: nobody but readers had the current version made. What it holds would be in memory still, so the flush or
    merge that comes next takes its place without keeping it: which past versions are kept does not depend on who reads.

    ``added_bytes`` are those of segments that were written here for rows that came from outside, ``moved_bytes`` for rows
    that were in a segment already, ``bitmap_bytes`` those of deletion bitmaps.
    """

    def __cinit__(self):
        self.merge = NULL

    def __init__(self, Store store, RowCodec codec, uint32_t table_id):
        cdef Status status
        LogTable.__init__(self, table_id)
        self.store = store
        self.lock = TableLock(store, f"table {codec.table}", codec.table)
        self.merging = TableLock(store, f"the merge of table {codec.table}", codec.table)
        self.loads = set()
        self.active = make_shared[MemoryTable]()
        self.kept = make_shared[KeptVersions](TableFolder(store.home, table_id), store.durable)
        self.take_codec(codec)
        with nogil:
            status = TableSnapshot.Open(store.home, table_id, CURRENT, &self.current)
        check(status)
        store.add(self)

    cdef int take_codec(self, RowCodec codec) except -1:
        cdef size_t i
        self.codec = codec
        self.row_bytes = 8
        for i in range(codec.schema.columns.size()):
            self.row_bytes += row_bytes(codec.schema.columns[i].type)
        return 0

    cdef int writable(self, uint64_t payload, bint frees) except -1:
        """Raises if the table cannot be written; when it returns, nothing has changed since it was found to be writable."""
        if payload and self.store.owner and not self.store.closing and not self.store.closed and not self.dropped:
            self.store.make_room(payload, frees)
            if self.is_behind():  # whoever writes now will have to flush
                self.store.may_wait()
        if self.store.closing or self.store.closed or self.dropped or not self.store.owner:
            if self.store.closing or self.store.closed:
                raise GridClosedError(f"table {self.codec.table}: {self.store.closed_because}")
            if self.dropped:
                raise TableNotFoundError(f"table {self.codec.table} was dropped", table=self.codec.table)
            raise GridAccessError(f"table {self.codec.table}: the grid is open to read only")
        while self.exclusive > 0:  # an edit or a hold is under way in another thread
            if self.excludes_others():
                if self.holds == self.exclusive:
                    break
                raise UsageError(
                    f"table {self.codec.table} is being changed by this very thread: it cannot write meanwhile"
                )
            self.store.may_wait()
            self.lock.wait()
            self.lock.give_back()
            if self.store.closing or self.dropped:  # meanwhile
                return self.writable(0, False)
        return 0

    cdef int follow_or_raise(self) except -1:
        """``check_readable`` where it is not at once clear that the table can be read."""
        self.check_open()
        if not self.store.owner and not self.dropped:
            self.store.follow()
        if self.dropped:
            raise TableNotFoundError(f"table {self.codec.table} was dropped", table=self.codec.table)
        return 0

    # ---- what the store asks of it, see LogTable ----

    cdef uint64_t flush_needs(self):
        cdef uint64_t rows = self.active.get().size(), bytes = self.active.get().bytes()
        cdef size_t i
        if self.frozen.get() != NULL:
            rows += self.frozen.get().size()
            bytes += self.frozen.get().bytes()
        if rows == 0:
            return 0
        # A version that is kept has a manifest of its own.
        bytes += FLUSH_BYTES * (2 if self.kept.get().last() else 1) + rows * self.row_bytes
        for i in range(self.current.get().segments().size()):  # each may get a new deletion bitmap
            bytes += self.current.get().segments()[i].segment.get().rows() // 8
            bytes += sizeof(gf_deletions_header) + PAGE_BYTES
        return bytes

    cdef int flush_if_idle(self) except -1:
        # A flush, or a merge that is published, gives room when it is done. Who keeps writers out may wait for this one.
        if self.exclusive == 0 and self.lock.take(ROOM_SECONDS):
            try:
                self.flush_locked(False)
            except (GridEnvironmentError, MemoryError):
                pass
            finally:
                self.lock.give_back()
        return 0

    cdef int flush_if_behind(self) except -1:
        # A thread that hurries does not get so far again: see writable.
        if self.is_behind() and not self.store.hurries() and self._flush_is_due:
            try:
                self._flush_store()
            except (GridEnvironmentError, MemoryError):  # the write itself is done; background work says what is wrong
                pass
        return 0

    cdef bint is_behind(self):
        """Whether the background work cannot keep up with the writers."""
        return self.active.get().bytes() > 8 * self.store.flush_bytes and not self.store.durable

    cdef int enter(self, uint64_t lsn, const shared_ptr[LogFile]& file, OperationWalk* walk) except -1:
        self.active.get().Keep(file)
        if self.active.get().size() == 0:
            self.active_lsn = lsn
        self.active.get().PutRun(walk)
        return 0

    cdef uint64_t oldest_lsn(self):
        return self.frozen_lsn if self.frozen_lsn else self.active_lsn  # what is frozen came first

    cdef bint settled(self):
        return not self.dropped and (self.exclusive == 0 or (self.holds == self.exclusive and self.excludes_others()))

    cdef int check_columns(self, object digest) except -1:
        if digest != self.codec.digest:
            raise TransactionConflictError(
                f"table {self.codec.table} has got other columns since the transaction began; nothing of it was applied",
                table=self.codec.table,
            )
        return 0

    cdef int check_operation(self, Operation operation) except -1:
        return check(CheckOperation(self.codec.schema, operation))

    cdef int now(self, TableCut* out) except -1:
        check_readable(self)
        out.snapshot = self.current
        out.memory.clear()
        out.memory.push_back(<shared_ptr[const MemoryTable]>self.active)
        if self.frozen.get() != NULL:
            out.memory.push_back(<shared_ptr[const MemoryTable]>self.frozen)
        return 0

    cdef object conflict(self, Operation operation):
        return self.conflict_at(operation.key())

    cdef object conflict_at(self, const uint8_t* encoded_key):
        cdef RowCodec codec = self.codec  # a reference: decoding runs Python, and another thread may alter the table
        key = codec.decode_key(encoded_key)
        return TransactionConflictError(
            f"table {codec.table}: the row under key {key!r} was changed by somebody else since the transaction "
            "began; nothing of the transaction was applied, run it again",
            table=codec.table,
            key=key,
        )

    cdef object duplicate(self, object key, bint twice):
        if twice:
            message = f"table {self.codec.table}: key {key!r} is given twice"
        else:
            message = f"table {self.codec.table} has a row under key {key!r} already"
        return DuplicateKeyError(message, table=self.codec.table, key=key)

    cdef int begin_replay(self, ReplayTarget* target) except -1:
        target.flushed_lsn = self.current.get().manifest().flushed_lsn
        target.schema = &self.codec.schema
        target.memory = self.active.get()
        target.first_lsn = 0
        return 0

    cdef int end_replay(self, uint64_t first_lsn) except -1:
        self.active_lsn = first_lsn
        return 0

    cdef object open_current(self):
        cdef OpenedVersion version = OpenedVersion.__new__(OpenedVersion)
        cdef Status status = TableSnapshot.Open(self.store.home, self.table_id, CURRENT, &version.snapshot)
        if status.code == Code.kNotFound:
            return None
        check(status)
        if version.snapshot.get().schema().Serialize() != self.codec.schema.Serialize():
            version.codec = RowCodec(schema_from_native(version.snapshot.get().schema()), self.codec.table)
        return version

    cdef bint can_adopt(self, object version) except -1:
        cdef OpenedVersion opened = version
        if opened is None or opened.codec is not None:
            return True
        return opened.snapshot.get().schema().Serialize() == self.codec.schema.Serialize()

    cdef bint adopt(self, object version, ReplayTarget* target) except -1:
        cdef OpenedVersion opened = version
        if opened is None:
            self.dropped = True
            return False
        self.current = opened.snapshot
        if opened.snapshot.get().schema().Serialize() != self.codec.schema.Serialize():
            self.take_codec(opened.codec)
        self.active = make_shared[MemoryTable]()
        self.begin_replay(target)
        return True

    # ---- what there is ----

    @property
    def memory(self):
        """Rows and removals that are not in a segment yet, and their bytes."""
        rows, size = self.active.get().size(), self.active.get().bytes()
        if self.frozen.get() != NULL:
            rows, size = rows + self.frozen.get().size(), size + self.frozen.get().bytes()
        return rows, size

    cdef int cut(self, TableCut* out) except -1:
        """What the table holds now: shares what does not change any more. Runs no Python, so cuts are of one moment."""
        cdef shared_ptr[MemoryTable] copy
        out.snapshot = self.current
        out.memory.clear()
        if self.active.get().size():
            copy = make_shared[MemoryTable](self.active.get()[0])
            out.memory.push_back(<shared_ptr[const MemoryTable]>copy)
        if self.frozen.get() != NULL:
            out.memory.push_back(<shared_ptr[const MemoryTable]>self.frozen)
        return 0

    def snapshot(self):
        """The current version of the segments, as a ``Snapshot``."""
        check_readable(self)
        return wrap_snapshot(self.current, self.codec.python_schema)

    def preview(self, str folder):
        """A version of the table that holds every acknowledged write, flushed or not, as a ``Snapshot``.

        ``folder`` is an empty one for files that nobody needs any more when this returns.
        """
        cdef TableCut now
        cdef Status status
        cdef shared_ptr[const TableSnapshot] fresh
        cdef string path = os.fsencode(folder)
        result = self.snapshot()
        self.cut(&now)
        if now.memory.empty():
            return result
        with nogil:
            status = now.Preview(path, self.store.threads, &fresh)
        check(status)
        return wrap_snapshot(fresh, self.codec.python_schema)

    # ---- the next version ----

    def _flush_store(self, double timeout=-1, bint to_read=False):
        """Moves the writes in memory to a segment and publishes a new version. Returns the version.

        If it fails (no room), the writes stay where they are, acknowledged and readable.

        Args:
            timeout: seconds to wait for another writer of the table; without it as long as ``Store.lock_seconds`` says.
            to_read: whether it is only for a reader, so that the version is none of those that are kept.

        Raises:
            TableBusyError: another writer holds the table all that time.
        """
        if not self.store.closed and (self.dropped or (self.active.get().size() == 0 and self.frozen.get() == NULL)):
            self.of_reader = self.of_reader and to_read
            return self.current.get().manifest().version  # nothing to wait for
        if timeout < 0:
            self.lock.wait()
        elif not self.lock.take(timeout):
            raise self.lock.busy()
        try:
            self.flush_locked(to_read)
            return self.current.get().manifest().version
        finally:
            self.lock.give_back()

    cdef int flush_locked(self, bint to_read) except -1:
        """``flush_store`` while ``lock`` is held."""
        cdef TableEdit* edit = NULL
        cdef Status status
        cdef shared_ptr[const TableSnapshot] fresh
        cdef uint64_t lsn
        cdef MemoryTable* memory
        self.check_open()
        if self.frozen.get() != NULL:
            self.thaw()
        if self.dropped or self.active.get().size() == 0:
            self.of_reader = self.of_reader and to_read
            return 0
        self.frozen = self.active
        self.frozen_lsn = self.active_lsn
        self.active = make_shared[MemoryTable]()
        self.active_lsn = 0
        lsn = self.store.next_lsn - 1
        memory = self.frozen.get()
        try:
            edit = self.new_edit()
            if self.of_reader:
                edit.LetGoOfBase()
            with nogil:
                status = edit.AddMemory(memory[0])
                # A version must not have a part of a record that a power cut takes from other tables. Where that sync
                # fails, its writer is told, and the row is all the safer here.
                if self.store.durable:
                    self.store.syncs.get().Wait(lsn)
                if status.ok():
                    status = edit.Commit(lsn, &fresh)
            self.publish(edit, fresh, None, to_read)
            check(status)
            self.failures = 0
        except BaseException:
            self.failures += 1
            self.flush_again = time.monotonic() + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.failures - 1))
            raise
        finally:
            with nogil:
                del edit
            if self.frozen.get() != NULL:
                try:
                    self.thaw()
                except MemoryError:
                    pass
        return 0

    @property
    def _flush_is_due(self):
        """Whether one that nobody waits for may be tried: after one that failed there is a pause, longer each time."""
        return self.failures == 0 or time.monotonic() >= self.flush_again

    cdef int publish(
        self, TableEdit* edit, shared_ptr[const TableSnapshot] fresh, RowCodec codec, bint of_reader
    ) except -1:
        """Takes over a version that an edit has committed; a null one means that it has not.

        ``codec`` is that of the columns that the edit has given the table, None if it has kept them; ``of_reader`` as of
        the table.
        """
        cdef shared_ptr[const TableSnapshot] past = self.current
        cdef shared_ptr[MemoryTable] flushed = self.frozen
        if fresh.get() == NULL:
            return 0
        self.current = fresh
        self.of_reader = of_reader
        if codec is not None:
            self.take_codec(codec)
        self.frozen.reset()
        self.frozen_lsn = 0
        self.added_bytes += edit.added_bytes()
        self.moved_bytes += edit.moved_bytes()
        self.bitmap_bytes += edit.bitmap_bytes()
        if edit.added_bytes() >= self.store.small_bytes:
            self.unmerged += 1
            if self.unmerged >= UNMERGED:
                self.unmerged = 0
                self.store.wake.set()
        with nogil:  # to let go of much mapped memory takes long
            past.reset()
            flushed.reset()
        self.store.bump()
        check(ProcessFailpoints().Hit("version.published"))
        unlink_all(edit.obsolete())
        self.store.trim()
        return 0

    cdef int thaw(self) except -1:
        """After a flush that failed: what was frozen is active again, under what came since.

        Where there is no memory for that, nothing has changed: what is frozen stays readable, and the next flush tries.
        """
        # A copy: transactions and previews share what is frozen.
        cdef shared_ptr[MemoryTable] both = make_shared[MemoryTable](self.frozen.get()[0])
        both.get().Absorb(self.active.get()[0])
        self.active = both
        self.active_lsn = self.frozen_lsn
        self.frozen.reset()
        self.frozen_lsn = 0
        return 0

    cdef TableEdit* new_edit(self) except NULL:
        cdef TableEdit* edit = new TableEdit(
            TableFolder(self.store.home, self.table_id), self.current, self.store.durable, self.store.threads,
            self.kept.get(),
        )
        edit.FoldSmall(self.store.small_bytes)
        edit.ListDeletions(self.store.listed_bytes)
        return edit

    cdef int _check_changeable(self) except -1:
        """Raises if no new version can be published. Hold ``lock`` for it to stay so."""
        if self.store.closing:  # close() was faster; its flush of this table is the last version
            raise GridClosedError(f"table {self.codec.table}: {self.store.closed_because}")
        if self.dropped:
            raise TableNotFoundError(f"table {self.codec.table} was dropped", table=self.codec.table)
        return 0

    cdef int check_open(self) except -1:
        """Raises if the grid was closed, after which a version would be written over that of another owner, say."""
        if self.store.closed:
            raise GridClosedError(f"table {self.codec.table}: {self.store.closed_because}")
        return 0

    cdef TableEdit* begin_edit(self) except NULL:
        """Flushes, and starts a new version; all other writers are kept out until ``end_edit``, in the same thread."""
        self.writable(0, False)
        self.lock.wait()
        self.excluder = PyThread_get_thread_ident()
        self.exclusive += 1
        try:
            self.flush_locked(False)
            self._check_changeable()
            return self.new_edit()
        except BaseException:
            self.exclusive -= 1
            self.lock.give_back()
            raise

    cdef int end_edit(self, TableEdit* edit) except -1:
        """Without a commit before it, nothing has happened."""
        with nogil:
            del edit
        self.exclusive -= 1
        self.lock.give_back()
        return 0

    def _await_writers(self):
        """Waits until whoever makes a version has ended, however long that takes; says so now and then."""
        while not self.lock.take(PATIENCE):
            _log.warning("close() waits: %s", self.lock.held())
        self.lock.give_back()

    @property
    def _has_writer(self):
        """Whether somebody makes a version now."""
        return self.lock.depth > 0

    cdef bint excludes_others(self):
        """Whether it is this very thread that keeps the others out."""
        return self.exclusive > 0 and self.excluder == PyThread_get_thread_ident()

    @property
    def _held_here(self):
        """Whether an edit or a hold of this very thread keeps writers out: it cannot wait for that to end."""
        return self.excludes_others()

    def hold(self, double timeout, list tables not None):
        """Keeps all other writers of the table out until ``release``, if it can within some seconds; else nothing happens.

        The table is appended to ``tables`` in the same step: no signal handler runs between the two.
        """
        if not self.lock.take(timeout):
            return
        try:
            self.writable(0, False)  # waits for nobody any more
        except BaseException:
            self.lock.give_back()
            raise
        self.excluder = PyThread_get_thread_ident()
        self.exclusive += 1
        self.holds += 1
        tables.append(self)

    def release(self, list tables not None):
        """Ends ``hold``, in the same thread, and takes the table, which is the last one, off ``tables``."""
        tables.pop()
        self.holds -= 1
        self.exclusive -= 1
        self.lock.give_back()

    def _drop_store(self):
        """Owner: ends the table; its files are unlinked, mapped ones live on with their readers."""
        with self.lock:
            self.dropped = True
            self.active = make_shared[MemoryTable]()
            self.active_lsn = 0
            self.store.remove(self)

    def _check_mergeable(self):
        """Raises if this thread cannot merge segments: before it waits for ``merging``, whose holder may wait for it."""
        check_readable(self)
        if not self.store.owner:
            raise GridAccessError(f"table {self.codec.table}: the grid is open to read only")
        if self.excludes_others():
            raise UsageError(
                f"table {self.codec.table} is being changed by this very thread: it cannot merge meanwhile"
            )
        self._check_changeable()

    def _stop_merge(self):
        """Has the merge of the table that is under way, if there is one, end soon and without effect."""
        if self.merge != NULL:
            self.merge.Cancel()

    def _stop_loads(self):
        """Ends the loads under way, without effect: their threads get to know when they go on. Do not hold ``lock``."""
        for load in list(self.loads):
            load.stop()

    # ---- past versions ----

    def _take_kept(self, versions):
        """Owner, on opening the table: takes over the past versions that are kept, by number."""
        for version in versions:
            check(self.kept.get().Take(version))

    def _keep_current(self):
        """Owner: flushes, and keeps the version that is current then until ``keep_only``. Returns its number.

        Hold ``lock`` until then.
        """
        self.writable(0, False)
        self._flush_store()
        check(self.kept.get().Keep(self.current.get().manifest()))
        return self.current.get().manifest().version

    def _keep_only(self, tagged, uint64_t last):
        """Owner: from now on keeps the versions of these tags, one for each, and the ``last`` before the current one.

        Others go, with the files that only they need. Hold ``lock``.
        """
        cdef vector[uint64_t] numbers = tagged
        self.kept.get().Want(numbers, last)
        self.let_go()

    def _keep_tagged(self, tagged, untagged):
        """Owner: as ``keep_only`` after one tag has come, of version ``tagged``, or gone, of ``untagged``; None: none."""
        if tagged is not None:
            self.kept.get().Tag(tagged)
        if untagged is not None:
            self.kept.get().Untag(untagged)
        self.let_go()

    cdef int let_go(self) except -1:
        cdef cset[string] nothing
        return unlink_all(self.kept.get().Release(self.current.get().manifest(), nothing))
