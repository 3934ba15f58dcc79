// CsvBlock: columns of CSV text whose fields are written plainly.
#ifndef GRIDFLOW_CORE_CSV_BLOCK_H_
#define GRIDFLOW_CORE_CSV_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/column.h"
#include "core/huge_pages.h"
#include "core/schema.h"

namespace gridflow {

// What the records of a file are like.
struct CsvLayout {
  static constexpr int kLeftOut = -1;
  std::vector<Type> types;   // of the columns to read; each is one that CsvBlock::Reads()
  std::vector<int> columns;  // of each field of a record the column that it is read into, or kLeftOut
  uint8_t delimiter = ',';   // one that no number has in it: see CsvBlock::Separates()
  int quote = '"';           // -1: there is none
  bool null_texts = false;   // whether a text of no bytes and no quotes is null
};

// The columns of a block of complete records. Immutable; any thread may read it.
//
// It knows one spelling of each value, that in which programs write it: 12, -0.5e3, 2024-02-29, 2024-02-29 12:00:00.5,
// true; an empty field is null, or an empty text. What it takes, it reads as pyarrow's reader of CSV
// does, at several times its speed. Whatever else there is (blanks around a number, a doubled quote, a missing field,
// text that is not UTF-8), it refuses the block, which is not an error: pyarrow knows what that means, or says what is
// wrong.
class CsvBlock {
 public:
  static bool Reads(const Type& type);
  static bool Separates(uint8_t delimiter);
  // Null if the text has a field that is not written plainly.
  static std::shared_ptr<const CsvBlock> Read(const CsvLayout& layout, const uint8_t* text, size_t bytes);

  int64_t rows() const { return rows_; }
  // In the order of the layout's types. They point into the block.
  const std::vector<ColumnView>& columns() const { return columns_; }

 private:
  explicit CsvBlock(const CsvLayout& layout) : types_(layout.types) {}

  const std::vector<Type> types_;
  std::vector<ColumnView> columns_;
  // What the views point into. Rows are picked from it at random, so it comes in pieces that huge pages can back.
  HugeArray<uint8_t> values_, texts_;
  int64_t rows_ = 0;

  friend class CsvReader;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_CSV_BLOCK_H_
