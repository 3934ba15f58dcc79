/* The bytes of a mirror's map: which blocks of a segment have come.
 *
 * A mirror's folder looks like a grid's directory. A segment of which not all has come lies there under its own name, as a
 * sparse file with the sticky bit set, so that nobody takes it for a whole one; beside it, as <name>.map:
 *
 *   0    +----------------------------------+
 *        | gf_mirror_header       128 bytes |
 *   128  | uint64[(blocks + 63) / 64]       |  bit b % 64 of word b / 64: block b is there, and its checksum matched
 *        +----------------------------------+
 *
 * Blocks are those of segment_format.h: of GF_BLOCK_BYTES from the header's end on. Header and checksums are in the file
 * from the start. The map is changed in place, by all processes of the machine that map it, with atomic operations.
 *
 * Kernel locks (open file descriptions') on bytes of the map that it does not have: GF_MIRROR_USED is locked for reading
 * by whoever has the segment open, and GF_MIRROR_CLAIMS + b for writing by whoever fetches block b. They end with their
 * process. A claim spares others the work; that one is missing harms nothing, as who fetches a block writes the same.
 */
#ifndef GRIDFLOW_MIRROR_FORMAT_H_
#define GRIDFLOW_MIRROR_FORMAT_H_

#include <stdint.h>

#define GF_MIRROR_MAGIC 0x0A1A0D52494D4647ull /* "GFMIR\r\x1a\n" */
#define GF_MIRROR_VERSION 1u
#define GF_MIRROR_USED (1ll << 40)
#define GF_MIRROR_CLAIMS (1ll << 41)

typedef struct gf_mirror_header {
  uint64_t magic;
  uint32_t version;
  uint32_t reserved;
  uint64_t file_bytes;  /* of the segment */
  uint64_t fingerprint; /* of the segment: sealed_file.h */
  uint64_t inode;       /* of the sparse file: a map of another one says nothing about it */
  uint64_t blocks;
  uint64_t used;        /* when somebody opened it last, in nanoseconds since 1970; atomic */
  uint64_t present;     /* how many blocks are there; atomic */
  uint32_t changes;     /* goes up with each block that comes: a futex; atomic */
  uint32_t waiters;     /* how many wait for it; atomic */
  uint64_t rest[7];     /* 0 */
} gf_mirror_header;

#ifdef __cplusplus
static_assert(sizeof(gf_mirror_header) == 128, "shared by releases");
#endif

#endif /* GRIDFLOW_MIRROR_FORMAT_H_ */
