# What the compiled modules use of kernels/core.
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.map cimport map as cmap
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.set cimport set as cset
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector


cdef extern from "core/status.h" namespace "gridflow" nogil:
    cdef enum class Code:
        kOk
        kNotFound
        kGone
        kFull
        kAccess
        kCorrupt
        kVersion
        kInvalid
        kBusy
        kCancelled
        kUnreachable
        kInternal

    cdef cppclass Status:
        Code code
        string message
        string file
        int64_t offset
        cbool ok()


cdef extern from "gridflow/schema_format.h" nogil:
    cdef enum gf_kind:
        GF_BOOL
        GF_INT8
        GF_INT16
        GF_INT32
        GF_INT64
        GF_UINT8
        GF_UINT16
        GF_UINT32
        GF_UINT64
        GF_FLOAT16
        GF_FLOAT32
        GF_FLOAT64
        GF_DECIMAL
        GF_STRING
        GF_BINARY
        GF_DATE
        GF_TIME
        GF_TIMESTAMP
        GF_UUID
        GF_TENSOR
        GF_LIST
        GF_STRUCT
        GF_MAP

    cdef enum gf_unit:
        GF_SECOND
        GF_MILLISECOND
        GF_MICROSECOND
        GF_NANOSECOND


cdef extern from "core/schema.h" namespace "gridflow" nogil:
    cdef cppclass Type:
        gf_kind kind
        cbool nullable
        cbool utc
        gf_kind element
        gf_unit unit
        uint8_t precision
        uint8_t scale
        string name
        vector[int64_t] dims
        vector[Type] children
        int64_t width
        void Finish()

    cdef cppclass Column:
        uint32_t id
        Type type
        string fill
        string default_value

    cdef cppclass Schema:
        vector[Column] columns
        vector[uint32_t] key
        vector[uint32_t] value
        void Finish()
        int Find(const string&)
        string Serialize() const
        @staticmethod
        Status Parse(const uint8_t*, size_t, const string&, int64_t, Schema*) except +


cdef extern from "core/key_hash.h" namespace "gridflow" nogil:
    uint64_t KeyHash(const void*, size_t)
    uint32_t PartitionOf(uint64_t, uint32_t)


cdef extern from "core/column.h" namespace "gridflow" nogil:
    cdef cppclass ColumnView:
        const Type* type
        int64_t length
        const uint8_t* data
        cbool missing() const
        cbool IsNull(int64_t) const
        cbool Bit(int64_t) const
        const uint8_t* Value(int64_t) const

    cbool CheckedRange(const ColumnView&, int64_t, int64_t*, int64_t*)


cdef extern from "core/row_codec.h" namespace "gridflow" nogil:
    Status EncodeCell(const ColumnView&, int64_t, string*) except +
    Status CheckKey(const Schema&, const uint8_t*, size_t) except +
    Status CheckValue(const Schema&, const uint8_t*, size_t) except +
    Status EncodeKey(const Schema&, const vector[ColumnView]&, int64_t, string*) except +
    Status EncodeValue(const Schema&, const vector[ColumnView]&, int64_t, string*) except +
    cdef cppclass RowsBuilder:
        RowsBuilder(const Schema&) except +
        void Append(const uint8_t*, const uint8_t*) except +
        vector[ColumnView] Views() except +
        int64_t rows()


cdef extern from "gridflow/segment_format.h" nogil:
    ctypedef struct gf_deletions_header:
        pass


cdef extern from "core/segment.h" namespace "gridflow" nogil:
    cdef cppclass Segment:
        @staticmethod
        Status Open(const string&, shared_ptr[const Segment]*) except +
        const Schema& schema() const
        int64_t rows() const
        const uint64_t* hashes() const
        uint64_t id() const
        uint64_t bytes() const
        const string& path() const
        const ColumnView& column(int) const
        int FindColumn(uint32_t) const
        Status PartitionRows(uint32_t, uint32_t, uint32_t, int64_t*, int64_t*) const
        Status CheckRows(const ColumnView&, int64_t, int64_t) const
        Status CheckBytes(const void*, uint64_t) const
        Status CheckOffsets(int) const
        Status Verify() const


cdef extern from "core/deletions.h" namespace "gridflow" nogil:
    const uint64_t kListedBytes

    cdef cppclass Deletions:
        cbool Test(int64_t) const
        const uint8_t* bits() const
        int64_t deleted() const


cdef extern from "core/snapshot.h" namespace "gridflow" nogil:
    cdef cppclass SegmentRef:
        shared_ptr[const Segment] segment
        shared_ptr[const Deletions] deletions
        cbool Live(int64_t) const
        int64_t live_rows() const

    uint64_t CURRENT "gridflow::TableSnapshot::kCurrent"

    cdef cppclass TableSnapshot:
        @staticmethod
        Status Open(const string&, uint32_t, uint64_t, shared_ptr[const TableSnapshot]*) except +
        const Manifest& manifest() const
        const Schema& schema() const
        const vector[SegmentRef]& segments() const
        const vector[ColumnView]& columns(int) const
        int64_t live_rows() const
        Status Find(uint64_t, const uint8_t*, size_t, int*, int64_t*) const
        Status FindTogether(const uint64_t*, const string*, size_t, int*, int64_t*) const


cdef extern from "core/row_plan.h" namespace "gridflow" nogil:
    cdef struct Run:
        int segment
        int64_t begin
        int64_t count

    cdef cppclass NativeRowPlan "gridflow::RowPlan":  # a module has a RowPlan of its own
        @staticmethod
        Status Make(shared_ptr[const TableSnapshot], const vector[int64_t]&, shared_ptr[const NativeRowPlan]*) except +
        Status Chosen(const int64_t*, int64_t, shared_ptr[const NativeRowPlan]*) except +
        Status Chosen(const vector[pair[const uint8_t*, size_t]]&, shared_ptr[const NativeRowPlan]*) except +
        void Extents(vector[Run]*) except +
        int64_t rows() const
        const vector[pair[int64_t, int64_t]]& partitions() const
        Status All(vector[Run]*) except +
        void Lying(vector[Run]*) except +
        Status Count(vector[int64_t]*) except +


cdef extern from "gridflow/manifest_format.h" nogil:
    ctypedef struct gf_manifest_segment:
        uint64_t segment_id
        uint64_t deletions_id
        uint64_t rows
        uint64_t deleted
        uint64_t bitmap_id


cdef extern from "core/manifest.h" namespace "gridflow" nogil:
    cdef cppclass Manifest:
        uint32_t table_id
        uint32_t partitions
        uint64_t version
        uint64_t flushed_lsn
        uint64_t next_file_id
        Schema schema
        vector[gf_manifest_segment] segments
        @staticmethod
        Status Read(const string&, Manifest*) except +
        @staticmethod
        Status ReadKept(const string&, uint64_t, Manifest*) except +
        cset[string] Files() except +
        Status Write(const string&, cbool) except +
        @staticmethod
        Status Parse(const string&, const uint8_t*, size_t, Manifest*) except +
        string Bytes() except +

    string FileName(uint64_t, const char*)
    string TableFolder(const string&, uint32_t)


cdef extern from "gridflow/catalog_format.h" nogil:
    cdef enum:
        GF_CHANGE_PUT
        GF_CHANGE_REMOVE
        GF_CHANGE_TAG


cdef extern from "core/catalog.h" namespace "gridflow" nogil:
    cdef cppclass CatalogEntry:
        uint32_t table_id
        string name
        string options
        cmap[string, uint64_t] tags

    cdef cppclass CatalogChange:
        uint64_t version
        uint32_t next_table_id
        uint8_t kind
        CatalogEntry entry
        string tag
        uint64_t tagged

    cdef cppclass Catalog:
        uint32_t next_table_id
        uint64_t version
        vector[CatalogEntry] tables
        uint64_t body_bytes
        uint64_t end
        @staticmethod
        Status Read(const string&, Catalog*) except +
        Status Write(const string&, cbool) except +
        @staticmethod
        Status Append(const string&, const CatalogChange&, cbool, uint64_t*) except +
        const CatalogEntry* Find(const string&) const


cdef extern from "core/operation.h" namespace "gridflow" nogil:
    cdef cppclass Operation:
        const uint8_t* bytes() const
        size_t all_bytes() const
        uint32_t table_id() const
        cbool removal() const
        const uint8_t* key() const
        size_t key_bytes() const
        const uint8_t* value() const

    size_t OPERATION_HEADER_BYTES "gridflow::Operation::kHeaderBytes"

    cdef cppclass OperationWalk:
        OperationWalk()
        OperationWalk(const void*, size_t)
        cbool AtEnd() const
        Operation operation() const
        void Next()

    cdef cppclass OperationChecker:
        OperationChecker()
        OperationChecker(const void*, size_t)
        OperationChecker(const void*, size_t, uint32_t, cbool, string) except +
        cbool Next(Operation*)
        Status status() except +

    cdef cppclass OperationBuilder:
        OperationBuilder()
        OperationBuilder(string*) except +
        void EndKey()
        cbool EndPut(uint32_t)
        string key() except +
        size_t value_bytes() const

    Status CheckOperation(const Schema&, Operation) except +
    void AppendRemoval(uint32_t, const string&, string*) except +


cdef extern from "core/log.h" namespace "gridflow" nogil:
    cdef cppclass LogFile:
        @staticmethod
        Status Create(const string&, uint64_t, uint64_t, cbool, shared_ptr[LogFile]*, uint64_t) except +
        @staticmethod
        uint64_t FirstBytes(uint64_t)
        const string& path() const
        uint64_t first_lsn() const
        uint64_t tail() const
        Status Reserve(uint64_t, cbool*, uint64_t)
        uint64_t Missing(uint64_t, cbool*) const
        const uint8_t* Append(uint64_t, const void*, uint64_t, const void*, uint64_t)

    Status ListLog(const string&, vector[string]*) except +


cdef extern from "core/log_sync.h" namespace "gridflow" nogil:
    cdef cppclass LogSync:
        void Appended(const shared_ptr[LogFile]&, uint64_t, uint64_t, uint64_t) except +
        Status Wait(uint64_t) except +


cdef extern from "core/memory_table.h" namespace "gridflow" nogil:
    cdef cppclass MemoryEntry:
        uint64_t hash
        Operation operation

    cdef cppclass MemoryTable:
        MemoryTable() except +
        void PutRun(OperationWalk*) except +
        void Keep(const shared_ptr[LogFile]&) except +
        void KeepText "Keep"(const shared_ptr[const string]&) except +
        void Absorb(const MemoryTable&) except +
        const MemoryEntry* Find(uint64_t, const uint8_t*, size_t) const
        size_t size() const
        uint64_t bytes() const
        vector[MemoryEntry] Sorted() const


cdef extern from "core/log_replay.h" namespace "gridflow" nogil:
    cdef cppclass ReplayTarget:
        uint64_t flushed_lsn
        const Schema* schema
        MemoryTable* memory
        uint64_t first_lsn

    cdef cppclass LogReplay:
        LogReplay(string, uint64_t)
        Status Run(uint64_t, cbool, cmap[uint32_t, ReplayTarget]*) except +
        Status Tables(cset[uint32_t]*) except +
        uint64_t next_lsn() const


cdef extern from "core/control.h" namespace "gridflow" nogil:
    cdef cppclass ControlPage:
        @staticmethod
        Status Create(const string&, uint64_t, shared_ptr[ControlPage]*)
        @staticmethod
        Status Open(const string&, shared_ptr[ControlPage]*)
        uint64_t generation() const
        uint64_t committed_lsn() const
        uint64_t owner_pid() const
        cbool IsOfThisBoot() const
        uint64_t KnownLsn() const
        void Synced(uint64_t)
        void Bump()
        void Commit(uint64_t)
        void Catalog(uint64_t)
        uint64_t catalog_version() const
        Status CheckCatalog(const string&, uint64_t, uint64_t, uint64_t) const
        void Recovered(uint64_t, uint64_t)
        void Drop(uint64_t)
        Status CheckLogEnd(const string&, uint64_t, uint64_t) const


cdef extern from "core/manifest_invariants.h" namespace "gridflow" nogil:
    Status VerifyManifest(const string&, const Manifest&, const Manifest*) except +


cdef extern from "core/kept_versions.h" namespace "gridflow" nogil:
    cdef cppclass KeptVersions:
        KeptVersions(string, cbool) except +
        Status Take(uint64_t) except +
        void Want(const vector[uint64_t]&, uint64_t) except +
        void Tag(uint64_t) except +
        void Untag(uint64_t) except +
        uint64_t last() const
        Status Keep(const Manifest&) except +
        vector[string] Release(const Manifest&, cset[string]) except +


cdef extern from "core/small_segments.h" namespace "gridflow" nogil:
    const uint64_t kSmallBytes
    const size_t kMostSmall


cdef extern from "core/segment_merge.h" namespace "gridflow" nogil:
    cdef cppclass SegmentMerge:
        SegmentMerge(string, shared_ptr[const TableSnapshot], const vector[int]&, cbool) except +
        Status Run(int, cbool) except +
        cbool CatchUp(const TableSnapshot&) except +
        void Cancel()
        cbool cancelled() const


cdef extern from "core/row_changes.h" namespace "gridflow" nogil:
    cdef cppclass RowRef:
        pass

    cdef cppclass RowOrderView:
        RowOrderView(const RowRef*, size_t)
        size_t size() const

    cdef cppclass NativeRowChanges "gridflow::RowChanges":  # a module may have a RowChanges of its own
        shared_ptr[const TableSnapshot] seen
        RowOrderView rows
        cbool removes
        vector[int] positions
        vector[vector[ColumnView]] sources

    Status AppendOperations(const NativeRowChanges&, uint32_t, string*) except +


cdef extern from "core/segment_load.h" namespace "gridflow" nogil:
    cdef enum class LoadMode:
        kReplace
        kInsert
        kIgnore

    cdef cppclass SegmentLoadFile "gridflow::SegmentLoad::File":
        string path
        cbool sealed

    cdef cppclass SegmentLoad:
        SegmentLoad(string, string, uint32_t, Schema, LoadMode, cbool) except +
        Status Add(const vector[vector[ColumnView]]&, int, int64_t*, string*) except +
        Status CatchUp(const TableSnapshot&) except +
        Status FindSame(const TableSnapshot&, string*) except +
        vector[SegmentLoadFile]& files()
        int64_t ignored() const
        void Cancel()
        cbool cancelled() const


cdef extern from "core/table_edit.h" namespace "gridflow" nogil:
    cdef cppclass TableEdit:
        TableEdit(string, shared_ptr[const TableSnapshot], cbool, int, KeptVersions*) except +
        Status AddMemory(const MemoryTable&) except +
        Status AddRows(const vector[vector[ColumnView]]&, LoadMode, int64_t*, string*) except +
        void FoldSmall(uint64_t)
        void ListDeletions(uint64_t)
        Status Replace(SegmentMerge*, cbool*) except +
        Status Take(SegmentLoad*) except +
        uint64_t added_bytes() const
        uint64_t moved_bytes() const
        uint64_t bitmap_bytes() const
        Status ChangeRows(const NativeRowChanges&, string*) except +
        void SetSchema(const Schema&) except +
        void LetGoOfBase()
        Status Restore(const TableSnapshot&) except +
        void Clear()
        Status Commit(uint64_t, shared_ptr[const TableSnapshot]*) except +
        Status Preview(shared_ptr[const TableSnapshot]*) except +
        const vector[string]& obsolete() const


cdef extern from "core/table_cut.h" namespace "gridflow" nogil:
    cdef cppclass TableCut:
        shared_ptr[const TableSnapshot] snapshot
        vector[shared_ptr[const MemoryTable]] memory
        Status Find(uint64_t, const uint8_t*, size_t, const uint8_t**, int*, int64_t*) const
        Status Digest(const uint8_t*, size_t, uint64_t*) except +
        Status Count(int64_t*) except +
        Status Preview(const string&, int, shared_ptr[const TableSnapshot]*) except +
        Status Write(const string&, int) except +


cdef extern from "core/sealed_bytes.h" namespace "gridflow" nogil:
    cdef cppclass SealedHead:
        cbool is_segment
        uint64_t head_bytes
        uint64_t file_bytes
        uint64_t rows
        uint64_t deleted
        uint32_t table_id
        uint64_t segment_id
        uint64_t bitmap_id
        uint32_t header_crc
        uint32_t body_crc
        @staticmethod
        Status Read(const string&, const uint8_t*, size_t, SealedHead*) except +

    Status Renumber(const string&, uint32_t, uint64_t, uint64_t, string*) except +
    Status CheckSealed(const string&, const uint8_t*, size_t) except +


cdef extern from "core/csv_block.h" namespace "gridflow" nogil:
    cdef cppclass CsvLayout:
        vector[Type] types
        vector[int] columns
        uint8_t delimiter
        int quote
        cbool null_texts

    cdef cppclass CsvBlock:
        @staticmethod
        cbool Reads(const Type&)
        @staticmethod
        cbool Separates(uint8_t)
        @staticmethod
        shared_ptr[const CsvBlock] Read(const CsvLayout&, const uint8_t*, size_t) except +
        int64_t rows() const
        const vector[ColumnView]& columns() const


cdef extern from "core/arrow_c.h" namespace "gridflow" nogil:
    cdef cppclass ArrowArray:
        int64_t length
        int64_t null_count
        void (*release)(ArrowArray*) noexcept nogil

    Status ImportColumn(const Type&, const ArrowArray&, ColumnView*) except +
    void ExportColumn(const ColumnView&, int64_t, int64_t, const shared_ptr[const Segment]&, ArrowArray*) except +
    void ExportColumn(const ColumnView&, int64_t, int64_t, const shared_ptr[const CsvBlock]&, ArrowArray*) except +


cdef extern from "core/mapping.h" namespace "gridflow" nogil:
    cdef cppclass FileMapping "gridflow::Mapping":  # a module may import another Mapping
        @staticmethod
        Status Open(const string&, shared_ptr[const FileMapping]*) except +
        const uint8_t* data() const
        size_t size() const

    Status ReplaceFile(const string&, const void*, size_t, cbool)
    Status CheckRoom(const string&, uint64_t)
    Status SyncFolderOf(const string&)
    Status SyncFileSystemOf(const string&)


cdef extern from "core/checksum.h" namespace "gridflow" nogil:
    uint32_t BlockChecksum(const void*, size_t)


cdef extern from "core/failpoint.h" namespace "gridflow" nogil:
    cdef cppclass Failpoints:
        Status Set(const string&)
        Status Hit(const char*)

    Failpoints& ProcessFailpoints()


cdef extern from "gridflow/ring_format.h" nogil:
    cdef enum:
        GF_RING_COMMIT
        GF_RING_MESSAGE
        GF_RING_DONE
        GF_RING_ELSEWHERE
        GF_RING_ERROR
        GF_RING_PUT
        GF_RING_PUT_IF_ABSENT
        GF_RING_REPLACE
        GF_RING_REMOVE
        GF_RING_INSERT
        GF_RING_MODES

    cdef enum gf_ring_closed:
        GF_RING_OPEN
        GF_RING_STOPPED
        GF_RING_LOST
        GF_RING_REFUSED

    ctypedef struct gf_ring_commit:
        uint32_t table_id
        uint32_t mode
        uint64_t columns


cdef extern from "core/ring_client.h" namespace "gridflow" nogil:
    cdef cppclass RingAnswer:
        uint32_t kind
        uint64_t count
        string bytes

    size_t RING_MOST_BYTES "gridflow::RingClient::kMostBytes"

    cdef cppclass RingClient:
        @staticmethod
        Status Create(const string&, const string&, unique_ptr[RingClient]*) except +
        void Announce()
        cbool Send(uint32_t, const void*, size_t, const void*, size_t, uint64_t*) except +
        cbool Await(uint64_t, int64_t)
        void Take(uint64_t, RingAnswer*) except +
        void Abandon(uint64_t)
        void AwaitRoom(int64_t)
        size_t waiting() const
        uint32_t closed() const
        string reason() except +
        cbool OwnerLives() const
        void Leave()


cdef extern from "core/ring_owner.h" namespace "gridflow" nogil:
    cdef cppclass RingRequest:
        uint32_t kind
        string bytes

    cdef cppclass OwnerRing:
        @staticmethod
        Status Open(const string&, shared_ptr[OwnerRing]*) except +
        Status Next(RingRequest*, cbool*) except +
        void Answer(const RingRequest&, uint32_t, uint64_t, const string&)
        void Close(gf_ring_closed, const string&)
        cbool left() const
        Status Holder(int*) const

    size_t RING_LEAST_ANSWER "gridflow::OwnerRing::kLeastAnswer"

    void DiscardRing(const string&) except +

    cdef cppclass RingSet:
        @staticmethod
        Status Create(const string&, unique_ptr[RingSet]*) except +
        void Add(const shared_ptr[OwnerRing]&) except +
        void Remove(const OwnerRing*) except +
        void Wait() except +
        void Wake()


cdef extern from "core/process_state.h" namespace "gridflow" nogil:
    cdef cppclass ProcessState:
        pass

    ProcessState* process_state
