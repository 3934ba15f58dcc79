/* The bytes of a schema, as segments and manifests carry it.
 *
 * DO NOT CHANGE: this is part of the persistent format.
 *
 *   schema := uint32 column_count, column*, uint32 key_count, uint32 key_index*
 *   column := uint32 column_id, type, fill (fill_bytes of the type's node), default if the node has GF_DEFAULT
 *   default := uint32 default_bytes, default_bytes of a value
 *   type   := gf_type_node (20 bytes), name (name_bytes of UTF-8), uint64 dims[dim_count], type[child_count]
 *
 * key_index is a column's position; column_id never changes in a table's life. fill is a value in the log's encoding
 * (log_format.h): what a row has that was written before the column was added; without it such a row has a null.
 * default is the same of what a row gets that does not name the column. A manifest has it, from version 3 on; a segment,
 * whose rows have all columns, has none.
 * Numbers are little endian and not aligned.
 */
#ifndef GRIDFLOW_SCHEMA_FORMAT_H_
#define GRIDFLOW_SCHEMA_FORMAT_H_

#include <stdint.h>

enum gf_kind {
  GF_BOOL = 1,
  GF_INT8 = 2,
  GF_INT16 = 3,
  GF_INT32 = 4,
  GF_INT64 = 5,
  GF_UINT8 = 6,
  GF_UINT16 = 7,
  GF_UINT32 = 8,
  GF_UINT64 = 9,
  GF_FLOAT16 = 10,
  GF_FLOAT32 = 11,
  GF_FLOAT64 = 12,
  GF_DECIMAL = 13,   /* 16 bytes, two's complement; precision, scale */
  GF_STRING = 14,    /* UTF-8 */
  GF_BINARY = 15,
  GF_DATE = 16,      /* int32 days since 1970-01-01 */
  GF_TIME = 17,      /* int64 microseconds since midnight */
  GF_TIMESTAMP = 18, /* int64 units since 1970-01-01 */
  GF_UUID = 19,      /* 16 bytes, big endian */
  GF_TENSOR = 20,    /* element kind, dims; row-major; booleans are bytes */
  GF_LIST = 21,      /* one child */
  GF_STRUCT = 22,
  GF_MAP = 23        /* two children: key, value */
};

enum gf_unit { GF_SECOND = 0, GF_MILLISECOND = 1, GF_MICROSECOND = 2, GF_NANOSECOND = 3 };

enum gf_type_flags { GF_NULLABLE = 1, GF_UTC = 2, GF_DEFAULT = 4 /* of a column */ };

typedef struct gf_type_node {
  uint8_t kind;      /* gf_kind */
  uint8_t flags;     /* gf_type_flags */
  uint8_t element;   /* gf_kind of a tensor's numbers, else 0 */
  uint8_t unit;      /* gf_unit of a timestamp, else 0 */
  uint8_t precision; /* of a decimal, else 0 */
  uint8_t scale;
  uint16_t dim_count;
  uint32_t child_count;
  uint32_t name_bytes;
  uint32_t fill_bytes; /* of a column, else 0 */
} gf_type_node;

#ifdef __cplusplus
static_assert(sizeof(gf_type_node) == 20, "persistent format");
#endif

#endif /* GRIDFLOW_SCHEMA_FORMAT_H_ */
