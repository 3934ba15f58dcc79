"""The constants and structs of the persistent formats that Python reads and writes itself, as the C headers have them.

A struct is a numpy dtype: ``np.zeros(1, INDEX_HEADER)`` is a header of zeros, its fields have the names of the C ones.
"""
import numpy as np

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "gridflow/segment_format.h":
    const uint32_t GF_BUFFER_ALIGNMENT
    ctypedef struct gf_buffer:
        uint64_t offset
        uint64_t bytes


cdef extern from "gridflow/index_format.h":
    const uint64_t GF_INDEX_MAGIC
    const uint32_t GF_INDEX_VERSION
    const uint32_t GF_INDEX_BUFFERS_PER_COLUMN
    ctypedef struct gf_index_header:
        uint64_t magic
        uint32_t version
        uint32_t checksum
        uint64_t file_bytes
        uint64_t segment_id
        uint64_t rows
        uint32_t table_id
        uint32_t index_id
        uint32_t buffer_count
        uint32_t about_bytes
        uint64_t reserved


cdef extern from "gridflow/compressed_format.h":
    const uint64_t GF_COMPRESSED_MAGIC
    const uint32_t GF_COMPRESSED_VERSION
    const uint32_t GF_COMPRESSED_ALIGNMENT
    const uint32_t GF_COMPRESSED_BLOCK_BYTES
    ctypedef struct gf_compressed_header:
        uint64_t magic
        uint32_t version
        uint32_t header_crc
        uint64_t file_bytes
        uint64_t segment_id
        uint64_t rows
        uint32_t table_id
        uint32_t column_count
        uint32_t block_bytes
        uint32_t reserved[3]
    ctypedef struct gf_compressed_column:
        uint32_t column_id
        uint32_t checksum
        uint64_t raw_bytes
        uint64_t offset
        uint64_t data_bytes


cdef extern from "gridflow/zones_format.h":
    const uint64_t GF_ZONES_MAGIC
    const uint32_t GF_ZONES_VERSION
    const uint32_t GF_ZONE_ROWS
    ctypedef struct gf_zones_header:
        uint64_t magic
        uint32_t version
        uint32_t checksum
        uint64_t file_bytes
        uint64_t segment_id
        uint64_t rows
        uint32_t table_id
        uint32_t zone_rows
        uint32_t column_count
        uint32_t reserved[3]
    ctypedef struct gf_zones_column:
        uint32_t column_id
        uint32_t reserved
        uint64_t offset


cdef gf_buffer buffer
cdef gf_index_header index_header
cdef gf_compressed_header compressed_header
cdef gf_compressed_column compressed_column
cdef gf_zones_header zones_header
cdef gf_zones_column zones_column

# The compiler says where each field is, through the format of a view of the struct.
BUFFER = np.asarray(<gf_buffer[:1]>&buffer).dtype
BUFFER_ALIGNMENT = GF_BUFFER_ALIGNMENT

INDEX_HEADER = np.asarray(<gf_index_header[:1]>&index_header).dtype
INDEX_MAGIC = GF_INDEX_MAGIC
INDEX_VERSION = GF_INDEX_VERSION
INDEX_BUFFERS_PER_COLUMN = GF_INDEX_BUFFERS_PER_COLUMN

COMPRESSED_HEADER = np.asarray(<gf_compressed_header[:1]>&compressed_header).dtype
COMPRESSED_COLUMN = np.asarray(<gf_compressed_column[:1]>&compressed_column).dtype
COMPRESSED_MAGIC = GF_COMPRESSED_MAGIC
COMPRESSED_VERSION = GF_COMPRESSED_VERSION
COMPRESSED_ALIGNMENT = GF_COMPRESSED_ALIGNMENT
COMPRESSED_BLOCK_BYTES = GF_COMPRESSED_BLOCK_BYTES

ZONES_HEADER = np.asarray(<gf_zones_header[:1]>&zones_header).dtype
ZONES_COLUMN = np.asarray(<gf_zones_column[:1]>&zones_column).dtype
ZONES_MAGIC = GF_ZONES_MAGIC
ZONES_VERSION = GF_ZONES_VERSION
ZONE_ROWS = GF_ZONE_ROWS
