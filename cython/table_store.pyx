"""The rows of one table by key, in the process that has the grid open.

Who may do what: see ``store``.
"""
from itertools import islice

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libcpp.memory cimport shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core, row_operations
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec
from gridflow._native.status cimport check
from gridflow._native.table_versions cimport TableVersions, check_readable

from gridflow.errors import SchemaError

core.process_state = shared_state()

#: What ``commit_encoded`` may do with operations, in the order of gf_ring_mode.
COMMIT_MODES = ("put", "put_if_absent", "replace", "remove", "insert")
assert len(COMMIT_MODES) == GF_RING_MODES

cdef extern from *:
    """
    static bool IsPartial(const gridflow::TableSnapshot& snapshot) {
      for (const gridflow::SegmentRef& ref : snapshot.segments())
        if (ref.segment->partial()) return true;
      return false;
    }
    """
    cbool IsPartial(const TableSnapshot&)


cdef int await_rows(TableStore table, const uint64_t* hashes, const string* keys, size_t count) except -1:
    """In a mirror: has the blocks come that searches for these keys look at, so that they need not wait afterwards.

    To wait takes long, and who brings blocks needs the interpreter: so others run meanwhile, and may have changed the
    table.
    """
    cdef shared_ptr[const TableSnapshot] snapshot
    cdef Status status
    cdef int segments[TOGETHER]
    cdef int64_t rows[TOGETHER]
    while snapshot.get() != table.current.get():
        snapshot = table.current
        with nogil:
            status = snapshot.get().FindTogether(hashes, keys, count, segments, rows)
        check(status)
    return 0


cdef enum:
    ABSENT = 0
    IN_MEMORY = 1
    IN_SEGMENT = 2
    TOGETHER = 32  # keys that are looked up at a time: TableSnapshot::kTogether
    USUAL_BYTES = 240  # of one row's operation: else a string that is gone at once would grow column by column


cdef class TableStore(TableVersions):
    """The rows of one table: key look-up and writes. ``gridflow.Table`` is built on it. It has no state of its own."""

    cdef int same_columns(self, RowCodec codec) except -1:
        """Raises if what was encoded by ``codec`` is not of this table's columns any more."""
        if codec is not self.codec:
            raise SchemaError(
                f"table {self.codec.table} has got other columns while the rows were on their way: nothing was written, "
                "try again",
                table=self.codec.table,
            )
        return 0

    cdef int begin_write(self, uint64_t payload, bint frees) except -1:
        """As ``writable``, for a write by key; raises too if it would be past a transaction that is open where it is made.
        """
        guard = self.store.guard
        if guard is not None:
            guard(f"table {self.codec.table}")
        return self.writable(payload, frees)

    cdef int commit(self, string& payload, bint frees=False) except -1:
        """Makes operations of this table durable and visible: one commit."""
        self.store.commit(payload, frees, self)
        return self.flush_if_behind()

    cdef int lookup(self, uint64_t hash, const string& key, const uint8_t** value, int* segment,
                    int64_t* row) except -1:
        cdef const MemoryEntry* entry
        cdef const uint8_t* bytes = <const uint8_t*>key.data()
        check_readable(self)
        entry = self.active.get().Find(hash, bytes, key.size())
        if entry == NULL and self.frozen.get() != NULL:
            entry = self.frozen.get().Find(hash, bytes, key.size())
        if entry != NULL:
            if entry.operation.removal():
                return ABSENT
            value[0] = entry.operation.value()
            return IN_MEMORY
        if IsPartial(self.current.get()[0]):
            await_rows(self, &hash, &key, 1)
        check(self.current.get().Find(hash, bytes, key.size(), segment, row))
        return IN_SEGMENT if segment[0] >= 0 else ABSENT

    cdef bint has(self, const string& key) except -1:
        cdef const uint8_t* value
        cdef int segment
        cdef int64_t row
        return self.lookup(KeyHash(key.data(), key.size()), key, &value, &segment, &row) != ABSENT

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

    cdef int append_put(self, RowCodec codec, object key, object value, string& out, string* encoded_key) except -1:
        """Appends the operation that puts a row, encoded by ``codec``; ``encoded_key``, unless null, gets the key."""
        return row_operations.append_put(codec, self.table_id, key, value, out, encoded_key)

    cdef int append_values(
        self, RowCodec codec, tuple places, tuple fixed, object values, string& out, string* encoded_key
    ) except -1:
        """As ``append_put``, of values by their place; see ``insert_values``."""
        cdef OperationBuilder builder = OperationBuilder(&out)
        cdef Py_ssize_t i, place
        cdef list row = []
        for i in range(1, len(places)):
            place = places[i]
            row.append(fixed[i] if place < 0 else values[place])
        codec.encode_key(values[<Py_ssize_t>places[0]], out)
        builder.EndKey()
        if encoded_key != NULL:
            encoded_key[0] = builder.key()
        codec.encode_values(tuple(row), out)
        return self.end_put(builder)

    cdef int end_put(self, OperationBuilder& builder) except -1:
        return row_operations.end_put(self.codec, self.table_id, builder)

    # ---- writes ----

    def put(self, key, value):
        """Writes the row under ``key``, whether there was one or not, and nothing of that stays. One commit.

        ``update`` changes some columns of a row and leaves the others as they are.

        Args:
            key: the key's value; a tuple for a key of several columns.
            value: a dict of the other columns, or the plain value of a ``_VAL`` column. A column that the dict does not
                name has its DEFAULT, which is null where nothing else was said; one that is None is null.

        Raises:
            SchemaError: the key or a value does not fit its column; nothing is written.
            ColumnNotFoundError: the value names a column that the table has not.
            GridFullError: there is no room; nothing is written.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
        ...     table.put(1, {"NAME": "one"})
        ...     table.get(1)
        {'NAME': 'one'}
        """
        cdef string out
        cdef RowCodec codec = self.codec
        out.reserve(USUAL_BYTES)
        self.append_put(codec, key, value, out, NULL)
        self.begin_write(out.size(), False)
        self.same_columns(codec)
        self.commit(out)

    def put_all(self, rows):
        """Writes many rows, a mapping or an iterable of (key, value), in one commit: all or none. They replace others.

        Raises:
            SchemaError, ColumnNotFoundError, GridFullError: as ``put``; nothing is written.
        """
        cdef string out
        cdef RowCodec codec = self.codec
        pairs = rows.items() if hasattr(rows, "items") else rows
        for key, value in pairs:
            self.append_put(codec, key, value, out, NULL)
        self.begin_write(out.size(), False)
        self.same_columns(codec)
        if out.size():
            self.commit(out)

    def insert_all(self, rows):
        """Writes many rows in one commit, or none if one of the keys is there already or twice among them.

        Raises:
            DuplicateKeyError: names the key; nothing is written.
            SchemaError, ColumnNotFoundError, GridFullError: as ``put``; nothing is written.
        """
        cdef string out, encoded
        cdef vector[string] keys
        cdef size_t i
        cdef RowCodec codec = self.codec
        pairs = rows.items() if hasattr(rows, "items") else rows
        names = []
        for key, value in pairs:
            self.append_put(codec, key, value, out, &encoded)
            keys.push_back(encoded)
            names.append(key)
        self.begin_write(out.size(), False)
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

    def put_if_absent(self, key, value, RowCodec codec=None):
        """Writes the row unless there is one under ``key``. Returns whether it wrote.

        With ``codec`` only if that is still the table's: else it has got other columns since somebody looked.

        Raises:
            SchemaError, ColumnNotFoundError, GridFullError: as ``put``.
        """
        if codec is not None:
            self.same_columns(codec)
        return self._conditional(key, value, False)

    def _insert_values(self, RowCodec codec not None, tuple places not None, tuple fixed not None, values not None):
        """As ``put_if_absent``, for a statement that comes again and again: of values by their place.

        Args:
            codec: must still be the table's.
            places: of the key, of one column, and then of each other column: its place in ``values``; -1: it is fixed.
            fixed: the values of the fixed columns, at the same places; anything at others.
            values: a tuple or list.
        """
        cdef string out, encoded
        self.same_columns(codec)
        out.reserve(USUAL_BYTES)
        self.append_values(codec, places, fixed, values, out, &encoded)
        self.begin_write(out.size(), False)
        self.same_columns(codec)
        if self.has(encoded):
            return False
        self.commit(out)
        return True

    def replace(self, key, value):
        """Writes the row only if there is one under ``key``. Returns whether it wrote.

        Raises:
            SchemaError, ColumnNotFoundError, GridFullError: as ``put``.
        """
        return self._conditional(key, value, True)

    def _conditional(self, key, value, bint wanted):
        cdef string out, encoded
        cdef RowCodec codec = self.codec
        out.reserve(USUAL_BYTES)
        self.append_put(codec, key, value, out, &encoded)
        self.begin_write(out.size(), False)
        self.same_columns(codec)
        if self.has(encoded) != wanted:
            return False
        self.commit(out)
        return True

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
        cdef vector[string] encoded_keys
        cdef size_t i, bytes_of_all = 0
        cdef RowCodec codec
        seen = set()
        for key in keys:
            encoded.clear()
            codec = self.codec
            codec.encode_key(key, encoded)
            if <bytes>encoded not in seen:
                seen.add(<bytes>encoded)
                encoded_keys.push_back(encoded)
                bytes_of_all += OPERATION_HEADER_BYTES + encoded.size()
        self.begin_write(bytes_of_all, True)
        count = 0
        for i in range(encoded_keys.size()):
            if self.has(encoded_keys[i]):
                AppendRemoval(self.table_id, encoded_keys[i], &out)
                count += 1
        if count:
            self.commit(out, True)
        return count

    # ---- reads ----

    def get(self, key, default=None, *, version=None):
        """The value under ``key``: a dict of the columns not in the key, or the plain value of a ``_VAL`` column.

        Returns ``default`` if there is no row. Tensors come as fresh numpy arrays. With ``version``, a tag or the number
        of a version that is kept, the value that there was then.

        Raises:
            SchemaError: the key does not fit the key columns.
            VersionNotFoundError: there is no such tag, or the version is not kept.
        """
        if version is not None:
            return self.past(version).get_all((key,)).get(key, default)
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

    def get_all(self, keys, *, version=None):
        """The values under these keys, as a dict in their order; keys without a row are left out.

        With ``version``, a tag or the number of a version that is kept, those that there were then.

        Raises:
            SchemaError: a key does not fit the key columns.
            VersionNotFoundError: there is no such tag, or the version is not kept.
        """
        if version is not None:
            return self.past(version).get_all(keys)
        result = {}
        keys = iter(keys)
        while batch := list(islice(keys, TOGETHER)):
            while not self.get_together(batch, result):
                pass
        return result

    cdef bint get_together(self, list batch, dict result) except -1:
        """Adds the values under a few keys; does nothing, and is False, if the table got other columns meanwhile."""
        cdef string encoded[TOGETHER]
        cdef uint64_t hashes[TOGETHER]
        cdef int segments[TOGETHER]
        cdef int64_t rows[TOGETHER]
        cdef const uint8_t* values[TOGETHER]
        cdef bint removed[TOGETHER]
        cdef const MemoryEntry* entry
        cdef const uint8_t* bytes
        cdef size_t i, count = len(batch)
        cdef RowCodec codec
        cdef shared_ptr[const TableSnapshot] snapshot
        cdef shared_ptr[MemoryTable] active, frozen
        check_readable(self)
        codec = self.codec
        for i in range(count):
            codec.encode_key(batch[i], encoded[i])
            hashes[i] = KeyHash(encoded[i].data(), encoded[i].size())
        if IsPartial(self.current.get()[0]):
            await_rows(self, hashes, encoded, count)
        check_readable(self)  # encoding may have run Python; from here to the end of the search nothing does
        if codec is not self.codec:
            return False
        snapshot, active, frozen = self.current, self.active, self.frozen  # see value_at
        check(snapshot.get().FindTogether(hashes, encoded, count, segments, rows))
        for i in range(count):
            bytes = <const uint8_t*>encoded[i].data()
            entry = active.get().Find(hashes[i], bytes, encoded[i].size())
            if entry == NULL and frozen.get() != NULL:
                entry = frozen.get().Find(hashes[i], bytes, encoded[i].size())
            values[i] = entry.operation.value() if entry != NULL else NULL
            removed[i] = entry != NULL and entry.operation.removal()
        for i in range(count):
            if removed[i]:
                continue
            if values[i] != NULL:
                result[batch[i]] = codec.decode_value(values[i])
            elif segments[i] >= 0:
                result[batch[i]] = codec.decode_row(snapshot.get().columns(segments[i]), rows[i])
        return True

    def _select_values(self, RowCodec codec not None, tuple places not None, key):
        """Some columns of the row under a key, for a statement that comes again and again: a tuple, None if there is none.

        Args:
            codec: of the columns that ``places`` counts; it must still be the table's.
            places: among the columns that are not in the key; -1: the key itself.
            key: of one column.

        Raises:
            SchemaError: the key does not fit, or the table has other columns now.
        """
        cdef string encoded
        cdef const uint8_t* value = NULL
        cdef int segment = 0
        cdef int64_t row = 0
        cdef int where
        cdef Py_ssize_t place
        cdef uint32_t position
        cdef list result = []
        cdef shared_ptr[const TableSnapshot] snapshot
        cdef shared_ptr[MemoryTable] active, frozen
        codec.encode_key(key, encoded)
        where = self.lookup(KeyHash(encoded.data(), encoded.size()), encoded, &value, &segment, &row)
        self.same_columns(codec)  # only now: a reader may have followed the owner to other columns
        if where == ABSENT:
            return None
        if where == IN_SEGMENT:  # see value_at
            snapshot = self.current
            for place in places:
                if place < 0:
                    result.append(key)
                else:
                    position = codec.schema.value[place]
                    result.append(codec.decode_cell(position, &snapshot.get().columns(segment)[position], row))
            return tuple(result)
        active = self.active
        frozen = self.frozen
        values = codec.decode_values(value)
        for place in places:
            result.append(key if place < 0 else values[place])
        return tuple(result)

    def _get_encoded(self, bytes key not None, uint64_t digest):
        """The bytes of the value under an encoded key, which may have come over a wire; None if there is no row.

        Args:
            digest: of the columns that the key was encoded for and the value is wanted of (``RowCodec.digest``).

        Raises:
            SchemaError: the bytes are no key of the table, or it has other columns now.
        """
        cdef string out
        cdef const uint8_t* bytes_of_key = <const uint8_t*>PyBytes_AS_STRING(key)
        cdef size_t size = PyBytes_GET_SIZE(key)
        cdef const MemoryEntry* entry
        cdef uint64_t hash = KeyHash(bytes_of_key, size)
        cdef int segment = -1
        cdef int64_t row = 0
        cdef RowCodec codec
        check_readable(self)
        codec = self.codec
        self.same_columns(codec if digest == codec.digest else None)
        check(CheckKey(codec.schema, bytes_of_key, size))
        entry = self.active.get().Find(hash, bytes_of_key, size)
        if entry == NULL and self.frozen.get() != NULL:
            entry = self.frozen.get().Find(hash, bytes_of_key, size)
        if entry != NULL:
            if entry.operation.removal():
                return None
            size = entry.operation.all_bytes() - OPERATION_HEADER_BYTES - size
            return PyBytes_FromStringAndSize(<const char*>entry.operation.value(), size)
        check(self.current.get().Find(hash, bytes_of_key, size, &segment, &row))
        if segment < 0:
            return None
        check(EncodeValue(codec.schema, self.current.get().columns(segment), row, &out))
        return PyBytes_FromStringAndSize(out.data(), out.size())

    def contains(self, key, *, version=None):
        """Whether there is a row under ``key``; with ``version``, as of ``get``, whether there was one then."""
        if version is not None:
            return bool(self.past(version).get_all((key,)))
        cdef string encoded
        cdef RowCodec codec = self.codec
        codec.encode_key(key, encoded)
        return bool(self.has(encoded))

    # ---- operations from elsewhere, in the log's bytes ----

    def _encode_put(self, key, value):
        """The log's operation that puts this row, as bytes, for ``commit_encoded`` in the owner."""
        cdef string out
        cdef RowCodec codec = self.codec
        out.reserve(USUAL_BYTES)
        self.append_put(codec, key, value, out, NULL)
        return PyBytes_FromStringAndSize(out.data(), out.size())

    def _encode_rows(self, RowCodec codec not None, list batches):
        """The log's operations that put rows of columns, given as ``Edit.add_batches`` takes them, as bytes."""
        cdef string out
        row_operations.append_batches(codec, self.table_id, batches, &out)
        return PyBytes_FromStringAndSize(out.data(), out.size())

    def _encode_remove(self, key):
        """The log's operation that removes this row, as bytes, for ``commit_encoded`` in the owner."""
        cdef string out, encoded
        cdef RowCodec codec = self.codec
        codec.encode_key(key, encoded)
        AppendRemoval(self.table_id, encoded, &out)
        return PyBytes_FromStringAndSize(out.data(), out.size())

    def _commit_encoded(self, bytes operations, str mode, uint64_t digest):
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
        if mode not in COMMIT_MODES:
            raise SchemaError(f"no mode {mode}")
        return self.apply(PyBytes_AS_STRING(operations), PyBytes_GET_SIZE(operations), COMMIT_MODES.index(mode), digest)

    cdef int64_t apply(self, const char* operations, size_t size, int mode, uint64_t digest) except -1:
        """``commit_encoded`` of bytes that nobody changes meanwhile; ``mode`` is one of gf_ring_mode."""
        cdef OperationChecker checker
        cdef Operation operation
        cdef string out, key
        cdef int64_t applied = 0
        cdef bint removes = mode == GF_RING_REMOVE, exists, wanted
        cdef RowCodec codec
        cdef set seen = None
        self.writable(size, removes)
        codec = self.codec
        self.same_columns(codec if digest == codec.digest else None)
        checker = OperationChecker(operations, size, self.table_id, removes, <string>codec.table.encode())
        out.reserve(size)
        if mode != GF_RING_PUT:
            seen = set()
        while checker.Next(&operation):
            check(CheckOperation(codec.schema, operation))
            if mode != GF_RING_PUT:
                key.assign(<const char*>operation.key(), operation.key_bytes())
                exists = self.has(key) and (not removes or <bytes>key not in seen)
                if mode == GF_RING_INSERT and (exists or <bytes>key in seen):
                    raise self.duplicate(codec.decode_key(operation.key()), not exists)
                if mode == GF_RING_PUT_IF_ABSENT:
                    exists = exists or <bytes>key in seen
                wanted = exists == (mode == GF_RING_REPLACE or removes)
                seen.add(<bytes>key)
                if not wanted:
                    continue
            out.append(<const char*>operation.bytes(), operation.all_bytes())
            applied += 1
        check(checker.status())
        if applied:
            self.commit(out, removes)
        return applied
