// Instance: what all copies of a dataset in this process share.
#ifndef GRIDFLOW_OPS_INSTANCE_H_
#define GRIDFLOW_OPS_INSTANCE_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "ops/environment.h"

namespace gridflow {
namespace ops {

// tf.data may make a dataset anew for each iterator, from its graph. Python gives each dataset a number, by which the
// copies find each other for as long as one of them is there. Any thread may use it.
struct Instance {
  // The one of that number; made with that seed if nobody holds it.
  static std::shared_ptr<Instance> Of(int64_t number, uint64_t seed);

  const int64_t number;
  std::atomic<uint64_t> seed;
  // Of the next iterator, or of its next pass: each shuffles in an order of its own.
  std::atomic<int64_t> epoch{0};

  // Read once, so that a dataset stays what it is where a program changes its environment later.
  const absl::StatusOr<Environment> environment;

  Instance(int64_t number, uint64_t seed);
  ~Instance();
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_INSTANCE_H_
