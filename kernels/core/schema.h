// Column types and schemas as the native side sees them, and their bytes (schema_format.h).
#ifndef GRIDFLOW_CORE_SCHEMA_H_
#define GRIDFLOW_CORE_SCHEMA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "gridflow/schema_format.h"

namespace gridflow {

struct Type {
  gf_kind kind = GF_BOOL;
  bool nullable = false;
  bool utc = false;
  gf_kind element = GF_BOOL;  // of a tensor
  gf_unit unit = GF_SECOND;   // of a timestamp
  uint8_t precision = 0;      // of a decimal
  uint8_t scale = 0;
  std::string name;
  std::vector<int64_t> dims;   // of a tensor
  std::vector<Type> children;  // LIST: item; MAP: key, value; STRUCT: fields

  // Bytes of one value in a column buffer; 0 for BOOL (bits) and for what has no fixed width.
  int64_t width = 0;

  bool is_fixed() const { return width > 0 || kind == GF_BOOL; }
  // Bytes of one value in an encoded row; 0 where it varies.
  int64_t encoded_width() const { return kind == GF_BOOL ? 1 : width; }
  // Sets `width` from the rest, here and in the children.
  void Finish();
};

struct Column {
  uint32_t id = 0;
  Type type;         // type.name is the column's name
  std::string fill;  // encoded: what rows have that are older than the column; empty: null
};

struct Schema {
  std::vector<Column> columns;
  std::vector<uint32_t> key;    // positions of the key columns, in the key's order
  std::vector<uint32_t> value;  // positions of the other columns, in order; derived

  // Derives `value` and the widths.
  void Finish();
  // Position of the column called `name`, or -1.
  int Find(const std::string& name) const;
  std::string Serialize() const;
  // Parses and checks; every message names `file`, with offsets counted from `base`.
  static Status Parse(const uint8_t* data, size_t bytes, const std::string& file, int64_t base, Schema* out);
};

// Bytes of one number of that kind; 0 if it is none. Booleans count as one byte (as in a tensor).
int64_t ElementWidth(gf_kind kind);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SCHEMA_H_
