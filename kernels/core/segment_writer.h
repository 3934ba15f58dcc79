// Writes a segment of rows picked from any columns: the one way rows get into a segment.
#ifndef GRIDFLOW_CORE_SEGMENT_WRITER_H_
#define GRIDFLOW_CORE_SEGMENT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/column.h"
#include "core/huge_pages.h"
#include "core/schema.h"
#include "core/status.h"

namespace gridflow {

// A row of one of several sources. Its eight bytes are those of the number source << 32 | row.
struct RowRef {
  RowRef() = default;
  constexpr RowRef(uint32_t source_number, uint32_t row_number) : row(row_number), source(source_number) {}
  uint64_t packed() const { return uint64_t{source} << 32 | row; }
  uint32_t row;
  uint32_t source;
};
static_assert(sizeof(RowRef) == 8 && alignof(RowRef) <= alignof(uint64_t));
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

// The columns of one source, in the order of the schema; missing() ones are all null.
using Source = std::vector<ColumnView>;

struct SegmentSpec {
  std::string path;  // written as <path>.tmp, renamed when it is whole
  uint64_t segment_id = 0;
  uint32_t table_id = 0;
  const Schema* schema = nullptr;
  bool durable = false;
  int threads = 1;
  const std::atomic<bool>* cancelled = nullptr;  // once it is true, kCancelled; null: nobody cancels
};

// Rows in some order, borrowed.
class RowOrderView {
 public:
  RowOrderView() = default;
  RowOrderView(const RowRef* rows, size_t size) : rows_(rows), size_(size) {}
  template <typename Allocator>
  RowOrderView(const std::vector<RowRef, Allocator>& rows) : RowOrderView(rows.data(), rows.size()) {}
  size_t size() const { return size_; }
  const RowRef* data() const { return rows_; }
  const RowRef& operator[](size_t i) const { return rows_[i]; }

 private:
  const RowRef* rows_ = nullptr;
  size_t size_ = 0;
};

// One column of rows from several places: views[order[i].source] has the i-th row's cell. Both are borrowed.
struct ColumnRows {
  std::vector<const ColumnView*> views;
  RowOrderView order;
};

// Writes rows given by column, in the order of the schema; hashes[i] is the key hash of the i-th row and must not fall,
// and rows of one hash are ordered by their encoded keys (OrderByKey and MergeRuns do both).
// On any error (kFull: no room) nothing is left behind. kCorrupt if a source's offsets are impossible.
Status WriteSegment(const SegmentSpec& spec, const std::vector<ColumnRows>& columns, const uint64_t* hashes);
// The same of rows of which each lies in one source.
Status WriteSegment(const SegmentSpec& spec, const std::vector<Source>& sources, RowOrderView order,
                    const uint64_t* hashes);

// The same for a segment whose number is not known yet: leaves it under spec.path, of number 0. SealSegment() gives it
// number and name in the same folder.
Status WriteUnsealed(const SegmentSpec& spec, const std::vector<Source>& sources, RowOrderView order,
                     const uint64_t* hashes);
Status SealSegment(const std::string& unsealed, uint64_t segment_id, const std::string& path, bool durable);

// About the bytes that the rows of a source take in a segment.
uint64_t BytesInSegment(const Source& source);

// Rows of `sources` by key: hashes of all keys, then the order in which a segment holds them.
struct KeyOrder {
  HugeVector<RowRef> order;
  HugeVector<uint64_t> hashes;
};

// Which of several rows with the same key stays.
enum class Twice { kFirst, kLast };

// Sorts all rows by key hash, and those of one hash by their encoded keys, on up to `threads` threads. Of rows with the
// same key the last one stays, or the first. *duplicate is one that has its key in common with another (source < 0: there
// was none).
Status OrderByKey(const Schema& schema, const std::vector<Source>& sources, int threads, KeyOrder* out,
                  int64_t* duplicate_source, int64_t* duplicate_row, Twice twice = Twice::kLast);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEGMENT_WRITER_H_
