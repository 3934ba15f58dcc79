"""The store: the log of one grid, its control page, and the commits in it.

Who may do what: the GIL guards everything here and in ``table_versions`` that changes. A commit (encode, look up,
append, enter in the memory table) never lets go of it in between, so it is atomic among the threads of the owner; only
then does it wait for the disk, if it must, together with those of other threads (``LogSync``). What runs without the GIL
works on frozen memory tables, appended records and sealed files only. ``TableVersions.lock`` orders what makes a new
version (flush, load, compaction).

One thread, which serves many clients, must not wait for any of them (``begin_hurry``): where another one would wait it
gets ``WouldWait``, and it waits for the disk once for all that it has committed (``sync``).

Who owns what: a class's fields are written by its own methods alone.

    Edit, TableStore ──> TableVersions ──> Store ──> LogTable, which a TableVersions is
    one version in       segments, the     the log,
    the making; rows     newest writes     control page,
    by key                                 commits
"""
import os
import threading

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.set cimport set as cset
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.log_table cimport LogTable
from gridflow._native.process_state cimport shared_state
from gridflow._native.status cimport check

from gridflow.errors import InternalError, SchemaError, TableNotFoundError

core.process_state = shared_state()


class WouldWait(Exception):
    """A thread in a hurry cannot have this done at once. Nothing has happened: another thread may do it."""


cdef uint64_t ALL_RECORDS = 0xFFFFFFFFFFFFFFFF
#: Bytes of log after which the background flush is woken; a writer that gets 8 times as far ahead flushes itself.
DEFAULT_FLUSH_BYTES = 32 << 20
#: Bytes of a segment's file below which it counts as small: of those a table has at most MOST_SMALL.
DEFAULT_SMALL_BYTES = kSmallBytes
MOST_SMALL = kMostSmall
#: Bytes of a deletion bitmap up to which it is always written whole.
DEFAULT_LISTED_BYTES = kListedBytes
#: Seconds that a writer waits for another one of the same table. A client waits longer: it gets to know who that is.
DEFAULT_LOCK_SECONDS = 240.0
#: Bytes of log that are kept for the next commits when nothing in them is needed any more.
LOG_BYTES_KEPT = 1 << 20


def set_failpoints(str specification):
    """For tests: arms failpoints of this process, as ``kernels/core/failpoint.h`` says; "" disarms them."""
    check(ProcessFailpoints().Set(specification.encode()))


def replace_file(str path, const uint8_t[::1] data not None):
    """Writes a file of the grid beside its name and renames it into place: nobody sees a part of it.

    Raises:
        GridFullError: there is no room; what was there under that name is as it was.
    """
    cdef Status status
    cdef string name = os.fsencode(path)
    with nogil:
        status = ReplaceFile(name, &data[0], data.shape[0], False)
    check(status)


def sync_file_system(str path):
    """Waits until all that anybody has written to the file system of a path is on the disk."""
    cdef Status status
    cdef string name = os.fsencode(path)
    with nogil:
        status = SyncFileSystemOf(name)
    check(status)


def check_log(str home):
    """Reads every record of a grid's log. Raises GridCorruptError at the first damage that is not its torn end."""
    cdef cmap[uint32_t, ReplayTarget] nothing
    cdef string folder = os.fsencode(home) + b"/log"
    cdef LogReplay* replay = NULL
    cdef shared_ptr[ControlPage] control
    cdef uint64_t committed = 0, known = 0
    cdef Status status
    if ControlPage.Open(<string>os.fsencode(home) + <string>b"/control", &control).ok():
        committed = control.get().committed_lsn()
        known = control.get().KnownLsn()
    try:
        replay = new LogReplay(folder, known)
        with nogil:
            status = replay.Run(ALL_RECORDS, True, &nothing)
        check(status)
        if committed:
            check(control.get().CheckLogEnd(folder, committed, log_end(replay)))
    finally:
        del replay


def catalog_version(str home):
    """The version of the last change of a grid's catalog, as its control page knows it; 0 if it does not."""
    cdef shared_ptr[ControlPage] control
    if not ControlPage.Open(<string>os.fsencode(home) + <string>b"/control", &control).ok():
        return 0
    return control.get().catalog_version()


def check_catalog(str home, uint64_t changed, uint64_t version, uint64_t bytes):
    """Raises GridCorruptError if a grid's catalog, of which so many bytes are of that version, has lost changes.

    ``changed`` is what ``catalog_version`` gave before it was read.
    """
    cdef shared_ptr[ControlPage] control
    if version < changed and ControlPage.Open(<string>os.fsencode(home) + <string>b"/control", &control).ok():
        check(control.get().CheckCatalog(<string>os.fsencode(home) + <string>b"/catalog", changed, version, bytes))


cdef uint64_t log_end(LogReplay* replay) noexcept:
    """The last record that was read; 0 if there is none."""
    return replay.next_lsn() - 1 if replay.next_lsn() else 0


cdef class Store:
    """The log and the tables of one grid directory, as owner or as reader.

    Args:
        home: the grid's directory; it holds ``log`` and ``tables`` already.
        owner: whether this process holds the grid's lock.
        durable: whether a commit waits for the disk.

    Attributes:
        lock_seconds: how long a writer waits for another one of the same table.
        doing: says of a thread, given by its number, what it does; None where nobody knows.
        guard: called before a write by key with what is written, and raises where it may not be; None almost always.
    """

    def __cinit__(self):
        self.replay = NULL

    def __init__(self, str home, bint owner, bint durable=False):
        self.home = os.fsencode(home)
        self.owner = owner
        self.durable = durable
        self.recovered = False
        self.closing = False
        self.closed = False
        self.closed_because = ""
        self.tables = {}
        self.flush_bytes = DEFAULT_FLUSH_BYTES
        self.small_bytes = DEFAULT_SMALL_BYTES
        self.listed_bytes = DEFAULT_LISTED_BYTES
        self.lock_seconds = DEFAULT_LOCK_SECONDS
        self.doing = None
        self.guard = None
        self.since_wake = 0
        self.next_lsn = 1
        self.generation = ALL_RECORDS
        self.followed = ALL_RECORDS
        self.wake = threading.Event()
        self.threads = min(4, os.cpu_count() or 1)
        self.syncs = make_shared[LogSync]()
        self.hurried[0] = self.hurried[1] = 0
        cdef string page = self.home + <string>b"/control"
        if owner:
            check(ControlPage.Create(page, os.getpid(), &self.control))
        else:
            check(ControlPage.Open(page, &self.control))

    def __dealloc__(self):
        del self.replay

    def describe(self, thread):
        """Words for a thread, given by its number, and what it does."""
        name = next((one.name for one in threading.enumerate() if one.ident == thread), "that has ended")
        work = self.doing(thread) if self.doing is not None else None
        return f"thread {name}" + (f" ({work})" if work else "")

    def begin_close(self):
        """Keeps new writes and loads out, so that none can come after the last flush."""
        self.closing = True
        self.closed_because = "the grid is closed"

    def close(self, str because="the grid is closed"):
        """Ends all use. Writes that are not flushed stay in the log."""
        self.closed = True
        self.closed_because = because
        self.log.reset()

    cdef int add(self, LogTable table) except -1:
        """Takes a table in; a reader starts over, with this table."""
        self.tables[table.table_id] = table
        self.generation = ALL_RECORDS
        return 0

    cdef int remove(self, LogTable table) except -1:
        """Forgets a table, if it is there; what the log holds of it is passed over from now on."""
        self.tables.pop(table.table_id, None)
        return 0

    cdef uint64_t spare(self):
        """Bytes that must stay free on the file system: what a flush of all that is in memory takes."""
        cdef LogTable table
        cdef uint64_t bytes = 0
        for table in self.tables.values():
            bytes += table.flush_needs()
        return bytes

    cdef int make_room(self, uint64_t payload, bint frees) except -1:
        """Before a commit: flushes, if the log has to grow and there is no room for that.

        This may run Python and let other threads in: nothing that the commit relies on may be known yet.
        """
        cdef LogTable table
        cdef cbool fits = False
        cdef uint64_t missing = 0
        if self.log.get() != NULL:
            missing = self.log.get().Missing(payload, &fits)
        if fits and missing == 0:
            return 0
        if not fits:
            missing = LogFile.FirstBytes(payload)
        if CheckRoom(self.home, 2 * (missing + payload) + self.spare() + (FLUSH_BYTES if frees else SPARE_BYTES)).ok():
            return 0
        self.may_wait()
        for table in list(self.tables.values()):
            table.flush_if_idle()  # where that fails, the commit itself will say that there is no room
        if not self.closed and self.spare() == 0:
            self.forget_log()
        return 0

    def check_room(self, uint64_t bytes):
        """Raises GridFullError if that many bytes cannot be written without what must stay free."""
        check(CheckRoom(self.home, bytes + self.spare() + SPARE_BYTES))

    cdef int append(self, string& payload, const uint8_t** at, bint frees) except -1:
        """Writes one record of the log. Once it returns, the record survives this process; ``sync`` waits for the disk.

        There stays room to flush it, and SPARE_BYTES unless it ``frees``: a full grid must be able to get rid of rows.
        """
        cdef cbool fits = False
        cdef uint64_t before, spare = 0
        cdef uint64_t missing = 0
        if self.log.get() != NULL:
            missing = self.log.get().Missing(payload.size(), &fits)
        if missing or not fits:
            spare = self.spare() + (FLUSH_BYTES if frees else SPARE_BYTES)
        if fits:
            check(self.log.get().Reserve(payload.size(), &fits, spare))
        else:
            self.rotate(payload.size(), spare)
        before = self.log.get().tail()
        at[0] = self.log.get().Append(self.next_lsn, payload.data(), payload.size(), NULL, 0)
        self.next_lsn += 1
        self.control.get().Commit(self.next_lsn - 1)
        self.since_wake += payload.size()
        if self.durable:
            self.syncs.get().Appended(self.log, before, self.log.get().tail(), self.next_lsn - 1)
        return 0

    cdef int commit(self, string& payload, bint frees, LogTable table) except -1:
        """Makes operations durable and visible: one commit. They begin with those of ``table``, if it is not None."""
        cdef const uint8_t* at
        cdef OperationWalk walk
        cdef uint64_t lsn = self.next_lsn
        self.append(payload, &at, frees)
        walk = OperationWalk(at, payload.size())
        while not walk.AtEnd():
            if table is None or table.table_id != walk.operation().table_id():
                table = self.tables[walk.operation().table_id()]
            table.enter(lsn, self.log, &walk)
        # Only now: this is Python, in which other threads may run, and the record and the memory table must agree.
        if self.since_wake > self.flush_bytes:
            self.since_wake = 0
            self.wake.set()
        # Should the disk fail: the record is in the log and in memory, and its writer is told that it may not last.
        if self.durable and not self.hurries():
            self.sync(lsn)
        return 0

    cdef int sync(self, uint64_t lsn) except -1:
        """Waits until the records up to ``lsn`` are on the disk, if this grid's commits are to be."""
        cdef Status status
        cdef shared_ptr[LogSync] syncs = self.syncs
        if self.durable and lsn:
            with nogil:
                status = syncs.get().Wait(lsn)
            check(status)
            self.control.get().Synced(lsn)
        return 0

    # ---- a thread that must not wait ----

    cdef int begin_hurry(self) except -1:
        """From now on this thread, two at most, gets WouldWait where it would wait; it calls ``sync`` for itself."""
        self.hurried[0 if self.hurried[0] == 0 else 1] = PyThread_get_thread_ident()
        return 0

    cdef int end_hurry(self) except -1:
        self.hurried[0 if self.hurried[0] == PyThread_get_thread_ident() else 1] = 0
        return 0

    cdef bint hurries(self):
        """Whether this very thread must not wait."""
        cdef unsigned long here
        if self.hurried[0] == 0 and self.hurried[1] == 0:
            return False
        here = PyThread_get_thread_ident()
        return self.hurried[0] == here or self.hurried[1] == here

    cdef int may_wait(self) except -1:
        """Raises WouldWait in a thread that must not wait."""
        if self.hurries():
            raise WouldWait()
        return 0

    def _commit_checked(self, bytes operations, bytes digests, dict columns):
        """Commits what a transaction has written, if every row that it writes is still what the transaction has seen.

        Args:
            operations: of tables of this store, as ``Changes.operations`` gives them; every byte of them is checked.
            digests: of each operation's key, uint64, what ``TableCut`` had under it.
            columns: of each table, by its id, the digest of the columns that its operations were encoded for.

        Raises:
            TransactionConflictError: names the first key whose row is another one now; nothing is applied.
            SchemaError: the bytes are not well-formed operations; nothing is applied.
            TableNotFoundError, GridFullError: a table was dropped, there is no room; nothing is applied.
        """
        cdef string payload = operations
        cdef const uint64_t* seen = <const uint64_t*>PyBytes_AS_STRING(digests)
        cdef OperationChecker checker = OperationChecker(payload.data(), payload.size())
        cdef OperationWalk walk = OperationWalk(payload.data(), payload.size())
        cdef Operation operation
        cdef LogTable table = None
        cdef TableCut now
        cdef uint64_t digest
        cdef size_t count = 0
        cdef bint frees = True, quiet = False
        cdef list tables = []
        while checker.Next(&operation):
            frees = frees and operation.removal()
            if table is None or table.table_id != operation.table_id():
                table = self.tables.get(operation.table_id())
                if table is None:
                    raise TableNotFoundError("a table that the transaction has written was dropped meanwhile")
                if table not in tables:
                    tables.append(table)
                    table.check_columns(columns.get(table.table_id))
            table.check_operation(operation)
            count += 1
        check(checker.status())
        if <size_t>PyBytes_GET_SIZE(digests) != 8 * count:
            raise SchemaError(f"{count} operations need as many digests, not {PyBytes_GET_SIZE(digests) / 8}")
        # What may wait or run Python comes first. From the last round on nothing does, until all is committed.
        while not quiet:
            for table in tables:
                table.writable(payload.size(), frees)
            quiet = not self.closing
            for table in tables:
                quiet = quiet and table.settled()
        for table in tables:
            table.check_columns(columns.get(table.table_id))
        table = None
        while not walk.AtEnd():
            operation = walk.operation()
            if table is None or table.table_id != operation.table_id():
                table = self.tables[operation.table_id()]
                table.now(&now)
            check(now.Digest(operation.key(), operation.key_bytes(), &digest))
            if digest != seen[0]:
                raise table.conflict(operation)
            seen += 1
            walk.Next()
        if payload.size():
            self.commit(payload, frees, None)
        now.memory.clear()
        for table in tables:
            table.flush_if_behind()

    cdef int rotate(self, uint64_t payload, uint64_t spare) except -1:
        cdef shared_ptr[LogFile] fresh
        cdef Status status
        # What is in the new file may count only if all before it does. Nothing of Python runs meanwhile: see commit().
        if self.durable:
            status = self.syncs.get().Wait(self.next_lsn - 1)
            if self.log.get() != NULL:  # else all is in segments
                check(status)
        check(LogFile.Create(self.home + <string>b"/log", self.next_lsn, payload, self.durable, &fresh, spare))
        self.log = fresh
        self.control.get().Bump()
        return 0

    def recover(self):
        """Owner: brings every write of the log that is not in a segment back to memory.

        Call it once, when the tables of ``logged_tables`` are there. Raises GridCorruptError if an acknowledged record is
        damaged.

        Returns:
            Whether the log ends before what segments hold already, as it may after a power cut. Then flush all tables
            and call ``forget_log`` before anything is written: a new record must not follow a gap.
        """
        cdef LogTable table
        cdef ReplayTarget target
        cdef Status status
        cdef string folder = self.home + <string>b"/log"
        cdef LogReplay* replay = new LogReplay(folder, self.control.get().KnownLsn())
        cdef cmap[uint32_t, ReplayTarget] targets
        # Tables that are not open yet may have been flushed further than the others: see admit().
        cdef uint64_t last = self.control.get().committed_lsn(), end
        try:
            for table in self.tables.values():
                table.begin_replay(&target)
                targets[table.table_id] = target
                last = max(last, target.flushed_lsn)
            with nogil:
                status = replay.Run(ALL_RECORDS, True, &targets)
            check(status)
            end = log_end(replay)
            check(self.control.get().CheckLogEnd(folder, self.control.get().committed_lsn(), end))
            for table in self.tables.values():
                table.end_replay(targets[table.table_id].first_lsn)
            self.next_lsn = max(last, end) + 1
            cut_short = 0 < replay.next_lsn() <= last
        finally:
            del replay
        self.control.get().Recovered(self.next_lsn - 1, last if end < last else 0)
        self.control.get().Bump()
        self.recovered = True
        return cut_short

    def logged_tables(self):
        """Owner: the numbers of the tables that the log has writes of, in whatever order."""
        cdef cset[uint32_t] found
        cdef Status status
        cdef LogReplay* replay = new LogReplay(self.home + <string>b"/log", self.control.get().KnownLsn())
        try:
            with nogil:
                status = replay.Tables(&found)
            check(status)
        finally:
            del replay
        return [table_id for table_id in found]

    @property
    def knows_last_commit(self):
        """Owner, before ``recover``: whether the control page says for sure which number the last commit had."""
        return self.control.get().IsOfThisBoot()

    def admit(self, uint64_t flushed_lsn):
        """Owner: whether commits that come now have higher numbers than ``flushed_lsn``, a table's that is opened now.

        They mostly have; else their numbers go on after it, which takes that nothing is left in the log: False, if there
        is. Then flush all tables, call ``forget_log`` and ask again.
        """
        cdef LogTable table
        cdef vector[string] paths
        if flushed_lsn < self.next_lsn or not self.recovered:  # recover() looks at the tables that are there
            return True
        check(ListLog(self.home + <string>b"/log", &paths))
        if self.log.get() != NULL or not paths.empty():
            return False
        for table in self.tables.values():
            if table.oldest_lsn():
                return False
        self.next_lsn = flushed_lsn + 1
        self.control.get().Recovered(flushed_lsn, flushed_lsn)
        return True

    def catalog_changed(self, uint64_t version):
        """Owner: tells readers that the catalog has got another version."""
        self.control.get().Catalog(version)
        self.bump()

    cpdef trim(self):
        """Owner: unlinks the files of the log whose writes are all in segments."""
        cdef LogTable table
        cdef uint64_t oldest = self.next_lsn, lsn
        cdef vector[string] paths
        cdef size_t i
        for table in self.tables.values():
            lsn = table.oldest_lsn()
            if lsn:
                oldest = min(oldest, lsn)
        # When all is in segments, a large file of the log is not worth its room: the next commit starts a new one.
        if oldest == self.next_lsn and self.log.get() != NULL and self.log.get().tail() > LOG_BYTES_KEPT:
            self.log.reset()
        check(ListLog(self.home + <string>b"/log", &paths))
        current = self.log.get().path() if self.log.get() != NULL else b""
        names = [os.fsdecode(paths[i]) for i in range(paths.size())]
        firsts = [int(os.path.basename(name)[:16], 16) for name in names] + [self.next_lsn]
        for i, name in enumerate(names):
            if firsts[i + 1] > oldest or os.fsencode(name) == current:
                break
            if i + 1 == len(names):
                self.control.get().Drop(firsts[i + 1] - 1)
            try:
                os.unlink(name)
                # A power cut must not bring it back without the next one.
                if self.durable and not SyncFolderOf(os.fsencode(name)).ok():
                    break
            except FileNotFoundError:  # a flush of another table was faster
                pass
            except OSError:  # oldest first, without a gap: recovery demands that what is left is whole
                break

    def forget_log(self):
        """Owner, before it closes, when all is flushed: starts a new file of the log so that trim can drop the old."""
        self.log.reset()
        self.trim()

    @property
    def last_lsn(self):
        return self.next_lsn - 1

    @property
    def owner_pid(self):
        """The process that owns the grid, or was the last to own it."""
        return self.control.get().owner_pid()

    cpdef bump(self):
        """Owner: tells readers that a manifest, the catalog or the log's files changed."""
        self.control.get().Bump()

    # ---- readers ----

    cdef int follow(self) except -1:
        """Reader: makes every write that is acknowledged now visible here."""
        cdef uint64_t committed, generation
        cdef Status status
        for _ in range(1000):
            generation = self.control.get().generation()
            if generation != self.generation:
                self.reload()
                continue
            committed = self.control.get().committed_lsn()
            if committed == self.followed:
                return 0
            status = self.replay.Run(committed, False, &self.targets)
            if generation != self.control.get().generation():
                continue  # what was read may be of other columns
            if status.code != Code.kNotFound:
                check(status)
            # What could not be found in the log is in segments, or was torn with its owner.
            self.followed = committed
            return 0
        raise InternalError("the grid changes faster than it can be followed")

    cdef int reload(self) except -1:
        """Reader: opens the current version of every table and replays the log from its start."""
        cdef LogTable table
        cdef ReplayTarget target
        cdef Status status
        cdef uint64_t generation, committed, written
        cdef string folder = self.home + <string>b"/log"
        cdef list tables, versions
        cdef size_t i
        for _ in range(1000):
            generation = self.control.get().generation()
            # What runs Python comes first: another thread may reload meanwhile.
            tables = list(self.tables.values())
            versions = []
            for table in tables:
                versions.append(table.open_current())
            if generation != self.control.get().generation() or tables != list(self.tables.values()):
                continue
            known = True
            for i in range(len(tables)):
                table = tables[i]
                known = known and table.can_adopt(versions[i])
            if not known:  # another thread has got it other columns since
                continue
            self.followed = ALL_RECORDS
            del self.replay
            self.replay = NULL
            self.targets.clear()
            for i in range(len(tables)):
                table = tables[i]
                if table.adopt(versions[i], &target):
                    self.targets[table.table_id] = target
            # What this run of the machine has acknowledged is there whole, with all that comes meanwhile.
            written = ALL_RECORDS if self.control.get().IsOfThisBoot() else self.control.get().KnownLsn()
            self.replay = new LogReplay(folder, written)
            committed = self.control.get().committed_lsn()
            status = self.replay.Run(committed, False, &self.targets)
            if status.ok():
                status = self.control.get().CheckLogEnd(folder, committed, log_end(self.replay))
            if self.control.get().generation() == generation:
                check(status)
                self.generation = generation
                return 0
        raise InternalError("the grid changes faster than it can be read")

    def catch_up(self):
        """Reader: makes every acknowledged write visible; a no-op in the owner, and when the grid is closed."""
        if not self.owner and not self.closed:
            self.follow()
