/* The bytes of a table's manifest, and of the control page.
 *
 * DO NOT CHANGE: this is part of the persistent format.
 *
 * Files of a grid:
 *
 *   <grid>/LOCK                                   locked by the owner as long as it lives
 *   <grid>/identity                               32 hex digits that no other grid has, and the end of the line
 *   <grid>/catalog                                names of the tables: catalog_format.h
 *   <grid>/control                                gf_control, mapped by everyone, written by the owner
 *   <grid>/log/<16 hex digits>.log                log_format.h
 *   <grid>/tables/<table id>/manifest             the current version, replaced by rename
 *   <grid>/tables/<table id>/<version>.manifest   a version that is kept, the same bytes; 16 hex digits
 *   <grid>/tables/<table id>/<id>.seg             segment_format.h
 *   <grid>/tables/<table id>/<id>.del             a deletion bitmap, or a list of deleted rows
 *   <grid>/tables/<table id>/<id>-<index id>.idx  index_format.h
 *   <grid>/tables/<table id>/<id>.zones           zones_format.h
 *   <grid>/tables/<table id>/<id>.lz4             compressed_format.h
 *
 * A segment or bitmap stays as long as any of a table's manifests names it. Which versions are kept the catalog says; a <version>.manifest that it does not ask for is garbage of a crash.
 *
 * A manifest is one frame, and a catalog begins with one:
 *
 *   0    +--------------------------------------+
 *        | gf_frame_header             32 bytes |
 *   32   | body                                 |  covered by body_crc
 *        +--------------------------------------+
 *
 *   manifest body := uint32 table_id, uint32 partitions, uint64 version, uint64 flushed_lsn, uint64 next_file_id,
 *                    uint32 schema_bytes, schema, uint32 segment_count, gf_manifest_segment*
 *
 *   In a manifest of version 1 a gf_manifest_segment ends before bitmap_id, which is 0. Only one of version 3 has columns
 *   with a default, and it has one.
 *
 * flushed_lsn: every write of the log up to this one is in the segments; later ones are not.
 */
#ifndef GRIDFLOW_MANIFEST_FORMAT_H_
#define GRIDFLOW_MANIFEST_FORMAT_H_

#include <stdint.h>

#define GF_MANIFEST_MAGIC 0x0A1A0D4E414D4647ull /* "GFMAN\r\x1a\n" */
#define GF_MANIFEST_VERSION 3u
#define GF_MANIFEST_VERSION_PLAIN 2u /* of one without defaults, which older releases read, too */

typedef struct gf_frame_header {
  uint64_t magic;
  uint32_t version;
  uint32_t header_crc; /* of this header with this field 0 */
  uint64_t body_bytes;
  uint32_t body_crc;
  uint32_t reserved;
} gf_frame_header;

typedef struct gf_manifest_segment {
  uint64_t segment_id;   /* <segment_id as 16 hex digits>.seg */
  uint64_t deletions_id; /* <deletions_id as 16 hex digits>.del, 0 for none */
  uint64_t rows;         /* of the segment, deleted ones too */
  uint64_t deleted;
  uint64_t bitmap_id; /* of a list of deleted rows: <bitmap_id as 16 hex digits>.del, which it adds to; 0 for none */
} gf_manifest_segment;
#define GF_MANIFEST_SEGMENT_BYTES_1 32u /* in version 1 */

/* The one page that changes in place. Readers watch it to learn that there is something new; nothing in it is
 * needed to recover a grid. Fields are read and written as 8-byte atomics.
 *
 * As long as the machine runs, memory outlives every process: then a log that ends before committed_lsn has been cut off.
 * After a power cut it may well end there, so `boot` says whether the machine is still the one that committed.
 */
#define GF_CONTROL_MAGIC 0x0A1A0D4C54434647ull /* "GFCTL\r\x1a\n" */
#define GF_CONTROL_BYTES 4096u

typedef struct gf_control {
  uint64_t magic;
  uint64_t owner_pid;
  uint64_t generation;    /* +1 after every new manifest, catalog or log file */
  uint64_t committed_lsn; /* the last record of the log */
  uint64_t boot;          /* the machine's start, as a hash of its id, since which this page is exact; 0: it is not */
  uint64_t dropped_lsn;   /* up to this record no file of the log is needed, and none may be there */
  uint64_t catalog_version; /* of the last change of the catalog; 0 in a page of before catalogs grew by changes */
  uint64_t synced_lsn;      /* up to this record the log was on the disk; 0: unknown */
} gf_control;

#ifdef __cplusplus
static_assert(sizeof(gf_frame_header) == 32, "persistent format");
static_assert(sizeof(gf_manifest_segment) == 40, "persistent format");
#endif

#endif /* GRIDFLOW_MANIFEST_FORMAT_H_ */
