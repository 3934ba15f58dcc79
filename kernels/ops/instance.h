// Instance: what all copies of a dataset in this process share.
#ifndef GRIDFLOW_OPS_INSTANCE_H_
#define GRIDFLOW_OPS_INSTANCE_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "ops/counters.h"
#include "ops/environment.h"

namespace gridflow {
namespace ops {

// tf.data may make a dataset anew for each iterator, from its graph. Python gives each dataset a number, by which the
// copies find each other for as long as one of them is there. Any thread may use it.
struct Instance {
  // The one of that number; made with that seed if nobody holds it.
  static std::shared_ptr<Instance> Of(int64_t number, uint64_t seed);

  // Null if nobody holds one of that number.
  static std::shared_ptr<Instance> Find(int64_t number);

  const int64_t number;
  std::atomic<uint64_t> seed;
  // Of the next iterator, or of its next pass: each shuffles in an order of its own.
  std::atomic<int64_t> epoch{0};
  // Whether iterators that follow the table are to end.
  std::atomic<bool> stopped{false};
  Counters counters;

  // Read once, so that a dataset stays what it is where a program changes its environment later.
  const absl::StatusOr<Environment> environment;

  Instance(int64_t number, uint64_t seed);
  ~Instance();
};

}  // namespace ops
}  // namespace gridflow

extern "C" {

// Both do nothing if no dataset of that number is there.
// Ends iterators that follow a table.
__attribute__((visibility("default"))) void gridflow_ops_stop(int64_t instance);
// Puts five numbers into `out`: tensors that were views, their bytes, tensors that were copied, their bytes; and the bytes
// of views of pinned memory.
__attribute__((visibility("default"))) void gridflow_ops_counters(int64_t instance, int64_t* out);
}

#endif  // GRIDFLOW_OPS_INSTANCE_H_
