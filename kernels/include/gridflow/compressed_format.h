/* The bytes of a compressed copy of some columns of a segment, <segment id>.lz4 beside <segment id>.seg.
 *
 * DO NOT CHANGE: this is part of the persistent format. A new layout takes a new version number.
 * All numbers are little endian. All offsets are from the start of the file.
 *
 *   0                 +--------------------------------------------+
 *                     | gf_compressed_header               64 bytes|
 *                     | gf_compressed_column[column_count]         |  header_bytes, covered by header_crc
 *                     +--------------------------------------------+
 *   64-byte aligned   | uint64 bounds[blocks + 1], then the data   |  of a column, covered by its checksum
 *                     | ...                                        |
 *   file_bytes        +--------------------------------------------+
 *
 * A column's values buffer is cut into blocks of block_bytes, the last may be short. Block i lies in the data from bounds[i]
 * to bounds[i + 1]: as a block of LZ4 (lz4_Block_format.md of its project), or as it is if that takes as many bytes as it.
 * The copy serves only to be read in the segment's place: where there is none, or a damaged one, the segment is read.
 */
#ifndef GRIDFLOW_COMPRESSED_FORMAT_H_
#define GRIDFLOW_COMPRESSED_FORMAT_H_

#include <stdint.h>

#define GF_COMPRESSED_MAGIC 0x0A1A0D345A4C4647ull /* "GFLZ4\r\x1a\n" */
#define GF_COMPRESSED_VERSION 1u
#define GF_COMPRESSED_ALIGNMENT 64u
#define GF_COMPRESSED_BLOCK_BYTES (16u * 1024u)

typedef struct gf_compressed_header {
  uint64_t magic;
  uint32_t version;
  uint32_t header_crc; /* of [0, header_bytes) with this field 0 */
  uint64_t file_bytes;
  uint64_t segment_id;
  uint64_t rows;
  uint32_t table_id;
  uint32_t column_count;
  uint32_t block_bytes;
  uint32_t reserved[3]; /* 0 */
} gf_compressed_header;

typedef struct gf_compressed_column {
  uint32_t column_id;
  uint32_t checksum; /* the block checksum of bounds and data */
  uint64_t raw_bytes;
  uint64_t offset; /* of bounds; a multiple of GF_COMPRESSED_ALIGNMENT */
  uint64_t data_bytes;
} gf_compressed_column;

#ifdef __cplusplus
static_assert(sizeof(gf_compressed_header) == 64, "persistent format");
static_assert(sizeof(gf_compressed_column) == 32, "persistent format");
#endif

#endif /* GRIDFLOW_COMPRESSED_FORMAT_H_ */
