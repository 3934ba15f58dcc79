// RowPlan: which rows of a snapshot are read, and in which order.
#ifndef GRIDFLOW_CORE_ROW_PLAN_H_
#define GRIDFLOW_CORE_ROW_PLAN_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "core/snapshot.h"
#include "core/snapshot_diff.h"
#include "core/status.h"

namespace gridflow {

// Rows that lie one after the other in a segment, none of them deleted.
struct Run {
  int segment;  // index in TableSnapshot::segments()
  int64_t begin;
  int64_t count;
};

// Puts pairs of partitions, begin and end (exclusive), in order: sorted, disjoint and not touching each other. Invalid:
// there are no such partitions among that many.
Status NormalizePartitions(const std::vector<int64_t>& ranges, int64_t partitions,
                           std::vector<std::pair<int64_t, int64_t>>* out);

// Segment after segment, in each one the wanted partitions, in each one the live rows. A row's place in this order is
// its ordinal. Nothing else decides on the order: whoever numbers rows asks for the plan's runs and takes them as they
// come. Immutable; any thread may read it. Points into the snapshot it was made of.
class RowPlan {
 public:
  // Where the next row is read. A default one stands at the first row.
  struct Cursor {
    int64_t ordinal = 0;
    size_t span = 0;
    int64_t offset = 0;  // of the row in its span, deleted rows counted
  };

  // `ranges` are pairs of partitions, begin and end (exclusive), in any order; rows that several of them name are read
  // once. No ranges: all rows.
  static Status Make(const TableSnapshot& snapshot, const std::vector<int64_t>& ranges, RowPlan* out);
  // The rows of the plan that are among `rows`, which lie in order and do not overlap.
  RowPlan Among(const TableSnapshot& snapshot, const std::vector<RowRange>& rows) const;

  int64_t rows() const { return rows_; }
  // The partitions that were asked for, as pairs of begin and end: sorted, disjoint and not touching each other.
  const std::vector<std::pair<int64_t, int64_t>>& partitions() const { return partitions_; }
  // Appends all rows to `runs`, in order.
  void All(std::vector<Run>* runs) const;
  // The cursor at that ordinal, or at the end.
  Cursor Seek(int64_t ordinal) const;
  // Appends the rows at these ordinals, each of which must be one, to `runs`.
  void Find(const std::vector<int64_t>& ordinals, std::vector<Run>* runs) const;
  // Appends the next `count` rows to `runs` and moves on; returns how many there were.
  int64_t Take(int64_t count, Cursor* cursor, std::vector<Run>* runs) const;

 private:
  struct Span {
    int segment;
    int64_t begin;            // row of the segment
    int64_t length;           // deleted rows counted
    int64_t first;            // ordinal of the first live row
    const uint8_t* deletions = nullptr;  // of the segment; null: none in this span
    std::vector<int64_t> ranks;          // live rows before every kRankStep-th row, if any are deleted
  };

  void Add(const SegmentRef& ref, int segment, int64_t begin, int64_t end);

  std::vector<std::pair<int64_t, int64_t>> partitions_;
  std::vector<Span> spans_;
  int64_t rows_ = 0;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_ROW_PLAN_H_
