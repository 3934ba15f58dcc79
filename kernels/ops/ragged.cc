#include "ops/ragged.h"

#include <utility>
#include <vector>

#include "tensorflow/core/kernels/ragged_tensor_variant.h"

namespace gridflow {
namespace ops {

tensorflow::Tensor RaggedVariant(tensorflow::Tensor values, std::vector<tensorflow::Tensor> splits) {
  tensorflow::Tensor variant(tensorflow::DT_VARIANT, tensorflow::TensorShape({}));
  variant.scalar<tensorflow::Variant>()() = tensorflow::RaggedTensorVariant(std::move(values), splits);
  return variant;
}

}  // namespace ops
}  // namespace gridflow
