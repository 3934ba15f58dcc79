// Deletions: which rows of a segment are gone, as a version of its table has it.
#ifndef GRIDFLOW_CORE_DELETIONS_H_
#define GRIDFLOW_CORE_DELETIONS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/mapping.h"
#include "core/status.h"
#include "gridflow/segment_format.h"

namespace gridflow {

// Bitmaps of at most so many bytes are always written whole, unless the process says otherwise: a page takes no less.
constexpr uint64_t kListedBytes = 4096;

// One bit a row, from a sealed file of one of two kinds: a bitmap, which is mapped, or a list of the rows that are gone
// beside those of a bitmap (or beside none), so that a few rows of a large segment cost a few bytes. Immutable; any thread
// may read it.
class Deletions {
 public:
  // `bitmap` is the one that a list adds to; null for a bitmap, and for a list that adds to none.
  static Status Open(const std::string& path, std::shared_ptr<const Deletions> bitmap,
                     std::shared_ptr<const Deletions>* out);
  // Writes and seals a bitmap of `rows` bits.
  static Status Write(const std::string& path, uint64_t segment_id, const std::vector<uint8_t>& bits, uint64_t rows,
                      uint64_t deleted, bool durable);
  // Writes and seals a list of what `bits` has and `bitmap`, which may be null, has not. `listed_bytes` is what the lists
  // before it have on the same bitmap.
  static Status WriteList(const std::string& path, uint64_t segment_id, const std::vector<uint8_t>& bits, uint64_t rows,
                          uint64_t deleted, uint64_t bitmap_id, const Deletions* bitmap, uint64_t listed_bytes,
                          bool durable);

  bool Test(int64_t row) const {
    GF_DCHECK(row >= 0 && row < rows_);
    return (bits_[row >> 3] >> (row & 7)) & 1;
  }
  // All that are gone, those of the bitmap too.
  const uint8_t* bits() const { return bits_; }
  int64_t rows() const { return rows_; }
  int64_t deleted() const { return deleted_; }
  uint64_t segment_id() const { return segment_id_; }
  bool is_list() const { return is_list_; }
  // Of a list: the bitmap that it adds to, and its id as the file has it; null and 0 for none.
  const std::shared_ptr<const Deletions>& bitmap() const { return bitmap_; }
  uint64_t bitmap_id() const { return bitmap_id_; }
  // Of a list: the bytes of rows in all lists on its bitmap up to this one.
  uint64_t listed_bytes() const { return listed_bytes_; }

 private:
  Deletions() = default;
  Status ReadBitmap(const gf_deletions_header& header);
  Status ReadList(const gf_deletions_header& header);
  std::shared_ptr<const Mapping> mapping_;  // of a bitmap's file; a list's is let go of
  std::shared_ptr<const Deletions> bitmap_;
  std::unique_ptr<uint8_t[]> own_;  // the bits of a list
  const uint8_t* bits_ = nullptr;
  bool is_list_ = false;
  int64_t rows_ = 0;
  int64_t deleted_ = 0;
  uint64_t segment_id_ = 0, bitmap_id_ = 0, listed_bytes_ = 0;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_DELETIONS_H_
