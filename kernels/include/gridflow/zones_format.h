/* The bytes of a zone map: the least and the greatest value of columns of a segment in each zone of so many rows,
 * <segment id>.zones beside <segment id>.seg.
 *
 * DO NOT CHANGE: this is part of the persistent format. A new layout takes a new version number.
 * All numbers are little endian. All offsets are from the start of the file.
 *
 *   0                 +--------------------------------------------+
 *                     | gf_zones_header                    64 bytes|
 *                     | gf_zones_column[column_count]              |  its checksum covers all that follows it
 *                     +--------------------------------------------+  in the file
 *   64-byte aligned   | uint64[zones], the least rank of a zone    |  of a column
 *                     | uint64[zones], the greatest                |
 *                     | uint32[zones], how many of it are null     |
 *                     | uint16[zones], a row that has the least    |
 *                     | uint16[zones], one that has the greatest   |
 *   64-byte aligned   | ...                                        |  of the next column
 *   file_bytes        +--------------------------------------------+
 *
 * Zone i has the rows from i * zone_rows on, zone_rows of them, the last zone maybe fewer. Deleted rows count as others do: so a
 * zone may seem to have more than it has, never less. Of rows with the same rank the first is named, by its number in the zone;
 * whoever sees that it is not deleted knows that the zone has that value. Nulls have no rank: where all are null the least is
 * 2^64 - 1, the greatest 0, and the rows are 0.
 *
 * The rank of a value rises as SQL orders values. It follows from the value's key in an index (index_format.h):
 *
 *   a key that is an unsigned number     the key
 *   a key that is a signed number        the key + 2^63
 *   a key of bytes                       its first 8 bytes, filled up with zeros, as a big endian number: so values of one
 *                                        rank need not be equal
 *
 * All of it follows from the segment, so a file can always be made again: it is in no manifest, it is not synced to the disk, and
 * where it is missing or damaged the whole segment is read.
 */
#ifndef GRIDFLOW_ZONES_FORMAT_H_
#define GRIDFLOW_ZONES_FORMAT_H_

#include <stdint.h>

#include "gridflow/segment_format.h" /* GF_BUFFER_ALIGNMENT */

#define GF_ZONES_MAGIC 0x0A1A0D4E4F5A4647ull /* "GFZON\r\x1a\n" */
#define GF_ZONES_VERSION 1u
#define GF_ZONE_ROWS 1024u /* of files that are written now; a multiple of 8, 65536 at most */

typedef struct gf_zones_header {
  uint64_t magic;
  uint32_t version;
  uint32_t checksum; /* the block checksum of [16, file_bytes), 16 being the offset of the next field */
  uint64_t file_bytes;
  uint64_t segment_id;
  uint64_t rows;
  uint32_t table_id;
  uint32_t zone_rows;
  uint32_t column_count;
  uint32_t reserved[3]; /* 0 */
} gf_zones_header;

typedef struct gf_zones_column {
  uint32_t column_id;
  uint32_t reserved; /* 0 */
  uint64_t offset;   /* of its least ranks; a multiple of GF_BUFFER_ALIGNMENT */
} gf_zones_column;

#ifdef __cplusplus
static_assert(sizeof(gf_zones_header) == 64, "persistent format");
static_assert(sizeof(gf_zones_column) == 16, "persistent format");
#endif

#endif /* GRIDFLOW_ZONES_FORMAT_H_ */
