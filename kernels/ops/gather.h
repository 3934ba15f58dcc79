// Gathering: the values of many runs, copied one after the other.
#ifndef GRIDFLOW_OPS_GATHER_H_
#define GRIDFLOW_OPS_GATHER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/row_plan.h"
#include "ops/workers.h"

namespace gridflow {
namespace ops {

// Runs of rows, or of the items of lists.
using Runs = absl::Span<const Run>;

// A shuffled batch is a run for each row, and each of them a cache miss: so many are under way at a time.
constexpr size_t kRunsAhead = 16;

// The rows of an element: as runs, or one by one where they do not lie together.
struct Rows {
  std::vector<Run> runs;
  RowList list;
  bool listed = false;  // whether `list` has them; `runs`, too, once they were asked for

  void Clear() { runs.clear(); listed = false; }
  // Has them as runs in any case. Not thread-safe.
  const std::vector<Run>& AsRuns() {
    if (listed && runs.empty()) list.AppendTo(&runs);
    return runs;
  }
};

// Copies the values of `runs`, of `width` bytes each, to `out`; many bytes with the help of the workers. `bases` says
// where value 0 of each segment is; null: the segment has none, and their place in `out` stays as it is.
void GatherFixed(const Workers& workers, Runs runs, const std::vector<const uint8_t*>& bases, int64_t width, char* out);
// The same of rows one by one; each segment must have values. `width` is 1, 2, 4, 8 or 16.
void GatherList(const RowList& list, const std::vector<const uint8_t*>& bases, int64_t width, char* out);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_GATHER_H_
