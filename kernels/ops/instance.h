// Instance and Epochs: what all copies of a dataset in this process share, and what a dataset and those made of it do.
#ifndef GRIDFLOW_OPS_INSTANCE_H_
#define GRIDFLOW_OPS_INSTANCE_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "ops/counters.h"
#include "ops/environment.h"

namespace gridflow {
namespace ops {

// tf.data may make a dataset anew for each iterator, from its graph. Python gives each dataset a number, by which the
// copies find each other for as long as one of them is there, and likewise the epochs of a shuffle or of draws, which are
// those of all datasets that were made of it: who takes ten rows again gets ten others. Any thread may use either.
struct Epochs {
  // The ones of that number; made with that seed if nobody holds them.
  static std::shared_ptr<Epochs> Of(int64_t number, uint64_t seed);

  const int64_t number;
  std::atomic<uint64_t> seed;
  // The next iterator, or the next pass of one, has this number: each has an order of its own.
  std::atomic<int64_t> next{0};

  Epochs(int64_t number, uint64_t seed);
  ~Epochs();
};

struct Instance {
  // The one of that number; made with those epochs if nobody holds it.
  static std::shared_ptr<Instance> Of(int64_t number, std::shared_ptr<Epochs> epochs);

  // Null if nobody holds one of that number.
  static std::shared_ptr<Instance> Find(int64_t number);

  const int64_t number;
  const std::shared_ptr<Epochs> epochs;
  // Whether iterators that follow the table are to end.
  std::atomic<bool> stopped{false};
  Counters counters;

  // Read once, so that a dataset stays what it is where a program changes its environment later.
  const Environment environment;

  Instance(int64_t number, std::shared_ptr<Epochs> epochs);
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
