// Tensors that are views of memory that is not TensorFlow's.
#ifndef GRIDFLOW_OPS_BUFFER_H_
#define GRIDFLOW_OPS_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "gridflow/segment_format.h"
#include "tensorflow/core/framework/tensor.h"

namespace gridflow {
namespace ops {

// TensorFlow's CPU kernels load whole vectors, and end the process when a tensor's data is not aligned for them.
inline bool IsAligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % GF_BUFFER_ALIGNMENT == 0;
}

// A tensor of `bytes` bytes at `data`, in memory of that type that `owner` keeps: a mapping, say. The owner lives as long
// as the tensor or any tensor that TensorFlow makes of it without a copy (a slice, a variable's initial value).
// REQUIRES: IsAligned(data).
tensorflow::Tensor ViewOf(std::shared_ptr<const void> owner, tensorflow::AllocatorMemoryType memory, const void* data,
                          size_t bytes, tensorflow::DataType dtype, const tensorflow::TensorShape& shape);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_BUFFER_H_
