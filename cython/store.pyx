"""The store: the log, the newest writes in memory, and key look-up, of one grid.

Who may do what: the GIL guards everything here that changes. A commit (encode, look up, append, enter in the memory
table) never lets go of it in between, so it is atomic among the threads of the owner. What runs without the GIL works
on frozen memory tables and sealed files only. ``TableStore.lock`` orders what makes a new version (flush, load,
compaction).
"""
import os
import threading

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy
from libcpp cimport bool as cbool
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.set cimport set as cset
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from gridflow._native.core cimport *
from gridflow._native.rows cimport RowCodec, schema_from_native
from gridflow._native.snapshot cimport wrap as wrap_snapshot
from gridflow._native.status cimport check

from gridflow.errors import (
    DuplicateKeyError, GridAccessError, GridClosedError, GridEnvironmentError, InternalError, SchemaError, TableNotFound,
    TransactionConflictError, UsageError,
)

cdef enum:
    ABSENT = 0
    IN_MEMORY = 1
    IN_SEGMENT = 2
    OPERATION_HEADER = 12

cdef uint64_t ALL_RECORDS = 0xFFFFFFFFFFFFFFFF
#: Bytes of log after which the background flush is woken; a writer that gets 8 times as far ahead flushes itself.
DEFAULT_FLUSH_BYTES = 32 << 20
#: Bytes of log that are kept for the next commits when nothing in them is needed any more.
LOG_BYTES_KEPT = 1 << 20
#: Bytes of a flush that are not rows: the header of a segment, a manifest, and what of their last pages is not used.
cdef uint64_t FLUSH_BYTES = 32 << 10
#: Bytes that writes leave free, so that rows can be removed and tables dropped where there is room for nothing else.
cdef uint64_t SPARE_BYTES = 256 << 10


def set_failpoints(str specification):
    """For tests: arms failpoints of this process's store, as ``kernels/core/failpoint.h`` says; "" disarms them."""
    check(SetFailpoints(specification.encode()))


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


def check_log(str home):
    """Reads every record of a grid's log. Raises GridCorruptError at the first damage that is not its torn end."""
    cdef cmap[uint32_t, ReplayTarget] nothing
    cdef string folder = os.fsencode(home) + b"/log"
    cdef LogReplay* replay = new LogReplay(folder)
    cdef shared_ptr[ControlPage] control
    cdef uint64_t committed = 0
    cdef Status status
    try:
        if ControlPage.Open(<string>os.fsencode(home) + <string>b"/control", &control).ok():
            committed = control.get().committed_lsn()
        with nogil:
            status = replay.Run(ALL_RECORDS, True, &nothing)
        check(status)
        if committed:
            check(control.get().CheckLogEnd(folder, committed, log_end(replay)))
    finally:
        del replay


cdef uint64_t log_end(LogReplay* replay) noexcept:
    """The last record that was read; 0 if there is none."""
    return replay.next_lsn() - 1 if replay.next_lsn() else 0


cdef class Store:
    """The log and the tables of one grid directory, as owner or as reader.

    Args:
        home: the grid's directory; it holds ``log`` and ``tables`` already.
        owner: whether this process holds the grid's lock.
        durable: whether a commit waits for the disk.
    """

    def __cinit__(self):
        self.replay = NULL

    def __init__(self, str home, bint owner, bint durable=False):
        self.home = os.fsencode(home)
        self.owner = owner
        self.durable = durable
        self.closing = False
        self.closed = False
        self.closed_because = ""
        self.tables = {}
        self.flush_bytes = DEFAULT_FLUSH_BYTES
        self.since_wake = 0
        self.next_lsn = 1
        self.generation = ALL_RECORDS
        self.followed = ALL_RECORDS
        self.wake = threading.Event()
        self.threads = min(4, os.cpu_count() or 1)
        cdef string page = self.home + <string>b"/control"
        if owner:
            check(ControlPage.Create(page, os.getpid(), &self.control))
        else:
            check(ControlPage.Open(page, &self.control))

    def __dealloc__(self):
        del self.replay

    def begin_close(self):
        """Keeps new writes and loads out, so that none can come after the last flush."""
        self.closing = True
        self.closed_because = "the grid is closed"

    def close(self, str because="the grid is closed"):
        """Ends all use. Writes that are not flushed stay in the log."""
        self.closed = True
        self.closed_because = because
        self.log.reset()

    cdef uint64_t spare(self):
        """Bytes that must stay free on the file system: what a flush of all that is in memory takes."""
        cdef TableStore table
        cdef uint64_t bytes = 0
        for table in self.tables.values():
            bytes += table.flush_needs()
        return bytes

    cdef int make_room(self, uint64_t payload, bint frees) except -1:
        """Before a commit: flushes, if the log has to grow and there is no room for that.

        This may run Python and let other threads in: nothing that the commit relies on may be known yet.
        """
        cdef TableStore table
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
        for table in list(self.tables.values()):
            if table.exclusive == 0 and table.lock.acquire(False):
                try:
                    table.flush_store()
                except GridEnvironmentError:  # the commit itself will say that there is no room
                    pass
                finally:
                    table.lock.release()
        if not self.closed and self.spare() == 0:
            self.forget_log()
        return 0

    def check_room(self, uint64_t bytes):
        """Raises GridFullError if that many bytes cannot be written without what must stay free."""
        check(CheckRoom(self.home, bytes + self.spare() + SPARE_BYTES))

    cdef int append(self, string& payload, const uint8_t** at, bint frees) except -1:
        """Writes one record of the log. Once it returns, the record survives this process.

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
            check(self.log.get().Sync(before))
        return 0

    cdef int commit(self, string& payload, bint frees, TableStore table) except -1:
        """Makes operations durable and visible: one commit. They begin with those of ``table``, if it is not None."""
        cdef const uint8_t* at
        cdef const uint8_t* end
        cdef gf_log_operation header
        cdef uint64_t lsn = self.next_lsn
        try:
            self.append(payload, &at, frees)
        finally:
            # Also when only the wait for the disk failed: the record is in the log, so it must be in memory, too.
            if self.next_lsn > lsn:
                end = at + payload.size()
                if table is not None:
                    table.active.get().Keep(self.log)
                while at < end:
                    header = OperationAt(at)
                    if table is None or table.table_id != header.table_id:
                        table = self.tables[header.table_id]
                        table.active.get().Keep(self.log)
                    if table.active.get().size() == 0:
                        table.active_lsn = lsn
                    table.active.get().Put(KeyHash(at + OPERATION_HEADER, header.key_bytes), at)
                    at += OPERATION_HEADER + header.key_bytes
                    if header.value_bytes != GF_LOG_REMOVE:
                        at += header.value_bytes
        # Only now: this is Python, in which other threads may run, and the record and the memory table must agree.
        if self.since_wake > self.flush_bytes:
            self.since_wake = 0
            self.wake.set()
        return 0

    def commit_checked(self, bytes operations, bytes digests, dict columns):
        """Commits what a transaction has written, if every row that it writes is still what the transaction has seen.

        Args:
            operations: of tables of this store, as ``Changes.operations`` gives them; every byte of them is checked.
            digests: of each operation's key, uint64, what ``TableCut`` had under it.
            columns: of each table, by its id, the digest of the columns that its operations were encoded for.

        Raises:
            TransactionConflictError: names the first key whose row is another one now; nothing is applied.
            SchemaError: the bytes are not well-formed operations; nothing is applied.
            TableNotFound, GridFullError: a table was dropped, there is no room; nothing is applied.
        """
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(operations)
        cdef const uint8_t* end = start + PyBytes_GET_SIZE(operations)
        cdef const uint8_t* p = start
        cdef const uint64_t* seen = <const uint64_t*>PyBytes_AS_STRING(digests)
        cdef gf_log_operation header
        cdef TableStore table = None
        cdef RowCodec codec
        cdef TableCut now
        cdef uint64_t digest
        cdef size_t count = 0, all_bytes
        cdef string payload
        cdef bint frees = True, quiet = False
        cdef list tables = []
        while p < end:
            if end - p < OPERATION_HEADER:
                raise SchemaError("a malformed operation: it ends early")
            header = OperationAt(p)
            all_bytes = <size_t>OPERATION_HEADER + header.key_bytes
            if header.value_bytes != GF_LOG_REMOVE:
                all_bytes += header.value_bytes
                frees = False
            if all_bytes > <size_t>(end - p):
                raise SchemaError("a malformed operation: it ends early")
            if table is None or table.table_id != header.table_id:
                table = self.tables.get(header.table_id)
                if table is None:
                    raise TableNotFound("a table that the transaction has written was dropped meanwhile")
                if table not in tables:
                    tables.append(table)
                    self.check_columns(table, columns)
            check(CheckKey(table.codec.schema, p + OPERATION_HEADER, header.key_bytes))
            if header.value_bytes != GF_LOG_REMOVE:
                check(CheckValue(table.codec.schema, p + OPERATION_HEADER + header.key_bytes, header.value_bytes))
            p += all_bytes
            count += 1
        if <size_t>PyBytes_GET_SIZE(digests) != 8 * count:
            raise SchemaError(f"{count} operations need as many digests, not {PyBytes_GET_SIZE(digests) / 8}")
        payload.assign(<const char*>start, end - start)
        # What may wait or run Python comes first. From the last round on nothing does, until all is committed.
        while not quiet:
            for table in tables:
                table.writable(payload.size(), frees)
            quiet = True
            for table in tables:
                mine = table.held and table.held == table.exclusive and table.lock._is_owned()
                quiet = quiet and (mine or table.exclusive == 0) and not table.dropped
            quiet = quiet and not self.closing
        for table in tables:
            self.check_columns(table, columns)
        p = start
        table = None
        while p < end:
            header = OperationAt(p)
            if table is None or table.table_id != header.table_id:
                table = self.tables[header.table_id]
                table.now(&now)
            check(now.Digest(p + OPERATION_HEADER, header.key_bytes, &digest))
            if digest != seen[0]:
                codec = table.codec
                key = codec.decode_key(p + OPERATION_HEADER)
                raise TransactionConflictError(
                    f"table {table.codec.table}: the row under key {key!r} was changed by somebody else since the "
                    "transaction began; nothing of the transaction was applied, run it again"
                )
            seen += 1
            p += OPERATION_HEADER + header.key_bytes
            if header.value_bytes != GF_LOG_REMOVE:
                p += header.value_bytes
        if payload.size():
            self.commit(payload, frees, None)
        now.memory.clear()
        for table in tables:
            table.flush_if_behind()

    cdef int check_columns(self, TableStore table, dict columns) except -1:
        """Raises if what a transaction has written was encoded for other columns than the table has."""
        if columns.get(table.table_id) != table.codec.digest:
            raise TransactionConflictError(
                f"table {table.codec.table} has got other columns since the transaction began; nothing of it was applied"
            )
        return 0

    cdef int rotate(self, uint64_t payload, uint64_t spare) except -1:
        cdef shared_ptr[LogFile] fresh
        check(LogFile.Create(self.home + <string>b"/log", self.next_lsn, payload, self.durable, &fresh, spare))
        self.log = fresh
        self.control.get().Bump()
        return 0

    def recover(self):
        """Owner: brings every write of the log that is not in a segment back to memory.

        Call it once, after all tables are there. Raises GridCorruptError if an acknowledged record is damaged.

        Returns:
            Whether the log ends before what segments hold already, as it may after a power cut. Then flush all tables
            and call ``forget_log`` before anything is written: a new record must not follow a gap.
        """
        cdef TableStore table
        cdef ReplayTarget target
        cdef Status status
        cdef string folder = self.home + <string>b"/log"
        cdef LogReplay* replay = new LogReplay(folder)
        cdef cmap[uint32_t, ReplayTarget] targets
        cdef uint64_t last = 0, end
        try:
            for table in self.tables.values():
                target.flushed_lsn = table.current.get().manifest().flushed_lsn
                target.schema = &table.codec.schema
                target.memory = table.active.get()
                target.first_lsn = 0
                targets[table.table_id] = target
                last = max(last, target.flushed_lsn)
            with nogil:
                status = replay.Run(ALL_RECORDS, True, &targets)
            check(status)
            end = log_end(replay)
            check(self.control.get().CheckLogEnd(folder, self.control.get().committed_lsn(), end))
            for table in self.tables.values():
                table.active_lsn = targets[table.table_id].first_lsn
            self.next_lsn = max(last, end) + 1
            cut_short = 0 < replay.next_lsn() <= last
        finally:
            del replay
        self.control.get().Recovered(self.next_lsn - 1, last if end < last else 0)
        self.control.get().Bump()
        return cut_short

    def trim(self):
        """Owner: unlinks the files of the log whose writes are all in segments."""
        cdef TableStore table
        cdef uint64_t oldest = self.next_lsn
        cdef vector[string] paths
        cdef size_t i
        for table in self.tables.values():
            if table.active_lsn:
                oldest = min(oldest, table.active_lsn)
            if table.frozen_lsn:
                oldest = min(oldest, table.frozen_lsn)
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

    def bump(self):
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
        cdef TableStore table
        cdef ReplayTarget target
        cdef shared_ptr[const TableSnapshot] snapshot
        cdef Status status
        cdef uint64_t generation, committed
        cdef string folder = self.home + <string>b"/log"
        cdef vector[shared_ptr[const TableSnapshot]] opened
        cdef size_t i
        for _ in range(1000):
            generation = self.control.get().generation()
            # What runs Python comes first: another thread may reload meanwhile.
            tables = list(self.tables.values())
            codecs = []
            opened.clear()
            for table in tables:
                snapshot.reset()
                codec = None
                status = TableSnapshot.Open(self.home, table.table_id, CURRENT, &snapshot)
                if status.code != Code.kNotFound:
                    check(status)
                    if snapshot.get().schema().Serialize() != table.codec.schema.Serialize():
                        codec = RowCodec(schema_from_native(snapshot.get().schema()), table.codec.table)
                opened.push_back(snapshot)
                codecs.append(codec)
            if generation != self.control.get().generation() or tables != list(self.tables.values()):
                continue
            known = True
            for i in range(opened.size()):
                table = tables[i]
                if opened[i].get() != NULL and codecs[i] is None:
                    known = known and opened[i].get().schema().Serialize() == table.codec.schema.Serialize()
            if not known:  # another thread has got it other columns since
                continue
            self.followed = ALL_RECORDS
            del self.replay
            self.replay = NULL
            self.targets.clear()
            for i in range(opened.size()):
                table = tables[i]
                snapshot = opened[i]
                if snapshot.get() == NULL:
                    table.dropped = True
                    continue
                table.current = snapshot
                if snapshot.get().schema().Serialize() != table.codec.schema.Serialize():
                    table.take_codec(codecs[i])
                table.active = make_shared[MemoryTable]()
                target.flushed_lsn = snapshot.get().manifest().flushed_lsn
                target.schema = &table.codec.schema
                target.memory = table.active.get()
                self.targets[table.table_id] = target
            self.replay = new LogReplay(folder)
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


cdef class TableStore:
    """The rows of one table: key look-up and writes. ``gridflow.Table`` is built on it."""

    def __init__(self, Store store, RowCodec codec, uint32_t table_id):
        cdef Status status
        self.store = store
        self.codec = codec
        self.table_id = table_id
        self.lock = threading.RLock()
        self.active = make_shared[MemoryTable]()
        self.kept = make_shared[KeptVersions](TableFolder(store.home, table_id), store.durable)
        self.take_codec(codec)
        with nogil:
            status = TableSnapshot.Open(store.home, table_id, CURRENT, &self.current)
        check(status)
        store.tables[table_id] = self
        store.generation = ALL_RECORDS  # a reader starts over, with this table

    cdef int take_codec(self, RowCodec codec) except -1:
        cdef size_t i
        self.codec = codec
        self.row_bytes = 8
        for i in range(codec.schema.columns.size()):
            self.row_bytes += row_bytes(codec.schema.columns[i].type)
        return 0

    cdef int same_columns(self, RowCodec codec) except -1:
        """Raises if what was encoded by ``codec`` is not of this table's columns any more."""
        if codec is not self.codec:
            raise SchemaError(
                f"table {self.codec.table} has got other columns while the rows were on their way: nothing was written, "
                "try again"
            )
        return 0

    cdef int writable(self, uint64_t payload=0, bint frees=False) except -1:
        """Raises if the table cannot be written; when it returns, nothing has changed since it was found to be writable."""
        if payload and self.store.owner and not self.store.closing and not self.store.closed and not self.dropped:
            self.store.make_room(payload, frees)
        if self.store.closing or self.store.closed or self.dropped or not self.store.owner:
            if self.store.closing or self.store.closed:
                raise GridClosedError(f"table {self.codec.table}: {self.store.closed_because}")
            if self.dropped:
                raise TableNotFound(f"table {self.codec.table} was dropped")
            raise GridAccessError(f"table {self.codec.table}: the grid is open to read only")
        while self.exclusive > 0:  # a load or a drop is under way in another thread
            if self.lock._is_owned():
                if self.held == self.exclusive:
                    break
                raise UsageError(
                    f"table {self.codec.table} is being loaded by this very thread: it cannot write meanwhile"
                )
            with self.lock:
                pass
            if self.store.closing or self.dropped:  # meanwhile
                return self.writable()
        return 0

    cdef inline int check_readable(self) except -1:
        """Raises if the table cannot be read; a reader sees every acknowledged write afterwards."""
        if self.store.closed:
            raise GridClosedError(f"table {self.codec.table}: {self.store.closed_because}")
        if not self.store.owner and not self.dropped:
            self.store.follow()
        if self.dropped:
            raise TableNotFound(f"table {self.codec.table} was dropped")
        return 0

    cdef int lookup(self, uint64_t hash, const string& key, const uint8_t** value, int* segment,
                    int64_t* row) except -1:
        cdef const MemoryEntry* entry
        cdef const uint8_t* bytes = <const uint8_t*>key.data()
        self.check_readable()
        entry = self.active.get().Find(hash, bytes, key.size())
        if entry == NULL and self.frozen.get() != NULL:
            entry = self.frozen.get().Find(hash, bytes, key.size())
        if entry != NULL:
            if entry.removed():
                return ABSENT
            value[0] = entry.value()
            return IN_MEMORY
        check(self.current.get().Find(hash, bytes, key.size(), segment, row))
        return IN_SEGMENT if segment[0] >= 0 else ABSENT

    cdef object value_at(self, int where, const uint8_t* value, int segment, int64_t row):
        # Decoding runs Python, and so other threads: a flush may drop what is read meanwhile, and the log with it.
        cdef shared_ptr[const TableSnapshot] snapshot
        cdef shared_ptr[MemoryTable] active, frozen
        cdef RowCodec codec = self.codec  # a reference: with other columns the table gets another one
        if where == IN_SEGMENT:
            snapshot = self.current
            return codec.decode_row(snapshot.get().columns(segment), row)
        active = self.active
        frozen = self.frozen
        return codec.decode_value(value)

    cdef int begin_operation(self, string& out) except -1:
        out.append(OPERATION_HEADER, <char>0)
        return 0

    cdef int finish_operation(self, string& out, size_t start, size_t key_bytes, bint remove) except -1:
        cdef gf_log_operation header
        cdef size_t value_bytes = out.size() - start - OPERATION_HEADER - key_bytes
        if value_bytes >= GF_LOG_REMOVE:
            raise SchemaError(
                f"table {self.codec.table}: a row has at most 4 GiB - 2, this one has {value_bytes} bytes"
            )
        header.table_id = self.table_id
        header.key_bytes = <uint32_t>key_bytes
        header.value_bytes = GF_LOG_REMOVE if remove else <uint32_t>value_bytes
        memcpy(&out[start], &header, sizeof(header))
        return 0

    cdef uint64_t flush_needs(self):
        """At least the bytes that flushing what is in memory takes."""
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
            bytes += self.current.get().segments()[i].segment.get().rows() // 8 + 4160
        return bytes

    cdef int commit(self, string& payload, bint frees=False) except -1:
        """Makes operations of this table durable and visible: one commit."""
        self.store.commit(payload, frees, self)
        return self.flush_if_behind()

    cdef int flush_if_behind(self) except -1:
        """After a commit: flushes, if the background work is too far behind. This may run Python."""
        if self.active.get().bytes() > 8 * self.store.flush_bytes and not self.store.durable:
            try:
                self.flush_store()
            except GridEnvironmentError:  # the write itself is done; background work says what is wrong
                pass
        return 0

    cdef int now(self, TableCut* out) except -1:
        """Where the table's rows lie: good until anything else runs."""
        self.check_readable()
        out.snapshot = self.current
        out.memory.clear()
        out.memory.push_back(<shared_ptr[const MemoryTable]>self.active)
        if self.frozen.get() != NULL:
            out.memory.push_back(<shared_ptr[const MemoryTable]>self.frozen)
        return 0

    cdef int cut(self, TableCut* out) except -1:
        """What the table holds now: shares what does not change any more. Runs no Python, so cuts are of one moment."""
        cdef shared_ptr[MemoryTable] copy
        out.snapshot = self.current
        out.memory.clear()
        if self.active.get().size():
            copy = make_shared[MemoryTable]()
            copy.get()[0] = self.active.get()[0]
            out.memory.push_back(<shared_ptr[const MemoryTable]>copy)
        if self.frozen.get() != NULL:
            out.memory.push_back(<shared_ptr[const MemoryTable]>self.frozen)
        return 0

    # ---- writes ----

    def put(self, key, value):
        """Writes the row under ``key``, whether there was one or not. One commit.

        Args:
            key: the key's value; a tuple for a key of several columns.
            value: a dict of the other columns (one that is missing is null), or the plain value of a ``_VAL`` column.

        Raises:
            SchemaError: the key or a value does not fit its column; nothing is written.
            ColumnNotFound: the value names a column that the table has not.
            GridFullError: there is no room; nothing is written.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
        ...     table.put(1, {"NAME": "one"})
        ...     table.get(1)
        {'NAME': 'one'}
        """
        cdef string out
        cdef size_t key_bytes
        cdef RowCodec codec = self.codec
        self.begin_operation(out)
        codec.encode_key(key, out)
        key_bytes = out.size() - OPERATION_HEADER
        codec.encode_value(value, out)
        self.finish_operation(out, 0, key_bytes, False)
        self.writable(out.size())
        self.same_columns(codec)
        self.commit(out)

    def put_all(self, rows):
        """Writes many rows, a mapping or an iterable of (key, value), in one commit: all or none.

        Raises:
            SchemaError, ColumnNotFound, GridFullError: as ``put``; nothing is written.
        """
        cdef string out
        cdef size_t start, key_bytes
        cdef RowCodec codec = self.codec
        pairs = rows.items() if hasattr(rows, "items") else rows
        for key, value in pairs:
            start = out.size()
            self.begin_operation(out)
            codec.encode_key(key, out)
            key_bytes = out.size() - start - OPERATION_HEADER
            codec.encode_value(value, out)
            self.finish_operation(out, start, key_bytes, False)
        self.writable(out.size())
        self.same_columns(codec)
        if out.size():
            self.commit(out)

    def insert_all(self, rows):
        """Writes many rows in one commit, or none if one of the keys is there already or twice among them.

        Raises:
            DuplicateKeyError: names the key; nothing is written.
            SchemaError, ColumnNotFound, GridFullError: as ``put``; nothing is written.
        """
        cdef string out, encoded
        cdef size_t start, key_bytes
        cdef vector[string] keys
        cdef size_t i
        cdef RowCodec codec = self.codec
        pairs = rows.items() if hasattr(rows, "items") else rows
        names = []
        for key, value in pairs:
            start = out.size()
            self.begin_operation(out)
            codec.encode_key(key, out)
            key_bytes = out.size() - start - OPERATION_HEADER
            keys.push_back(out.substr(start + OPERATION_HEADER, key_bytes))
            names.append(key)
            codec.encode_value(value, out)
            self.finish_operation(out, start, key_bytes, False)
        self.writable(out.size())
        self.same_columns(codec)
        seen = set()
        for i in range(keys.size()):
            encoded = keys[i]
            if <bytes>encoded in seen:
                raise self.duplicate(names[i], True)
            if self.has(encoded):
                raise self.duplicate(names[i], False)
            seen.add(<bytes>encoded)
        if out.size():
            self.commit(out)

    cdef object duplicate(self, object key, bint twice):
        if twice:
            return DuplicateKeyError(f"table {self.codec.table}: key {key!r} is given twice")
        return DuplicateKeyError(f"table {self.codec.table} has a row under key {key!r} already")

    def put_if_absent(self, key, value, RowCodec codec=None):
        """Writes the row unless there is one under ``key``. Returns whether it wrote.

        With ``codec`` only if that is still the table's: else it has got other columns since somebody looked.

        Raises:
            SchemaError, ColumnNotFound, GridFullError: as ``put``.
        """
        if codec is not None:
            self.same_columns(codec)
        return self._conditional(key, value, False)

    def replace(self, key, value):
        """Writes the row only if there is one under ``key``. Returns whether it wrote.

        Raises:
            SchemaError, ColumnNotFound, GridFullError: as ``put``.
        """
        return self._conditional(key, value, True)

    def _conditional(self, key, value, bint wanted):
        cdef string out
        cdef size_t key_bytes
        cdef RowCodec codec = self.codec
        self.begin_operation(out)
        codec.encode_key(key, out)
        key_bytes = out.size() - OPERATION_HEADER
        codec.encode_value(value, out)
        self.finish_operation(out, 0, key_bytes, False)
        self.writable(out.size())
        self.same_columns(codec)
        if self.has(out.substr(OPERATION_HEADER, key_bytes)) != wanted:
            return False
        self.commit(out)
        return True

    cdef bint has(self, const string& key) except -1:
        cdef const uint8_t* value
        cdef int segment
        cdef int64_t row
        return self.lookup(KeyHash(key.data(), key.size()), key, &value, &segment, &row) != ABSENT

    def remove(self, key):
        """Removes the row under ``key``. Returns whether there was one.

        Raises:
            SchemaError: the key does not fit the key columns.
            GridFullError: there is no room for the record of the removal.
        """
        return self.remove_all((key,)) == 1

    def remove_all(self, keys):
        """Removes the rows under these keys in one commit. Returns how many there were."""
        cdef string out, encoded
        cdef vector[string] found
        cdef size_t i, size = 0
        cdef RowCodec codec
        seen = set()
        for key in keys:
            encoded.clear()
            codec = self.codec
            codec.encode_key(key, encoded)
            if <bytes>encoded not in seen:
                seen.add(<bytes>encoded)
                found.push_back(encoded)
                size += OPERATION_HEADER + encoded.size()
        self.writable(size, True)
        count = 0
        for i in range(found.size()):
            if self.has(found[i]):
                self.append_removal(out, found[i])
                count += 1
        if count:
            self.commit(out, True)
        return count

    cdef int append_removal(self, string& out, const string& key) except -1:
        cdef size_t start = out.size()
        self.begin_operation(out)
        out.append(key)
        return self.finish_operation(out, start, key.size(), True)

    # ---- reads ----

    def get(self, key, default=None):
        """The value under ``key``: a dict of the columns not in the key, or the plain value of a ``_VAL`` column.

        Returns ``default`` if there is no row. Tensors come as fresh numpy arrays.

        Raises:
            SchemaError: the key does not fit the key columns.
        """
        cdef string encoded
        cdef const uint8_t* value = NULL
        cdef int segment = 0
        cdef int64_t row = 0
        cdef int where
        cdef RowCodec codec = self.codec
        codec.encode_key(key, encoded)
        where = self.lookup(KeyHash(encoded.data(), encoded.size()), encoded, &value, &segment, &row)
        if where == ABSENT:
            return default
        return self.value_at(where, value, segment, row)

    def contains(self, key):
        """Whether there is a row under ``key``."""
        cdef string encoded
        cdef RowCodec codec = self.codec
        codec.encode_key(key, encoded)
        return bool(self.has(encoded))

    # ---- operations from elsewhere, in the log's bytes ----

    def encode_put(self, key, value):
        """The log's operation that puts this row, as bytes, for ``commit_encoded`` in the owner."""
        cdef string out
        cdef size_t key_bytes
        cdef RowCodec codec = self.codec
        self.begin_operation(out)
        codec.encode_key(key, out)
        key_bytes = out.size() - OPERATION_HEADER
        codec.encode_value(value, out)
        self.finish_operation(out, 0, key_bytes, False)
        return PyBytes_FromStringAndSize(out.data(), out.size())

    def encode_remove(self, key):
        """The log's operation that removes this row, as bytes, for ``commit_encoded`` in the owner."""
        cdef string out, encoded
        cdef RowCodec codec = self.codec
        codec.encode_key(key, encoded)
        self.append_removal(out, encoded)
        return PyBytes_FromStringAndSize(out.data(), out.size())

    def commit_encoded(self, bytes operations, str mode, uint64_t digest):
        """Commits operations that another process has encoded; every byte of them is checked first.

        Args:
            digest: of the columns that they were encoded for (``RowCodec.digest``).
            operations: one or more of what ``encode_put`` and ``encode_remove`` give.
            mode: ``put``, ``put_if_absent``, ``replace`` or ``remove``: what ``operations`` must be, and on what
                condition each is applied; ``insert``: puts of which all are applied, or none.

        Returns:
            How many were applied. They are one commit.

        Raises:
            SchemaError: the bytes are not well-formed operations of this table; nothing is applied.
            DuplicateKeyError: with ``insert``, a key is there already or twice; nothing is applied.
        """
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(operations)
        cdef size_t left = PyBytes_GET_SIZE(operations), all_bytes
        cdef gf_log_operation header
        cdef string out, key
        cdef int applied = 0
        if mode not in ("put", "put_if_absent", "replace", "remove", "insert"):
            raise SchemaError(f"no mode {mode}")
        self.writable(left, mode == "remove")
        self.same_columns(self.codec if digest == self.codec.digest else None)
        seen = set()
        while left > 0:
            if left < OPERATION_HEADER:
                raise SchemaError("a malformed operation: it ends early")
            header = OperationAt(p)
            remove = header.value_bytes == GF_LOG_REMOVE
            all_bytes = <size_t>OPERATION_HEADER + header.key_bytes + (0 if remove else header.value_bytes)
            if all_bytes > left or header.table_id != self.table_id or remove != (mode == "remove"):
                raise SchemaError(f"a malformed operation for table {self.codec.table}")
            check(CheckKey(self.codec.schema, p + OPERATION_HEADER, header.key_bytes))
            if not remove:
                check(CheckValue(self.codec.schema, p + OPERATION_HEADER + header.key_bytes, header.value_bytes))
            key.assign(<const char*>p + OPERATION_HEADER, header.key_bytes)
            wanted = True
            if mode != "put":
                exists = self.has(key) and (mode != "remove" or <bytes>key not in seen)
                if mode == "insert" and (exists or <bytes>key in seen):
                    raise self.duplicate(self.codec.decode_key(<const uint8_t*>key.data()), not exists)
                if mode == "put_if_absent":
                    exists = exists or <bytes>key in seen
                wanted = exists == (mode == "replace" or mode == "remove")
                seen.add(<bytes>key)
            if wanted:
                out.append(<const char*>p, all_bytes)
                applied += 1
            p += all_bytes
            left -= all_bytes
        if applied:
            self.commit(out, mode == "remove")
        return applied

    # ---- versions ----

    @property
    def memory(self):
        """Rows and removals that are not in a segment yet, and their bytes."""
        rows, size = self.active.get().size(), self.active.get().bytes()
        if self.frozen.get() != NULL:
            rows, size = rows + self.frozen.get().size(), size + self.frozen.get().bytes()
        return rows, size

    def snapshot(self):
        """The current version of the segments, as a ``Snapshot``."""
        self.check_readable()
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

    def flush_store(self):
        """Moves the writes in memory to a segment and publishes a new version. Returns the version.

        If it fails (no room), the writes stay where they are, acknowledged and readable.
        """
        cdef TableEdit* edit = NULL
        cdef Status status
        cdef shared_ptr[const TableSnapshot] fresh
        cdef uint64_t lsn
        cdef MemoryTable* memory
        with self.lock:
            if self.store.closed:
                raise GridClosedError(f"table {self.codec.table}: {self.store.closed_because}")
            if self.dropped or self.active.get().size() == 0:
                return self.current.get().manifest().version
            self.frozen = self.active
            self.frozen_lsn = self.active_lsn
            self.active = make_shared[MemoryTable]()
            self.active_lsn = 0
            lsn = self.store.next_lsn - 1
            memory = self.frozen.get()
            edit = new TableEdit(
                TableFolder(self.store.home, self.table_id), self.current, self.store.durable, self.store.threads,
                self.kept.get(),
            )
            try:
                with nogil:
                    status = edit.AddMemory(memory[0])
                    if status.ok():
                        status = edit.Commit(lsn, &fresh)
                self.publish(edit, fresh)
                check(status)
            finally:
                del edit
                if self.frozen.get() != NULL:
                    self.thaw()
            return self.current.get().manifest().version

    cdef int publish(self, TableEdit* edit, shared_ptr[const TableSnapshot] fresh) except -1:
        """Takes over a version that an edit has committed; a null one means that it has not."""
        if fresh.get() == NULL:
            return 0
        self.current = fresh
        if self.next_codec is not None:
            self.take_codec(self.next_codec)
        self.frozen.reset()
        self.frozen_lsn = 0
        self.store.control.get().Bump()
        check(HitFailpoint("version.published"))
        unlink_all(edit.obsolete())
        self.store.trim()
        return 0

    # ---- past versions ----

    def take_kept(self, versions):
        """Owner, on opening the table: takes over the past versions that are kept, by number."""
        for version in versions:
            check(self.kept.get().Take(version))

    def keep_current(self):
        """Owner: flushes, and keeps the version that is current then until ``keep_only``. Returns its number.

        Hold ``lock`` until then.
        """
        self.writable()
        self.flush_store()
        check(self.kept.get().Keep(self.current.get().manifest()))
        return self.current.get().manifest().version

    def keep_only(self, chosen, uint64_t last):
        """Owner: from now on keeps the versions of these numbers, and the ``last`` before the current one.

        Others go, with the files that only they need. Hold ``lock``.
        """
        cdef cset[uint64_t] numbers
        cdef cset[string] nothing
        for version in chosen:
            numbers.insert(version)
        self.kept.get().Want(numbers, last)
        unlink_all(self.kept.get().Release(self.current.get().manifest(), nothing))

    cdef int thaw(self) except -1:
        """After a flush that failed: what was frozen is active again, under what came since."""
        cdef shared_ptr[MemoryTable] both = make_shared[MemoryTable]()
        both.get()[0] = self.frozen.get()[0]  # a copy: transactions and previews share what is frozen
        both.get().Absorb(self.active.get()[0])
        self.active = both
        self.active_lsn = self.frozen_lsn
        self.frozen.reset()
        self.frozen_lsn = 0
        return 0

    def edit(self):
        """Starts a new version in the making: a context manager that keeps writers of this table out meanwhile."""
        return Edit(self)

    def hold(self, double timeout, list held not None):
        """Keeps all other writers of the table out until ``release``, if it can within some seconds; else nothing happens.

        The table is appended to ``held`` in the same step: no signal handler runs between the two.
        """
        if not self.lock.acquire(True, timeout):
            return
        try:
            self.writable()  # waits for nobody any more
        except BaseException:
            self.lock.release()
            raise
        self.exclusive += 1
        self.held += 1
        held.append(self)

    def release(self, list held not None):
        """Ends ``hold``, in the same thread, and takes the table, which is the last one, off ``held``."""
        held.pop()
        self.held -= 1
        self.exclusive -= 1
        self.lock.release()

    def drop_store(self):
        """Owner: ends the table; its files are unlinked, mapped ones live on with their readers."""
        with self.lock:
            self.dropped = True
            self.active = make_shared[MemoryTable]()
            self.active_lsn = 0
            self.store.tables.pop(self.table_id, None)


cdef class Edit:
    """A new version of a table in the making: a bulk load or a compaction.

    ``with table.edit() as edit: edit.add_batches(...); edit.commit()``. Left without ``commit``, nothing has happened.
    """

    cdef TableStore table
    cdef TableEdit* it
    cdef readonly int64_t rows

    def __cinit__(self, TableStore table):
        self.table = table
        self.it = NULL
        self.rows = 0

    def __enter__(self):
        self.table.writable()
        self.table.lock.acquire()
        self.table.exclusive += 1
        try:
            self.table.flush_store()
            if self.table.store.closing:  # close() was faster; its flush of this table is the last version
                raise GridClosedError(f"table {self.table.codec.table}: {self.table.store.closed_because}")
            if self.table.dropped:
                raise TableNotFound(f"table {self.table.codec.table} was dropped")
            self.it = new TableEdit(
                TableFolder(self.table.store.home, self.table.table_id), self.table.current,
                self.table.store.durable, self.table.store.threads, self.table.kept.get(),
            )
        except BaseException:
            self.table.exclusive -= 1
            self.table.lock.release()
            raise
        return self

    def __exit__(self, *exc_info):
        del self.it
        self.it = NULL
        self.table.next_codec = None
        self.table.exclusive -= 1
        self.table.lock.release()

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
        cdef size_t i, j, columns = self.table.codec.schema.columns.size(), done = 0
        arrays.resize(len(batches) * columns)
        sources.resize(len(batches))
        try:
            for i in range(sources.size()):
                sources[i].resize(columns)
                for j in range(columns):
                    batches[i][j]._export_to_c(<uintptr_t>&arrays[done])
                    done += 1
                    try:
                        check(ImportColumn(self.table.codec.schema.columns[j].type, arrays[done - 1], &sources[i][j]))
                    except SchemaError as error:
                        raise SchemaError(f"table {self.table.codec.table}, {error}") from None
            self._add(sources, mode)
        finally:
            for i in range(done):
                if arrays[i].release != NULL:
                    arrays[i].release(&arrays[i])

    def add_rows(self, rows, str mode):
        """Adds rows given as dicts of all columns, as one segment."""
        cdef string key, value
        cdef RowsBuilder* builder = new RowsBuilder(self.table.codec.schema)
        cdef vector[vector[ColumnView]] sources
        names = self.table.codec.python_schema.key
        value_names = self.table.codec.value_names
        try:
            for row in rows:
                key.clear()
                value.clear()
                keys = tuple(row.get(name) for name in names)
                self.table.codec.encode_key(keys[0] if len(names) == 1 else keys, key)
                rest = {name: item for name, item in row.items() if name not in names}
                if self.table.codec.plain_value and set(rest) <= {"_VAL"}:
                    rest = rest.get("_VAL")
                self.table.codec.encode_value(rest, value)
                builder.Append(<const uint8_t*>key.data(), <const uint8_t*>value.data())
            sources.push_back(builder.Views())
            self._add(sources, mode)
        finally:
            del builder

    cdef int _add(self, vector[vector[ColumnView]]& sources, str mode) except -1:
        cdef int64_t rows = 0
        cdef string duplicate
        cdef Status status
        cdef LoadMode load_mode = LoadMode.kInsert if mode == "insert" else LoadMode.kReplace
        with nogil:
            status = self.it.AddRows(sources, load_mode, &rows, &duplicate)
        if duplicate.size():
            key = self.table.codec.decode_key(<const uint8_t*>duplicate.data())
            raise self.table.duplicate(key, False)
        check(status)
        self.rows += rows
        return 0

    def merge(self, segments):
        """Rewrites the live rows of these segments, by their index in the snapshot, as one segment."""
        cdef vector[int] indexes = segments
        cdef Status status
        with nogil:
            status = self.it.Merge(indexes)
        check(status)

    def alter(self, RowCodec codec):
        """Gives the table the columns of ``codec``, which must be made for it; see ``TableEdit::SetSchema``."""
        self.it.SetSchema(codec.schema)
        self.table.next_codec = codec

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
        self.table.publish(self.it, fresh)
        check(status)
