// Ragged tensors as tf.data hands them on: a scalar variant.
#ifndef GRIDFLOW_OPS_RAGGED_H_
#define GRIDFLOW_OPS_RAGGED_H_

#include <vector>

#include "tensorflow/core/framework/tensor.h"

namespace gridflow {
namespace ops {

// The ragged tensor of `values`, cut by `splits` (int64), those of the outermost dimension first. Apart from the rest
// because TensorFlow's header for it takes longer to compile than everything else here.
tensorflow::Tensor RaggedVariant(tensorflow::Tensor values, std::vector<tensorflow::Tensor> splits);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_RAGGED_H_
