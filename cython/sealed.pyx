"""Sealed files and manifests as bytes, for who copies them: what they say, other numbers in them, their checksums."""
import os

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp.string cimport string

from gridflow._native cimport core
from gridflow._native.core cimport *
from gridflow._native.process_state cimport shared_state
from gridflow._native.rows cimport RowCodec, schema_from_native
from gridflow._native.status cimport check

core.process_state = shared_state()


cdef class ManifestBytes:
    """What a manifest says.

    Args:
        data: its bytes.
        name: what messages call it.

    Attributes:
        schema: the columns.
        segments: of each segment, oldest first: (segment id, deletions id, rows, deleted rows, bitmap id).

    Raises:
        GridCorruptError, GridVersionError: it is damaged, or of a newer format.
    """

    cdef Manifest it

    def __init__(self, bytes data not None, str name not None):
        check(Manifest.Parse(os.fsencode(name), <const uint8_t*><const char*>data, len(data), &self.it))

    @staticmethod
    def first(RowCodec codec not None, uint32_t partitions):
        """That of a table which has no rows yet, and no number."""
        cdef ManifestBytes result = ManifestBytes.__new__(ManifestBytes)
        result.it.partitions = partitions
        result.it.schema = codec.schema
        return result

    @staticmethod
    def of_schema(bytes schema not None, uint32_t partitions, str name not None):
        """The same, of the columns that ``schema_bytes`` gives.

        Raises:
            GridCorruptError, GridVersionError: they are damaged, or of a newer format.
        """
        cdef ManifestBytes result = ManifestBytes.__new__(ManifestBytes)
        cdef string path = os.fsencode(name)
        result.it.partitions = partitions
        check(Schema.Parse(<const uint8_t*><const char*>schema, len(schema), path, 0, &result.it.schema))
        return result

    @property
    def table_id(self):
        return self.it.table_id

    @property
    def partitions(self):
        return self.it.partitions

    @property
    def version(self):
        return self.it.version

    @property
    def next_file_id(self):
        return self.it.next_file_id

    @property
    def schema(self):
        return schema_from_native(self.it.schema)

    @property
    def schema_bytes(self):
        return <bytes>self.it.schema.Serialize()

    @property
    def segments(self):
        cdef size_t i
        cdef gf_manifest_segment* s
        result = []
        for i in range(self.it.segments.size()):
            s = &self.it.segments[i]
            result.append((s.segment_id, s.deletions_id, s.rows, s.deleted, s.bitmap_id))
        return result

    def files(self):
        """(name, segment id, bitmap id) of each file, those of a segment one after the other, what another needs first.

        The bitmap id is that of a list of deleted rows, else 0.
        """
        cdef size_t i
        cdef gf_manifest_segment* s
        result = []
        for i in range(self.it.segments.size()):
            s = &self.it.segments[i]
            result.append((FileName(s.segment_id, b".seg").decode(), s.segment_id, 0))
            if s.bitmap_id:
                result.append((FileName(s.bitmap_id, b".del").decode(), s.segment_id, 0))
            if s.deletions_id:
                result.append((FileName(s.deletions_id, b".del").decode(), s.segment_id, s.bitmap_id))
        return result

    def renumbered(self, uint32_t table_id, uint64_t version, uint64_t flushed_lsn, uint64_t next_file_id, segments):
        """The bytes of one of the same columns, and of other numbers and segments, which are given as ``segments`` has
        them."""
        cdef Manifest other = self.it
        cdef gf_manifest_segment one
        other.table_id = table_id
        other.version = version
        other.flushed_lsn = flushed_lsn
        other.next_file_id = next_file_id
        other.segments.clear()
        for segment_id, deletions_id, rows, deleted, bitmap_id in segments:
            one.segment_id = segment_id
            one.deletions_id = deletions_id
            one.rows = rows
            one.deleted = deleted
            one.bitmap_id = bitmap_id
            other.segments.push_back(one)
        return <bytes>other.Bytes()


def file_name(uint64_t number, str suffix):
    """The name of a file of a table: its number, and ``.seg`` or ``.del``."""
    return FileName(number, suffix.encode()).decode()


def read_head(bytes data not None, str name not None):
    """What the header of a sealed file says.

    Args:
        data: its first bytes; the checksum is looked at if the header is there to its end.
        name: what messages call it.

    Returns:
        (whether it is a segment, bytes of the header, bytes of the file or 0, rows, table id, segment id, bitmap id,
        the header's checksum, the body's or 0). Of a segment the header has the bytes of the file, and of deletions
        their checksum; a segment's checksum is its last four bytes.

    Raises:
        GridCorruptError, GridVersionError: it is damaged, or of a newer format.
    """
    cdef SealedHead head
    check(SealedHead.Read(os.fsencode(name), <const uint8_t*><const char*>data, len(data), &head))
    return (
        head.is_segment, head.head_bytes, head.file_bytes, head.rows, head.table_id, head.segment_id, head.bitmap_id,
        head.header_crc, head.body_crc,
    )


def renumber_head(bytes head not None, str name not None, uint32_t table_id, uint64_t segment_id, uint64_t bitmap_id):
    """The header of a sealed file with other numbers: as long as it was, and as sound."""
    cdef string out = head
    check(Renumber(os.fsencode(name), table_id, segment_id, bitmap_id, &out))
    return <bytes>out


def check_sealed(const uint8_t[::1] data not None, str name not None):
    """Checks every byte of a sealed file.

    Raises:
        GridCorruptError: says where it is damaged.
    """
    cdef string path = os.fsencode(name)
    cdef const uint8_t* begin = &data[0] if data.shape[0] else NULL
    cdef size_t size = data.shape[0]
    cdef Status status
    with nogil:
        status = CheckSealed(path, begin, size)
    check(status)
