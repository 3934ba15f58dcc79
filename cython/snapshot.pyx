"""One version of a table, mapped, and its columns as Arrow arrays without a copy."""
import os

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec, schema_from_native
from gridflow._native.status cimport check

core.process_state = shared_state()


cdef Snapshot wrap(shared_ptr[const TableSnapshot] snapshot, object schema):
    cdef Snapshot result = Snapshot.__new__(Snapshot)
    result.it = snapshot
    result.schema = schema if schema is not None else schema_from_native(snapshot.get().schema())
    return result


cdef class Snapshot:
    """A version of a table. Immutable, safe to use from any thread; stays readable when its files are gone."""

    def __init__(self):
        raise TypeError("Snapshot.open(home, table_id)")

    @staticmethod
    def open(str home, uint32_t table_id, uint64_t version=CURRENT):
        """Opens the current version of a table, or a past one that is kept, without asking its owner.

        Raises:
            VersionNotFoundError: the version of that number is not kept.
        """
        cdef shared_ptr[const TableSnapshot] snapshot
        cdef Status status
        cdef string folder = os.fsencode(home)
        with nogil:
            status = TableSnapshot.Open(folder, table_id, version, &snapshot)
        check(status)
        return wrap(snapshot, None)

    @staticmethod
    def adopt(uintptr_t address):
        """The version that C++ holds: ``address`` is that of a ``std::shared_ptr<const TableSnapshot>``.

        Only for what is built together with this module, as the op library is.
        """
        return wrap((<shared_ptr[const TableSnapshot]*>address)[0], None)

    @property
    def version(self):
        return self.it.get().manifest().version

    @property
    def flushed_lsn(self):
        return self.it.get().manifest().flushed_lsn

    @property
    def partitions(self):
        return self.it.get().manifest().partitions

    @property
    def rows(self):
        return self.it.get().live_rows()

    def segments(self):
        """For each segment, oldest first: (id, rows, deleted rows, bytes)."""
        cdef size_t i
        cdef const SegmentRef* ref
        cdef const Segment* segment
        result = []
        for i in range(self.it.get().segments().size()):
            ref = &self.it.get().segments()[i]
            segment = ref.segment.get()
            result.append((segment.id(), segment.rows(), segment.rows() - ref.live_rows(), segment.bytes()))
        return result

    def path(self, int segment):
        """Where the file of a segment is."""
        return os.fsdecode(self.it.get().segments()[segment].segment.get().path())

    def files(self):
        """The names of this version's files, but for the manifest; of compressed copies those that may be there."""
        return {name.decode() for name in self.it.get().manifest().Files()}

    def partition_rows(self, int segment, uint32_t first, uint32_t last):
        """The rows [begin, end) of partitions [first, last) in one segment."""
        cdef int64_t begin, end
        cdef uint32_t partitions = self.it.get().manifest().partitions
        cdef const Segment* it = self.it.get().segments()[segment].segment.get()
        cdef Status status
        with nogil:
            status = it.PartitionRows(first, last, partitions, &begin, &end)
        check(status)
        return begin, end

    def live(self, int segment):
        """Which rows of a segment are not deleted, as bool[rows]; None if all are."""
        cdef const SegmentRef* ref = &self.it.get().segments()[segment]
        cdef const uint8_t[::1] bits
        if ref.deletions.get() == NULL:
            return None
        rows = ref.segment.get().rows()
        bits = <const uint8_t[:(rows + 7) // 8]>ref.deletions.get().bits()
        return np.unpackbits(np.asarray(bits), count=rows, bitorder="little") == 0

    def deletions(self, int segment):
        """(address, bytes) of a segment's deletion bitmap in memory, bit i % 8 of byte i // 8 being set for a row i that is
        deleted; None if no row is. It stays there as long as this object."""
        cdef const SegmentRef* ref = &self.it.get().segments()[segment]
        if ref.deletions.get() == NULL or ref.deletions.get().deleted() == 0:
            return None
        return <uintptr_t>ref.deletions.get().bits(), (ref.segment.get().rows() + 7) // 8

    def still_live(self, int segment, const uint32_t[::1] rows not None):
        """Which of these rows of a segment are not deleted, as bool[len(rows)]; None if no row of it is deleted."""
        cdef const SegmentRef* ref = &self.it.get().segments()[segment]
        cdef int64_t most = ref.segment.get().rows()
        cdef Py_ssize_t i
        if ref.deletions.get() == NULL:
            return None
        result = np.empty(rows.shape[0], np.uint8)
        cdef uint8_t[::1] out = result
        for i in range(rows.shape[0]):
            if rows[i] >= most:
                raise IndexError(f"row {rows[i]} of {most}")
            out[i] = not ref.deletions.get().Test(rows[i])
        return result.view(np.bool_)

    def find(self, const uint8_t[:, ::1] keys not None):
        """The live rows under encoded keys, a row of bytes each: the segment of each, int32[n], -1 where there is none,
        and its row there, int64[n].

        Raises:
            GridCorruptError: what is found, or says that there is nothing, is damaged.
        """
        cdef Py_ssize_t i, count = keys.shape[0], width = keys.shape[1]
        segments, rows = np.empty(count, np.int32), np.empty(count, np.int64)
        if count == 0 or width == 0:  # a pointer to nothing cannot be taken
            segments.fill(-1)
            return segments, rows
        cdef int[::1] segment_of = segments
        cdef int64_t[::1] row_of = rows
        cdef const uint8_t* key = &keys[0, 0]
        cdef int* segment = &segment_of[0]
        cdef int64_t* row = &row_of[0]
        cdef const TableSnapshot* it = self.it.get()
        cdef Status status
        with nogil:
            for i in range(count):
                status = it.Find(KeyHash(key, width), key, width, segment + i, row + i)
                if not status.ok():
                    break
                key += width
        check(status)
        return segments, rows

    def get_all(self, RowCodec codec not None, keys):
        """The values under these keys, as a dict in their order; keys without a row are left out.

        Args:
            codec: of this version's columns.

        Raises:
            SchemaError: a key does not fit the key columns.
        """
        cdef string encoded
        cdef int segment
        cdef int64_t row
        cdef dict result = {}
        cdef const TableSnapshot* it = self.it.get()
        cdef Status status
        for key in keys:
            encoded.clear()
            codec.encode_key(key, encoded)
            with nogil:
                status = it.Find(
                    KeyHash(encoded.data(), encoded.size()), <const uint8_t*>encoded.data(), encoded.size(), &segment, &row
                )
            check(status)
            if segment >= 0:
                result[key] = codec.decode_row(self.it.get().columns(segment), row)
        return result

    def hashes(self, int segment):
        """The key hashes of a segment's rows, uint64[rows], rising: a copy."""
        cdef const Segment* it = self.it.get().segments()[segment].segment.get()
        cdef Status status
        with nogil:
            status = it.CheckBytes(it.hashes(), it.rows() * 8)
        check(status)
        cdef const uint64_t[::1] view = <const uint64_t[:it.rows()]>it.hashes()
        return np.array(view)

    def key(self, int segment, int64_t row):
        """The encoded key of a row, as bytes."""
        cdef string encoded
        cdef const Segment* it = self.it.get().segments()[segment].segment.get()
        cdef const vector[ColumnView]* columns = &self.it.get().columns(segment)
        cdef uint32_t position
        cdef Status status
        for position in self.it.get().schema().key:
            with nogil:
                status = it.CheckRows(columns[0][position], row, row + 1)
            check(status)
        check(EncodeKey(self.it.get().schema(), self.it.get().columns(segment), row, &encoded))
        return <bytes>encoded

    def export(self, int segment, int column, int64_t begin, int64_t end, uintptr_t array):
        """Fills an Arrow C ``ArrowArray`` at address ``array`` with rows [begin, end) of a column: a view.

        Returns whether the segment has the column; if not, nothing is filled. Raises GridCorruptError, naming file
        and offset, where a block that these rows lie in is not what its checksum says.
        """
        cdef const ColumnView* view = &self.it.get().columns(segment)[column]
        cdef shared_ptr[const Segment] segment_file = self.it.get().segments()[segment].segment
        cdef ArrowArray* out = <ArrowArray*>array
        cdef int position
        cdef Status status
        if not 0 <= begin <= end <= segment_file.get().rows():
            raise IndexError(f"rows {begin} to {end}")
        if view.missing():
            return False
        position = segment_file.get().FindColumn(self.it.get().schema().columns[column].id)
        if position >= 0:
            with nogil:
                status = segment_file.get().CheckRows(view[0], begin, end)
                if status.ok():
                    status = segment_file.get().CheckOffsets(position)
            check(status)
        ExportColumn(view[0], begin, end, segment_file, out)
        return True

    def verify_manifest(self, str file, Snapshot later=None):
        """Checks the invariants of this version's manifest, which is ``file``, and those between it and a ``later`` one.

        Raises:
            GridCorruptError: names the invariant that does not hold.
        """
        cdef const Manifest* other = NULL
        if later is not None:
            other = &later.it.get().manifest()
        check(VerifyManifest(os.fsencode(file), self.it.get().manifest(), other))

    def verify(self, int segment):
        """Reads every byte of a segment. Raises GridCorruptError, naming file and offset, at the first damage."""
        cdef shared_ptr[const Segment] segment_file = self.it.get().segments()[segment].segment
        cdef Status status
        with nogil:
            status = segment_file.get().Verify()
        check(status)


cdef class RowPlan:
    """Which rows of a version are read, and in which order, that of their key hashes: a row's place in it is its ordinal.

    ``core/row_plan.h`` alone decides on the order. Immutable, safe to use from any thread.
    """
    cdef shared_ptr[const NativeRowPlan] it
    cdef readonly Snapshot snapshot  # of the same version

    def __init__(self):
        raise TypeError("RowPlan.make(snapshot, partitions)")

    @staticmethod
    def make(Snapshot snapshot not None, partitions):
        """The plan that reads these ranges [first, last) of partitions; a row that several name is read once.

        Raises:
            SchemaError: there are no such partitions.
        """
        cdef shared_ptr[const NativeRowPlan] plan
        cdef vector[int64_t] bounds
        cdef Status status
        for first, last in partitions:
            bounds.push_back(first)
            bounds.push_back(last)
        if bounds.empty():
            bounds.resize(2, 0)  # an empty range: to the plan, no range means all partitions
        with nogil:
            status = NativeRowPlan.Make(snapshot.it, bounds, &plan)
        check(status)
        return wrap_plan(snapshot, plan)

    @staticmethod
    def adopt(Snapshot snapshot not None, uintptr_t address):
        """The plan that C++ holds: ``address`` is that of a ``std::shared_ptr<const RowPlan>`` of that version.

        Only for what is built together with this module, as the op library is.
        """
        return wrap_plan(snapshot, (<shared_ptr[const NativeRowPlan]*>address)[0])

    @property
    def address(self):
        """Where C++ finds it, as ``adopt`` takes it; as long as this is held."""
        return <uintptr_t>&self.it

    @property
    def rows(self):
        """How many rows there are."""
        return self.it.get().rows()

    @property
    def partitions(self):
        """The partitions whose rows they are, as ranges (first, last), in order, without overlaps."""
        return tuple((pair.first, pair.second) for pair in self.it.get().partitions())

    def runs(self):
        """All rows in order, as runs of rows that lie one after the other in a segment: an array of ``RUN``.

        Raises:
            GridCorruptError: the hashes, from which the order follows, are damaged.
        """
        cdef vector[Run] runs
        cdef Status status
        with nogil:
            status = self.it.get().All(&runs)
        check(status)
        return as_array(runs)

    def lying_runs(self):
        """All rows as they lie, segment after segment, an array of ``RUN``: the way in which they are read fastest."""
        cdef vector[Run] runs
        with nogil:
            self.it.get().Lying(&runs)
        return as_array(runs)

    def chosen(self, const int64_t[::1] numbers not None):
        """The plan of some of the rows, in the same order; each row by its place in ``lying_runs()``, rising.

        Raises:
            SchemaError: there is no such row, or the numbers do not rise.
        """
        cdef shared_ptr[const NativeRowPlan] plan
        cdef Status status
        cdef int64_t count = numbers.shape[0]
        cdef const int64_t* data = &numbers[0] if count else NULL
        with nogil:
            status = self.it.get().Chosen(data, count, &plan)
        check(status)
        return wrap_plan(self.snapshot, plan)

    def extents(self):
        """Where the rows lie, an array of ``RUN``, by segment and row: with rows between them that are not the plan's."""
        cdef vector[Run] runs
        with nogil:
            self.it.get().Extents(&runs)
        return as_array(runs)

    def chosen_by_bits(self, list pieces not None):
        """The plan of some of the rows, in the same order, by a bit for each row, lowest first.

        Args:
            pieces: uint8 for each of ``extents()``, from the byte on in which its first row's bit is, counted from the
                segment's first row. Bits of rows that are not the plan's mean nothing.

        Raises:
            SchemaError: there are not so many pieces, or bytes.
        """
        cdef shared_ptr[const NativeRowPlan] plan
        cdef vector[pair[const uint8_t*, size_t]] bits
        cdef pair[const uint8_t*, size_t] one
        cdef const uint8_t[::1] piece
        cdef Status status
        for piece in pieces:
            one.first = &piece[0] if piece.shape[0] else NULL
            one.second = piece.shape[0]
            bits.push_back(one)
        with nogil:
            status = self.it.get().Chosen(bits, &plan)
        check(status)
        return wrap_plan(self.snapshot, plan)

    def partition_rows(self):
        """How many rows each of ``partitions`` has, int64[number of partitions in all ranges]."""
        cdef vector[int64_t] rows
        cdef Status status
        with nogil:
            status = self.it.get().Count(&rows)
        check(status)
        return np.array(rows, np.int64)


cdef as_array(vector[Run]& runs):
    if runs.empty():  # a view of nothing cannot be made
        return np.empty(0, RUN)
    return np.array(<Run[:runs.size()]>runs.data())


cdef RowPlan wrap_plan(Snapshot snapshot, shared_ptr[const NativeRowPlan] plan):
    cdef RowPlan result = RowPlan.__new__(RowPlan)
    result.it = plan
    result.snapshot = snapshot
    return result


#: A run of rows: the index of its segment, its first row there, and how many rows it has.
RUN = np.dtype([("segment", np.int32), ("begin", np.int64), ("count", np.int64)], align=True)
