"""What a transaction sees of a table, and what it has written to it and not committed."""
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from gridflow._native cimport core, row_operations
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.row_changes cimport RowChanges
from gridflow._native.rows cimport RowCodec
from gridflow._native.snapshot cimport wrap as wrap_snapshot
from gridflow._native.status cimport check
from gridflow._native.table_store cimport TableStore

from gridflow.errors import TransactionConflictError

core.process_state = shared_state()


def cut(list changes):
    """Has several ``Changes``, in which nothing is changed yet, see what their tables hold at one moment: now.

    Returns those whose tables are there; what was dropped meanwhile is not.
    """
    cdef Changes one
    if changes:
        (<Changes>changes[0]).table.store.catch_up()
    for one in changes:  # no Python runs here, so no write and no flush comes between two tables
        one.cut()
    return [one for one in changes if not one.table.dropped]


cdef class Changes:
    """A table with a transaction's own writes on top. One thread uses it at a time.

    At first it is live: it shows the row of a key as it is when it is first asked for. From ``cut`` on it shows the
    table as it was then. Either way it remembers what it has shown, and nothing of it is in the log until
    ``Store._commit_checked`` gets its ``operations`` and ``digests``.
    """

    def __init__(self, TableStore table):
        self.table = table
        self.codec = table.codec
        self.own = make_shared[MemoryTable]()
        self.stale = True
        self.live = True

    @property
    def changed(self):
        """How many keys have been written or removed."""
        return self.own.get().size()

    @property
    def columns(self):
        """The digest of the columns that it shows and writes: ``RowCodec.digest``."""
        return self.codec.digest

    @property
    def schema(self):
        """The columns that it shows and writes, as a ``Schema``."""
        return self.codec.python_schema

    cdef int cut(self) except -1:
        """From now on it shows what the table holds now. Runs no Python."""
        self.table.cut(&self.base)
        self.codec = self.table.codec
        self.live = False
        self.stale = True
        return 0

    cdef bint find(self, const string& key, const uint8_t** value, int* segment, int64_t* row) except -1:
        cdef uint64_t hash = KeyHash(key.data(), key.size())
        cdef const MemoryEntry* entry = self.own.get().Find(hash, <const uint8_t*>key.data(), key.size())
        cdef uint64_t digest
        if entry != NULL:
            value[0] = entry.operation.value()
            return not entry.operation.removal()
        if self.live:
            self.table.now(&self.base)
            if self.codec is not self.table.codec:
                raise TransactionConflictError(f"table {self.codec.table} has got other columns", table=self.codec.table)
            check(self.base.Digest(<const uint8_t*>key.data(), key.size(), &digest))
            self.seen.insert(pair[string, uint64_t](key, digest))  # what it has seen first counts
        check(self.base.Find(hash, <const uint8_t*>key.data(), key.size(), value, segment, row))
        return value[0] != NULL or segment[0] >= 0

    def get(self, key, default=None):
        """The value under ``key``, as ``TableStore.get`` gives it."""
        cdef string encoded
        cdef const uint8_t* value = NULL
        cdef int segment = 0
        cdef int64_t row = 0
        cdef RowCodec codec = self.codec
        codec.encode_key(key, encoded)
        if not self.find(encoded, &value, &segment, &row):
            return default
        if value != NULL:
            return codec.decode_value(value)
        return codec.decode_row(self.base.snapshot.get().columns(segment), row)

    cdef int take(self, shared_ptr[string]& operations) except -1:
        """Takes over operations, all of them."""
        cdef OperationWalk walk = OperationWalk(operations.get().data(), operations.get().size())
        if walk.AtEnd():
            return 0
        self.stale = True
        self.own.get().KeepText(<shared_ptr[const string]>operations)
        self.own.get().PutRun(&walk)
        return 0

    def save(self):
        """Remembers what was changed so far, for ``restore``."""
        self.saved = make_shared[MemoryTable](self.own.get()[0])

    def restore(self):
        """Forgets what was changed since ``save``."""
        self.own = self.saved
        self.saved.reset()
        self.stale = True

    def put_all(self, rows, str on_duplicate="replace"):
        """Writes (key, value) pairs; ``on_duplicate`` as of ``Table.load``.

        Returns how many it wrote. Raises as ``TableStore.put_all`` and ``insert_all``; then nothing has changed.
        """
        cdef shared_ptr[string] out = make_shared[string]()
        cdef OperationBuilder builder
        cdef string encoded
        cdef RowCodec codec = self.codec
        cdef size_t start
        cdef int count = 0
        seen = set()
        for key, value in rows:
            start = out.get().size()
            builder = OperationBuilder(out.get())
            codec.encode_key(key, out.get()[0])
            builder.EndKey()
            encoded = builder.key()
            if not self.takes(encoded, seen, on_duplicate):
                out.get().resize(start)
                continue
            codec.encode_value(value, out.get()[0])
            self.table.end_put(builder)
            count += 1
        self.take(out)
        return count

    cdef bint takes(self, const string& encoded, set seen, str on_duplicate) except -1:
        """Whether a row is to be written under a key, after those of the keys that were ``seen``."""
        cdef const uint8_t* value = NULL
        cdef int segment = 0
        cdef int64_t row = 0
        cdef bytes key
        cdef bint twice
        cdef RowCodec codec
        if on_duplicate == "replace":
            return True
        key = encoded
        twice = key in seen
        if twice or self.find(encoded, &value, &segment, &row):
            if on_duplicate == "ignore":
                return False
            codec = self.codec
            raise self.table.duplicate(codec.decode_key(<const uint8_t*>encoded.data()), twice)
        seen.add(key)
        return True

    def remove_all(self, keys):
        """Removes the rows under these keys. Returns how many there were."""
        cdef shared_ptr[string] out = make_shared[string]()
        cdef string encoded
        cdef const uint8_t* value = NULL
        cdef int segment = 0
        cdef int64_t row = 0
        cdef RowCodec codec = self.codec
        cdef int count = 0
        seen = set()
        for key in keys:
            encoded.clear()
            codec.encode_key(key, encoded)
            if <bytes>encoded not in seen and self.find(encoded, &value, &segment, &row):
                seen.add(<bytes>encoded)
                AppendRemoval(self.table.table_id, encoded, out.get())
                count += 1
        self.take(out)
        return count

    def put_batches(self, list batches, str on_duplicate="replace"):
        """As ``put_all``, with rows as ``Edit.add_batches`` takes them."""
        cdef shared_ptr[string] all = make_shared[string]()
        cdef int count = row_operations.append_batches(self.codec, self.table.table_id, batches, all.get())
        return self.take_puts(all, count, on_duplicate)

    def put_operations(self, bytes operations not None, str on_duplicate="replace"):
        """As ``put_all``, with operations that another process has encoded; every byte of them is checked first.

        Raises:
            SchemaError: they are no puts of rows of this table and these columns. Then nothing has changed.
        """
        cdef shared_ptr[string] all = make_shared[string](PyBytes_AS_STRING(operations), PyBytes_GET_SIZE(operations))
        cdef RowCodec codec = self.codec
        cdef OperationChecker checker = OperationChecker(
            all.get().data(), all.get().size(), self.table.table_id, False, <string>codec.table.encode()
        )
        cdef Operation operation
        cdef int count = 0
        while checker.Next(&operation):
            check(CheckOperation(codec.schema, operation))
            count += 1
        check(checker.status())
        return self.take_puts(all, count, on_duplicate)

    cdef int take_puts(self, shared_ptr[string]& all, int count, str on_duplicate) except -1:
        """Takes over puts, ``count`` of them, or those that ``on_duplicate`` leaves. Returns how many."""
        cdef shared_ptr[string] out
        cdef OperationWalk walk
        cdef Operation operation
        cdef string encoded
        if on_duplicate == "replace":
            self.take(all)
            return count
        out = make_shared[string]()
        count = 0
        seen = set()
        walk = OperationWalk(all.get().data(), all.get().size())
        while not walk.AtEnd():
            operation = walk.operation()
            encoded.assign(<const char*>operation.key(), operation.key_bytes())
            if self.takes(encoded, seen, on_duplicate):
                out.get().append(<const char*>operation.bytes(), operation.all_bytes())
                count += 1
            walk.Next()
        self.take(out)
        return count

    def _change_rows(self, RowChanges changes not None):
        """Writes rows of a version anew, or removes them; ``snapshot`` has given it, and nothing was written since.

        Raises SchemaError where a row is too large; then nothing has changed.
        """
        cdef shared_ptr[string] out = make_shared[string]()
        check(AppendOperations(changes.it, self.table.table_id, out.get()))
        self.take(out)

    def snapshot(self, str folder):
        """A version of the table that holds all that the transaction sees, its own writes too, as a ``Snapshot``.

        ``folder`` is an empty one for files that nobody needs any more when this returns.
        """
        cdef shared_ptr[const TableSnapshot] fresh
        cdef Status status
        cdef TableCut all
        cdef string path = os.fsencode(folder)
        cdef int threads = self.table.store.threads
        if self.stale:
            if not self.base.memory.empty():  # once: later it lies in the version
                with nogil:
                    status = self.base.Preview(path, threads, &fresh)
                check(status)
                self.base.snapshot = fresh
                self.base.memory.clear()
                self.previewed = True  # and so it is no version of the table
            all.snapshot = self.base.snapshot
            if self.own.get().size():
                all.memory.push_back(<shared_ptr[const MemoryTable]>self.own)
            with nogil:
                status = all.Preview(path, threads, &fresh)
            check(status)
            self.shown = fresh
            self.stale = False
        return wrap_snapshot(self.shown, self.codec.python_schema)

    def write(self, str folder):
        """Writes what it shows as files, after ``cut`` and with nothing changed in it.

        ``folder`` is an empty one: it gets the manifest, and the segments and deletions that the table's folder has not.
        """
        cdef Status status
        cdef string path = os.fsencode(folder)
        cdef int threads = self.table.store.threads
        with nogil:
            status = self.base.Write(path, threads)
        check(status)

    def count(self):
        """How many rows the transaction sees, which takes a look at each of its own writes and of those in memory."""
        cdef TableCut all = self.base
        cdef int64_t rows = 0
        cdef Status status
        if self.own.get().size():
            all.memory.insert(all.memory.begin(), <shared_ptr[const MemoryTable]>self.own)
        with nogil:
            status = all.Count(&rows)
        check(status)
        return rows

    @property
    def version(self):
        """The version of the table that it shows, if that is all it shows; else 0."""
        if self.live or self.previewed or not self.base.memory.empty() or self.own.get().size():
            return 0
        return self.base.snapshot.get().manifest().version

    @property
    def untouched(self):
        """Whether the transaction has read one moment of the table and written nothing to it."""
        return not self.live and self.own.get().size() == 0

    @property
    def plain(self):
        """Whether all that the transaction sees is in segments already, so that ``snapshot`` writes no files."""
        return not self.stale or (self.base.memory.empty() and self.own.get().size() == 0)

    def operations(self):
        """What was written, in the log's bytes, and a digest for each operation of what had been there before."""
        cdef string out
        cdef vector[uint64_t] digests
        cdef vector[MemoryEntry] entries = self.own.get().Sorted()
        cdef uint64_t digest
        cdef Operation operation
        cdef size_t i
        cdef string key
        if self.live:
            self.table.now(&self.base)
        for i in range(entries.size()):
            operation = entries[i].operation
            key.assign(<const char*>operation.key(), operation.key_bytes())
            if self.seen.count(key):
                digest = self.seen[key]
            else:
                check(self.base.Digest(operation.key(), operation.key_bytes(), &digest))
            if digest == 0 and operation.removal():
                continue  # its own row, removed again
            out.append(<const char*>operation.bytes(), operation.all_bytes())
            digests.push_back(digest)
        return (
            PyBytes_FromStringAndSize(out.data(), out.size()),
            PyBytes_FromStringAndSize(<const char*>digests.data(), 8 * digests.size()),
        )
