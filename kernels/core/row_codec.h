// Encoded rows (log_format.h) to columns and back, without Python.
#ifndef GRIDFLOW_CORE_ROW_CODEC_H_
#define GRIDFLOW_CORE_ROW_CODEC_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/column.h"
#include "core/schema.h"
#include "core/status.h"

namespace gridflow {

// Appends the encoding of a row's key, or of the rest of the row. `columns` are in the order of `schema.columns`; the
// values of a missing() one are null. kCorrupt if offsets are impossible.
Status EncodeKey(const Schema& schema, const std::vector<ColumnView>& columns, int64_t row, std::string* out);
Status EncodeValue(const Schema& schema, const std::vector<ColumnView>& columns, int64_t row, std::string* out);
// A cell where it lies, and the encoding of a row whose cells lie apart: `cell` gives that of a column by its position.
struct Cell {
  const ColumnView* column;
  int64_t row;
};
Status EncodeValue(const Schema& schema, const std::function<Cell(uint32_t)>& cell, std::string* out);

// Appends the encoding of one cell that is not null.
Status EncodeCell(const ColumnView& column, int64_t row, std::string* out);

// Checks that the bytes are a well-formed key or value of the schema, or one cell that is not null (texts are UTF-8, decimals
// and times in their range, counts fit, nothing is left over): what came over a wire is never trusted.
Status CheckKey(const Schema& schema, const uint8_t* key, size_t bytes);
Status CheckValue(const Schema& schema, const uint8_t* value, size_t bytes);
Status CheckCell(const Type& type, const uint8_t* cell, size_t bytes);

// Builds one column, in Arrow layout, of encoded values. Not thread-safe. `type` must outlive it.
class ColumnBuilder {
 public:
  explicit ColumnBuilder(const Type& type);
  void AppendNull();
  // Appends the value that starts at `p` and returns where it ends. The bytes must have passed CheckKey or CheckValue.
  const uint8_t* Append(const uint8_t* p);
  // The column so far. Valid until the next append.
  ColumnView View() const;
  int64_t length() const { return length_; }

 private:
  void PushValid(bool valid);
  void PushOffset();

  const Type& type_;
  int64_t length_ = 0;
  int64_t nulls_ = 0;
  std::vector<uint8_t> validity_, offsets_, data_;
  std::vector<ColumnBuilder> children_;
};

// Builds all columns of a schema, row by row.
class RowsBuilder {
 public:
  explicit RowsBuilder(const Schema& schema);
  void Append(const uint8_t* key, const uint8_t* value);
  std::vector<ColumnView> Views() const;
  int64_t rows() const { return rows_; }

 private:
  const Schema& schema_;
  std::vector<ColumnBuilder> columns_;
  int64_t rows_ = 0;
};

// What is wrong with a value of fixed width, whose type has fewer values than its bytes; null: nothing is.
const char* WrongFixed(const Type& type, const uint8_t* p);
// Whether the bytes are UTF-8.
bool IsUtf8(const uint8_t* p, size_t bytes);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_ROW_CODEC_H_
