// Gathering: the values of many runs, copied one after the other.
#ifndef GRIDFLOW_OPS_GATHER_H_
#define GRIDFLOW_OPS_GATHER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "ops/row_plan.h"
#include "ops/workers.h"

namespace gridflow {
namespace ops {

// Runs of rows, or of the items of lists.
using Runs = absl::Span<const Run>;

// A shuffled batch is a run for each row, and each of them a cache miss: so many are under way at a time.
constexpr size_t kRunsAhead = 16;

// Copies the values of `runs`, of `width` bytes each, to `out`; many bytes with the help of the workers. `bases` says
// where value 0 of each segment is; null: the segment has none, and their place in `out` stays as it is.
void GatherFixed(const Workers& workers, Runs runs, const std::vector<const uint8_t*>& bases, int64_t width,
                 char* out);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_GATHER_H_
