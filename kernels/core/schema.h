// Column types and schemas as the native side sees them, and their bytes (schema_format.h).
#ifndef GRIDFLOW_CORE_SCHEMA_H_
#define GRIDFLOW_CORE_SCHEMA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "gridflow/schema_format.h"

namespace gridflow {

constexpr int kMostDigits = 38;  // of a decimal: what 16 bytes hold

// How the values of a kind lie in a column's buffers, and in an encoded row (log_format.h). Code that goes through a
// column's bytes needs to know no more of its kind, so a new kind that has one of these layouts needs no change there.
enum class Layout {
  kBits,    // a bit each; in a row a byte
  kFixed,   // Type::width bytes each, the same in a row
  kBytes,   // offsets and bytes; in a row a count and bytes
  kList,    // offsets and items
  kMap,     // offsets and two children, keys and values
  kStruct,  // children
};

constexpr Layout LayoutOf(gf_kind kind) {
  switch (kind) {
    case GF_BOOL:
      return Layout::kBits;
    case GF_STRING:
    case GF_BINARY:
      return Layout::kBytes;
    case GF_LIST:
      return Layout::kList;
    case GF_MAP:
      return Layout::kMap;
    case GF_STRUCT:
      return Layout::kStruct;
    case GF_INT8:
    case GF_INT16:
    case GF_INT32:
    case GF_INT64:
    case GF_UINT8:
    case GF_UINT16:
    case GF_UINT32:
    case GF_UINT64:
    case GF_FLOAT16:
    case GF_FLOAT32:
    case GF_FLOAT64:
    case GF_DECIMAL:
    case GF_DATE:
    case GF_TIME:
    case GF_TIMESTAMP:
    case GF_UUID:
    case GF_TENSOR:
      break;
  }
  return Layout::kFixed;
}

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

  Layout layout() const { return LayoutOf(kind); }
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
  std::string default_value;  // encoded: what rows get that do not name the column; empty: null
};

struct Schema {
  std::vector<Column> columns;
  std::vector<uint32_t> key;    // positions of the key columns, in the key's order
  std::vector<uint32_t> value;  // positions of the other columns, in order; derived

  // Derives `value` and the widths.
  void Finish();
  // Position of the column called `name`, or -1.
  int Find(const std::string& name) const;
  bool HasDefaults() const;
  // `defaults`: whether those are among the bytes; a segment has none.
  std::string Serialize(bool defaults = true) const;
  // Parses and checks; every message names `file`, with offsets counted from `base`.
  static Status Parse(const uint8_t* data, size_t bytes, const std::string& file, int64_t base, Schema* out);
};

// Bytes of one number of that kind; 0 if it is none. Booleans count as one byte (as in a tensor).
int64_t ElementWidth(gf_kind kind);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SCHEMA_H_
