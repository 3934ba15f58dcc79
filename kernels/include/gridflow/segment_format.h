/* The bytes of a segment and of a deletion bitmap.
 *
 * DO NOT CHANGE: this is part of the persistent format. A new layout takes a new version number.
 * All numbers are little endian. All offsets are from the start of the file.
 *
 *   0                 +--------------------------------------------+
 *                     | gf_segment_header                 128 bytes|
 *   schema_offset     | schema, as schema_format.h says            |
 *   directory_offset  | gf_buffer[buffer_count]                    |  header_bytes, covered by header_crc
 *                     +--------------------------------------------+
 *   64-byte aligned   | buffer 0: key hashes, uint64[rows], sorted |
 *   64-byte aligned   | buffer 1 ...                               |  data, covered block by block
 *                     +--------------------------------------------+
 *   checksum_offset   | uint32[blocks]: one checksum for each      |
 *                     | GF_BLOCK_BYTES of [header_bytes,           |
 *                     | checksum_offset), the last may be short    |
 *                     | uint32: checksum of those checksums        |
 *   file_bytes        +--------------------------------------------+
 *
 * Buffers follow the columns of the schema in order; each type has these, children after their parent:
 *
 *   BOOL                   validity, bits
 *   numbers, DECIMAL, DATE,
 *   TIME, TIMESTAMP, UUID,
 *   TENSOR                 validity, values
 *   STRING, BINARY         validity, int64 offsets[length + 1], bytes
 *   LIST                   validity, int64 offsets[length + 1], then the item's
 *   MAP                    validity, int32 offsets[length + 1], then the key's, then the value's
 *   STRUCT                 validity, then each field's
 *
 * in Arrow's layout. A validity buffer of 0 bytes means that nothing is null. Rows are ordered by key hash, and those of
 * one hash by their encoded keys (row_codec.h) as bytes; segments of before that rule have the latter in any order.
 */
#ifndef GRIDFLOW_SEGMENT_FORMAT_H_
#define GRIDFLOW_SEGMENT_FORMAT_H_

#include <stdint.h>

#define GF_SEGMENT_MAGIC 0x0A1A0D4745534647ull /* "GFSEG\r\x1a\n" */
#define GF_SEGMENT_VERSION 1u
#define GF_BUFFER_ALIGNMENT 64u
#define GF_BLOCK_BYTES (256u * 1024u)
#define GF_MAX_SEGMENT_ROWS 0x7FFFFFFFull

typedef struct gf_segment_header {
  uint64_t magic;
  uint32_t version;
  uint32_t header_crc; /* of [0, header_bytes) with this field 0 */
  uint64_t header_bytes;
  uint64_t file_bytes;
  uint64_t rows;
  uint64_t segment_id;
  uint32_t table_id;
  uint32_t buffer_count;
  uint64_t schema_offset;
  uint64_t schema_bytes;
  uint64_t directory_offset;
  uint64_t checksum_offset;
  uint64_t reserved[5]; /* 0 */
} gf_segment_header;

typedef struct gf_buffer {
  uint64_t offset; /* a multiple of GF_BUFFER_ALIGNMENT */
  uint64_t bytes;
} gf_buffer;

/* Which rows of one segment are gone: a deletion bitmap, one bit a row, 1 for a row that is gone; or a list of those that
 * are gone beside the rows of a bitmap of the same segment, rising.
 *
 *   0    +----------------------------------+        0    +----------------------------------+
 *        | gf_deletions_header     64 bytes |             | gf_deletions_header     64 bytes |
 *   64   | uint8[(rows + 7) / 8], bit i % 8 |        64   | uint32[rows that it lists]       |
 *        +----------------------------------+             +----------------------------------+
 */
#define GF_DELETIONS_MAGIC 0x0A1A0D4C45444647ull    /* "GFDEL\r\x1a\n" */
#define GF_DELETED_ROWS_MAGIC 0x0A1A0D574F524647ull /* "GFROW\r\x1a\n" */
#define GF_DELETIONS_VERSION 1u

typedef struct gf_deletions_header {
  uint64_t magic;
  uint32_t version;
  uint32_t header_crc; /* of this header with this field 0 */
  uint64_t rows;
  uint64_t deleted; /* how many are gone, in all */
  uint64_t segment_id;
  uint32_t body_crc;
  uint32_t reserved;
  uint64_t bitmap_id;    /* of a list: the file of the bitmap that it adds to; 0 for none */
  uint64_t listed_bytes; /* of a list: of rows, in all lists on that bitmap up to this one */
} gf_deletions_header;

#ifdef __cplusplus
static_assert(sizeof(gf_segment_header) == 128, "persistent format");
static_assert(sizeof(gf_buffer) == 16, "persistent format");
static_assert(sizeof(gf_deletions_header) == 64, "persistent format");
#endif

#endif /* GRIDFLOW_SEGMENT_FORMAT_H_ */
