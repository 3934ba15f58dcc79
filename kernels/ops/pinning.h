// Pinning: mapped files that are registered with the driver of GPUs, so that TensorFlow copies from them without a stop
// in memory of its own.
#ifndef GRIDFLOW_OPS_PINNING_H_
#define GRIDFLOW_OPS_PINNING_H_

#include <cstdint>

#include "core/mapping.h"

namespace gridflow {
namespace ops {

// Whether the file is registered, for the GPU of that number and all others: which the first call does, for as long as
// the file is mapped. Where that cannot be done the first call in a process says why in the log.
bool IsPinned(const Mapping& mapping, int32_t gpu);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_PINNING_H_
