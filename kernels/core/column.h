// ColumnView: a column's buffers where they lie, whoever owns them.
#ifndef GRIDFLOW_CORE_COLUMN_H_
#define GRIDFLOW_CORE_COLUMN_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/schema.h"

namespace gridflow {

// A borrowed view of one column (or of a nested part of one) in Arrow layout. `offset` is added to every row index,
// as in an Arrow slice; it applies to this level's own buffers only: a struct's fields are asked for the same row, and
// bring an offset of their own. The owner of the buffers must outlive the view.
struct ColumnView {
  const Type* type = nullptr;
  int64_t length = 0;
  int64_t offset = 0;
  const uint8_t* validity = nullptr;  // null: nothing is null
  const uint8_t* offsets = nullptr;   // int64 (STRING, BINARY, LIST) or int32 (MAP), length + 1 from `offset`
  const uint8_t* data = nullptr;      // values, bits or bytes
  int64_t limit = 0;                  // no offset may be above this: bytes of `data`, or items of the child
  std::vector<ColumnView> children;

  // A column that these rows do not have: it was added to the table after they were written.
  bool missing() const { return data == nullptr && offsets == nullptr && children.empty(); }
  bool IsNull(int64_t row) const {
    if (validity == nullptr) return false;
    const int64_t bit = row + offset;
    return !((validity[bit >> 3] >> (bit & 7)) & 1);
  }
  bool Bit(int64_t row) const {
    const int64_t bit = row + offset;
    return (data[bit >> 3] >> (bit & 7)) & 1;
  }
  const uint8_t* Value(int64_t row) const { return data + (row + offset) * type->width; }
  // Start of the row's bytes or items; Offset(row + 1) is their end.
  int64_t Offset(int64_t row) const {
    if (type->kind == GF_MAP) {
      int32_t value;
      std::memcpy(&value, offsets + (row + offset) * 4, 4);
      return value;
    }
    int64_t value;
    std::memcpy(&value, offsets + (row + offset) * 8, 8);
    return value;
  }
};

// Start and end of a variable-length value; false if they are not 0 <= start <= end <= limit: a damaged file.
inline bool CheckedRange(const ColumnView& column, int64_t row, int64_t* start, int64_t* end) {
  *start = column.Offset(row);
  *end = column.Offset(row + 1);
  return *start >= 0 && *start <= *end && *end <= column.limit;
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_COLUMN_H_
