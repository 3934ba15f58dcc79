"""Bulk loads: rows that become segments beside those who read and write the table."""
import itertools
import os
import threading

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec
from gridflow._native.status cimport check
from gridflow._native.table_versions cimport TableVersions

from gridflow._native.rows import LEFT_OUT
from gridflow.errors import GridEnvironmentError, SchemaError, TransactionConflictError, reworded

core.process_state = shared_state()

cdef enum:
    CATCH_UPS = 3  # with what was written meanwhile, before other writers have to wait

_numbers = itertools.count(1)


cdef class Load:
    """New rows of a table in the making. Others read and write the table meanwhile, and wait only for ``publish``.

    ``with Load(table, on_duplicate, least) as load: load.add_batches(...); load.publish()``. Left without ``publish``, nothing
    has happened. For one thread, but for ``stop``.

    Args:
        table: the table.
        on_duplicate: ``error``, ``replace`` or ``ignore``, as of ``Table.load``.
        least: bytes of rows from which they are written to a file at once; fewer stay in memory until ``publish``.
    """

    cdef TableVersions table
    cdef readonly RowCodec codec  # of the columns that the rows have
    cdef LoadMode mode
    cdef SegmentLoad* it
    cdef RowsBuilder* builder  # rows that were given as dicts and are in no file yet
    cdef list waiting  # the same of those given as arrays
    cdef uint64_t waiting_bytes
    cdef uint64_t least
    cdef object busy  # while ``it`` is used: ``stop`` waits for that to end
    cdef bint stopped
    cdef readonly int64_t rows

    def __cinit__(self, TableVersions table not None, str on_duplicate not None, uint64_t least):
        cdef str name
        self.it = NULL
        self.builder = NULL
        self.table = table
        self.codec = table.codec
        self.mode = LoadMode.kInsert if on_duplicate == "error" else LoadMode.kReplace
        if on_duplicate == "ignore":
            self.mode = LoadMode.kIgnore
        self.waiting = []
        self.least = least
        self.busy = threading.Lock()
        name = f"load-{os.getpid()}-{next(_numbers)}"
        self.it = new SegmentLoad(
            TableFolder(table.store.home, table.table_id), name.encode(), table.table_id, self.codec.schema, self.mode,
            table.store.durable,
        )

    def __dealloc__(self):
        del self.builder
        del self.it

    def __enter__(self):
        self.table.writable(0, False)
        self.table.loads.add(self)
        return self

    def __exit__(self, *exc_info):
        self.table.loads.discard(self)
        self.stop()

    def stop(self):
        """Ends the load, unless it was published: removes what it has written. Any thread."""
        cdef SegmentLoad* it
        self.stopped = True
        if self.it != NULL:
            self.it.Cancel()
        with self.busy:
            it = self.it
            self.it = NULL
            with nogil:
                del it

    cdef int check_going(self) except -1:
        """Raises if the rows cannot be added to the table any more."""
        self.table._check_changeable()
        if self.table.codec is not self.codec:
            raise SchemaError(
                f"table {self.codec.table} has got other columns during the load: nothing was written, try again",
                table=self.codec.table,
            )
        if self.stopped:
            raise GridEnvironmentError(f"table {self.codec.table}: the load was stopped; nothing was written")
        return 0

    def add_batches(self, list batches not None):
        """Adds rows of Arrow arrays.

        Args:
            batches: lists of ``pyarrow.Array``, one for each column of the schema, of exactly its type.

        Raises:
            DuplicateKeyError: with ``error``, a key is there already or twice.
        """
        self.check_going()
        if self.builder != NULL:
            self.write_waiting()
        self.waiting.extend(batches)
        for batch in batches:
            self.rows += len(batch[0])
            for array in batch:
                self.waiting_bytes += array.nbytes
        if self.waiting_bytes >= self.least:
            self.write_waiting()

    def add_rows(self, rows):
        """Adds rows given as dicts of all columns."""
        cdef string key, value
        cdef RowCodec codec = self.codec
        self.check_going()
        if self.waiting:
            self.write_waiting()
        if self.builder == NULL:
            self.builder = new RowsBuilder(codec.schema)
        names = codec.python_schema.key
        for row in rows:
            key.clear()
            value.clear()
            keys = tuple([row[name] if name in row else codec.defaults.get(name) for name in names])
            codec.encode_key(keys[0] if len(names) == 1 else keys, key)
            rest = {name: item for name, item in row.items() if name not in names}
            if codec.plain_value and set(rest) <= {"_VAL"}:
                rest = rest.get("_VAL", LEFT_OUT)
            codec.encode_value(rest, value)
            self.builder.Append(<const uint8_t*>key.data(), <const uint8_t*>value.data())
            self.rows += 1
            self.waiting_bytes += key.size() + value.size()
        if self.waiting_bytes >= self.least:
            self.write_waiting()

    cdef int write_waiting(self) except -1:
        """Writes the rows that wait to a file."""
        cdef Waiting waiting = Waiting(self)
        cdef int64_t rows = 0
        cdef string duplicate
        cdef Status status
        cdef int threads = self.table.store.threads
        with self.busy:
            self.check_going()
            with nogil:
                status = self.it.Add(waiting.sources, threads, &rows, &duplicate)
        self.finish(waiting, rows, status, duplicate)
        self.catch_up()
        self.table.store.check_room(0)  # what the others need, too
        return 0

    cdef int catch_up(self) except -1:
        """Compares what was written with the table's current version. Raises if a key is there that is to be new."""
        cdef shared_ptr[const TableSnapshot] current = self.table.current
        cdef TableCut now
        cdef const uint8_t* value = NULL
        cdef int segment = -1
        cdef int64_t row = -1
        cdef string same
        cdef Status status
        with self.busy:
            self.check_going()
            with nogil:
                status = self.it.CatchUp(current.get()[0])
                if status.ok() and self.mode == LoadMode.kInsert:
                    status = self.it.FindSame(current.get()[0], &same)
                current.reset()  # it may be the last that holds a past version: to let go of much memory takes long
        if not status.ok():
            self.check_going()  # what it says of a load that was ended is of no interest
        check(status)
        if not same.empty():
            self.table.now(&now)  # in which it may be removed
            check(now.Find(KeyHash(same.data(), same.size()), <const uint8_t*>same.data(), same.size(), &value, &segment, &row))
            if value != NULL or segment >= 0:
                raise self.duplicate(same)
        return 0

    cdef object duplicate(self, const string& key):
        return self.table.duplicate(self.codec.decode_key(<const uint8_t*>key.data()), False)

    cdef int finish(self, Waiting waiting, int64_t rows, const Status& status, const string& duplicate) except -1:
        """After the rows that waited were taken, or not."""
        given = waiting.count()
        waiting.end()
        if not duplicate.empty():
            raise self.duplicate(duplicate)
        if not status.ok():
            self.check_going()  # what it says of a load that was ended is of no interest
        check(status)
        self.rows -= given - rows
        return 0

    def publish(self, version=None):
        """Makes the rows part of the table.

        Args:
            version: if given, only if that is still the table's.

        Raises:
            DuplicateKeyError: with ``error``, a key is there already or twice.
            TransactionConflictError: it is not the table's version any more.
            SchemaError: the table has other columns now.
        """
        cdef TableVersions table = self.table
        cdef TableEdit* edit = NULL
        cdef Waiting waiting = Waiting(self)
        cdef const TableSnapshot* seen = NULL
        cdef shared_ptr[const TableSnapshot] current, fresh
        cdef int64_t rows = 0
        cdef string duplicate
        cdef Status status
        cdef uint64_t lsn
        for _ in range(CATCH_UPS):
            if seen == table.current.get():
                break
            seen = table.current.get()
            self.catch_up()
        edit = table.begin_edit()
        try:
            with self.busy:
                self.check_going()
                if version is not None and table.current.get().manifest().version != version:
                    raise TransactionConflictError(
                        f"table {self.codec.table} was written since the statement read it", table=self.codec.table
                    )
                current = table.current
                with nogil:
                    status = self.it.CatchUp(current.get()[0])
                    if status.ok() and self.mode == LoadMode.kInsert:
                        status = self.it.FindSame(current.get()[0], &duplicate)
                    if status.ok() and duplicate.empty():
                        status = edit.Take(self.it)
                    if status.ok() and duplicate.empty() and waiting.sources.size():
                        status = edit.AddRows(waiting.sources, self.mode, &rows, &duplicate)
                self.rows -= self.it.ignored()
            self.finish(waiting, rows, status, duplicate)
            if self.rows:
                # All that the log has of this table is in segments since the edit began, and its writers are kept out.
                lsn = table.store.next_lsn - 1
                table.store.check_room(0)
                table.check_open()
                with nogil:
                    status = edit.Commit(lsn, &fresh)
                table.publish(edit, fresh, None, False)
                check(status)
        finally:
            current.reset()
            table.end_edit(edit)


cdef class Waiting:
    """The rows of a load that are in no file yet, as columns; they do not wait any more."""

    cdef vector[vector[ColumnView]] sources
    cdef vector[ArrowArray] arrays
    cdef RowsBuilder* builder
    cdef list batches

    def __cinit__(self, Load load not None):
        cdef size_t i, j, done = 0, columns = load.codec.schema.columns.size()
        self.builder = load.builder
        load.builder = NULL
        self.batches, load.waiting = load.waiting, []
        load.waiting_bytes = 0
        if self.builder != NULL:
            self.sources.push_back(self.builder.Views())
            return
        self.arrays.resize(len(self.batches) * columns)
        for i in range(self.arrays.size()):
            self.arrays[i].release = NULL
        self.sources.resize(len(self.batches))
        for i in range(self.sources.size()):
            self.sources[i].resize(columns)
            for j in range(columns):
                self.batches[i][j]._export_to_c(<uintptr_t>&self.arrays[done])
                done += 1
                try:
                    check(ImportColumn(load.codec.schema.columns[j].type, self.arrays[done - 1], &self.sources[i][j]))
                except SchemaError as error:
                    raise reworded(error, f"table {load.codec.table}, {error}", **load.codec.place(j)) from None

    def __dealloc__(self):
        self.end()

    cdef int64_t count(self):
        if self.builder != NULL:
            return self.builder.rows()
        return sum(len(batch[0]) for batch in self.batches)

    cdef int end(self) except -1:
        """Lets go of the columns."""
        cdef size_t i
        for i in range(self.arrays.size()):
            if self.arrays[i].release != NULL:
                self.arrays[i].release(&self.arrays[i])
        self.arrays.clear()
        self.sources.clear()
        del self.builder
        self.builder = NULL
        self.batches = []
        return 0
