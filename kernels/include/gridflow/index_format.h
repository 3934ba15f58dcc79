/* The bytes of an index file: the keys of one segment in the order of an index, <segment id>-<index id>.idx beside
 * <segment id>.seg.
 *
 * DO NOT CHANGE: this is part of the persistent format. A new layout takes a new version number.
 * All numbers are little endian. All offsets are from the start of the file.
 *
 *   0                 +--------------------------------------------+
 *                     | gf_index_header                    64 bytes|
 *                     | gf_buffer[buffer_count]                    |
 *                     | about: UTF-8, "id type, id type", of the   |  its checksum covers all that follows it
 *                     | index's columns; about_bytes               |  in the file
 *                     +--------------------------------------------+
 *   64-byte aligned   | buffer 0: uint32[rows], the segment's rows |
 *                     | in the order of the index                  |
 *   64-byte aligned   | of each column of the index three buffers: |
 *                     |   uint8[rows], 1 for a null; empty if none |
 *                     |   is null                                  |
 *                     |   uint64[rows + 1], where each key begins; |
 *                     |   empty for keys that are all as long      |
 *                     |   the keys                                 |
 *   file_bytes        +--------------------------------------------+
 *
 * Rows are ordered by the first column's key, then the second's, ...; nulls come last. Under a null lies a key of zeros.
 * A key's order, as a number or as bytes, is that of its value in SQL:
 *
 *   BOOL                       uint8
 *   integers                   the number
 *   DATE                       int32
 *   TIME, TIMESTAMP            int64
 *   FLOAT16, FLOAT32           uint32: the bits of the FLOAT32, all flipped if negative, else with the sign bit set; that of
 *   FLOAT64                    uint64  -0.0 is 0.0's, and that of NaN has all bits set
 *   DECIMAL, to 18 digits      int64: its digits
 *   DECIMAL of more            16 bytes, big endian, the sign bit flipped
 *   UUID                       16 bytes
 *   STRING, BINARY             the bytes, with offsets
 *
 * All of it follows from the segment and the columns, so a file can always be made again: it is in no manifest, it is not
 * synced to the disk, and where it is missing or damaged the segment is scanned.
 */
#ifndef GRIDFLOW_INDEX_FORMAT_H_
#define GRIDFLOW_INDEX_FORMAT_H_

#include <stdint.h>

#include "gridflow/segment_format.h" /* gf_buffer, GF_BUFFER_ALIGNMENT */

#define GF_INDEX_MAGIC 0x0A1A0D5844494647ull /* "GFIDX\r\x1a\n" */
#define GF_INDEX_VERSION 1u
#define GF_INDEX_BUFFERS_PER_COLUMN 3u

typedef struct gf_index_header {
  uint64_t magic;
  uint32_t version;
  uint32_t checksum; /* the block checksum of [16, file_bytes), 16 being the offset of the next field */
  uint64_t file_bytes;
  uint64_t segment_id;
  uint64_t rows;
  uint32_t table_id;
  uint32_t index_id;
  uint32_t buffer_count; /* 1 + GF_INDEX_BUFFERS_PER_COLUMN for each column */
  uint32_t about_bytes;
  uint64_t reserved; /* 0 */
} gf_index_header;

#ifdef __cplusplus
static_assert(sizeof(gf_index_header) == 64, "persistent format");
#endif

#endif /* GRIDFLOW_INDEX_FORMAT_H_ */
