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

// The rows of a batch one by one, where they do not lie together: what a number of each is gathered by with the fewest
// steps.
struct RowList {
  struct Part {
    int segment;
    size_t count;
  };
  std::vector<Part> parts;     // one after the other
  std::vector<uint32_t> rows;  // of the segments

  // Fills it, if there are many runs and they are short. Returns whether it has.
  bool Set(Runs runs, int64_t count);
};

// Copies the values of `runs`, of `width` bytes each, to `out`; many bytes with the help of the workers. `bases` says
// where value 0 of each segment is; null: the segment has none, and their place in `out` stays as it is. `list` has the
// same rows, or is null.
void GatherFixed(const Workers& workers, Runs runs, const RowList* list, const std::vector<const uint8_t*>& bases,
                 int64_t width, char* out);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_GATHER_H_
