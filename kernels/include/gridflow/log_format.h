/* The bytes of the log.
 *
 * DO NOT CHANGE: this is part of the persistent format.
 *
 *   0    +--------------------------------------+
 *        | gf_log_header               64 bytes |
 *   64   | record, padded to 8 bytes            |
 *        | record ...                           |
 *        | zeros: room that is not yet used     |
 *        +--------------------------------------+
 *
 *   record  := gf_log_record (24 bytes), operations
 *   operation := uint32 table_id, uint32 key_bytes, uint32 value_bytes (GF_LOG_REMOVE for a removal), key, value
 *
 * A record is one commit: all of it counts or none. Its fields and operations are written first and its lsn last,
 * so a record whose lsn is 0 was never acknowledged. lsn grows by one with every record, across files. A record's
 * checksum holds only where it was written: the bytes of a log that somebody keeps as a value are no records.
 *
 * With GF_LOG_SYNCED a commit is acknowledged once its record is on the disk. Of records that were not, a power cut may
 * leave any, or parts of them: then the log ends before the first that is damaged, whatever follows it. In a file without
 * that flag, records after a damaged one say that it was acknowledged.
 *
 * Keys and values, column after column: a key's columns in the key's order; a value's are the others, after a
 * bitmap with one bit for each nullable one (1 for a value, as in Arrow; bit i % 8 of byte i / 8).
 *
 *   fixed width      its bytes, little endian (a BOOL is one byte)
 *   STRING, BINARY   uint32 length, bytes
 *   TENSOR           its elements
 *   STRUCT           bitmap of its nullable fields, the fields that are not null
 *   LIST             uint32 count, bitmap of the items if they are nullable, the items that are not null
 *   MAP              uint32 count, bitmap of the values if they are nullable, then key, value (unless null), ...
 */
#ifndef GRIDFLOW_LOG_FORMAT_H_
#define GRIDFLOW_LOG_FORMAT_H_

#include <stdint.h>

#define GF_LOG_MAGIC 0x0A1A0D474F4C4647ull /* "GFLOG\r\x1a\n" */
#define GF_LOG_VERSION 1u
#define GF_LOG_REMOVE 0xFFFFFFFFu
#define GF_LOG_SYNCED 1u

typedef struct gf_log_header {
  uint64_t magic;
  uint32_t version;
  uint32_t header_crc; /* of this header with this field 0 */
  uint64_t first_lsn;  /* of the first record this file may hold */
  uint64_t seed;       /* random; see gf_log_record */
  uint64_t flags;      /* GF_LOG_SYNCED or 0 */
  uint64_t reserved[3];
} gf_log_header;

typedef struct gf_log_record {
  uint64_t lsn;   /* written last, with release order */
  uint64_t bytes; /* of the operations, without padding */
  uint32_t payload_crc;
  uint32_t header_crc; /* of lsn, bytes, payload_crc, then the file's seed and the record's offset in it (uint64) */
} gf_log_record;

typedef struct gf_log_operation {
  uint32_t table_id;
  uint32_t key_bytes;
  uint32_t value_bytes;
} gf_log_operation;

#ifdef __cplusplus
static_assert(sizeof(gf_log_header) == 64, "persistent format");
static_assert(sizeof(gf_log_record) == 24, "persistent format");
static_assert(sizeof(gf_log_operation) == 12, "persistent format");
#endif

#endif /* GRIDFLOW_LOG_FORMAT_H_ */
