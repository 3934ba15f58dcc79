/* The bytes of a grid's catalog: which tables there are, and which versions of them have a tag.
 *
 * DO NOT CHANGE: this is part of the persistent format.
 *
 *   0    +--------------------------------------+
 *        | gf_frame_header             32 bytes |  manifest_format.h; of version 2
 *   32   | body                                 |  covered by body_crc
 *        +--------------------------------------+
 *        | gf_change_header            16 bytes |  the first change since
 *        | change                               |  covered by body_crc
 *        | GF_CHANGE_END                4 bytes |
 *        +--------------------------------------+
 *        | ...                                  |  the next one; no padding between them
 *        +--------------------------------------+
 *
 *   body   := uint32 next_table_id, uint64 version, uint32 table_count, entry*
 *   entry  := uint32 table_id, uint32 name_bytes, name, uint32 options_bytes, options (JSON text)
 *   change := uint64 version, uint32 next_table_id, uint8 kind, then by kind
 *               GF_CHANGE_PUT:    entry                   a new table, or other options of one that is there
 *               GF_CHANGE_REMOVE: uint32 table_id
 *               GF_CHANGE_TAG:    uint32 table_id, uint64 tagged, uint32 name_bytes, name
 *                                                         a tag of that name for version `tagged`; 0: none any more
 *
 * Each change has the version after that of the one before. Among the options of an entry are its tags of before
 * (SYS.VERSIONS); changes after the entry are applied to those. What is appended costs what changes; when the changes are
 * as large as the body, the file is replaced by one whose body has them all.
 *
 * What follows the last intact change was being appended when a process died or the power went: it is passed over, and
 * the next change takes its place. A change that does not fit its checksums and has an intact one after it is damage.
 * That changes at the end are missing or damaged is told by the control page, which has the version of the last one.
 *
 * A file of frame version 1 has no changes; its owner replaces it at the first one.
 */
#ifndef GRIDFLOW_CATALOG_FORMAT_H_
#define GRIDFLOW_CATALOG_FORMAT_H_

#include <stdint.h>

#define GF_CATALOG_MAGIC 0x0A1A0D5441434647ull /* "GFCAT\r\x1a\n" */
#define GF_CATALOG_VERSION 2u                  /* of the frame */
#define GF_CHANGE_END 0x444E4543u              /* "CEND" */

#define GF_CHANGE_PUT 1u
#define GF_CHANGE_REMOVE 2u
#define GF_CHANGE_TAG 3u

typedef struct gf_change_header {
  uint32_t header_crc; /* of the file's offset of this header as uint64, then of this header with this field 0 */
  uint32_t body_bytes; /* of the change */
  uint32_t body_crc;
  uint32_t reserved; /* 0 */
} gf_change_header;

#ifdef __cplusplus
static_assert(sizeof(gf_change_header) == 16, "persistent format");
#endif

#endif /* GRIDFLOW_CATALOG_FORMAT_H_ */
