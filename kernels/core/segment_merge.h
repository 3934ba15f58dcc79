// SegmentMerge: segments of a table that become one while the table is read and written.
#ifndef GRIDFLOW_CORE_SEGMENT_MERGE_H_
#define GRIDFLOW_CORE_SEGMENT_MERGE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/segment_writer.h"
#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {

// Writes the live rows of some segments of a version as one file, which TableEdit::Replace() puts in their place:
//
//   SegmentMerge(base, ...) ── Run() ── CatchUp(a newer version) ... ── TableEdit(the current one).Replace(merge)
//
// Run() reads sealed files only, so others may write the table meanwhile. What they delete of the inputs is entered in
// the bitmap of the result by CatchUp(); it may be called again and again, and each call has only to do what is new.
//
// For one thread at a time, but for Cancel(), which any may call. Of one table there is one at a time.
class SegmentMerge {
 public:
  // `segments` are indexes into `base`. The file lies in `folder`, the table's, under a name that no manifest has.
  SegmentMerge(const std::string& folder, std::shared_ptr<const TableSnapshot> base, const std::vector<int>& segments,
               bool durable);
  ~SegmentMerge();
  SegmentMerge(const SegmentMerge&) = delete;
  SegmentMerge& operator=(const SegmentMerge&) = delete;

  // On up to `threads` threads. With `yielding` on one that leaves processor and disk to whoever else wants them.
  // kCancelled: Cancel() was called.
  Status Run(int threads, bool yielding);
  // False, and the merge is of no use any more, if an input is not among the segments of `version`.
  bool CatchUp(const TableSnapshot& version);
  void Cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

  // Whether a segment of that number is one of the inputs.
  bool Merges(uint64_t segment_id) const;
  uint64_t rows() const { return keys_.order.size(); }
  // Of the rows those that have been deleted since, as CatchUp() has found; empty if none has.
  const std::vector<uint8_t>& bits() const { return bits_; }
  uint64_t deleted() const { return deleted_; }
  const std::string& path() const { return path_; }
  // The file has got another name: it is not this object's to remove any more.
  void Sealed() { written_ = false; }

 private:
  struct Input {
    SegmentRef ref;  // with the deletions that are known
    int index;       // in base_
  };
  Status Write(int threads);
  // Marks a row of an input; it is looked for from `at` on, as rows of an input come in their order. False: it is not
  // there.
  bool MarkDeleted(uint32_t input, int64_t row, size_t* at);

  const std::string path_;
  const std::shared_ptr<const TableSnapshot> base_;
  const bool durable_;
  std::vector<Input> inputs_;
  KeyOrder keys_;  // of the rows that were written
  std::vector<uint8_t> bits_;
  uint64_t deleted_ = 0;
  bool written_ = false;
  std::atomic<bool> cancelled_{false};
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEGMENT_MERGE_H_
