// Ragged tensors as tf.data hands them on: a scalar variant.
#ifndef GRIDFLOW_OPS_RAGGED_H_
#define GRIDFLOW_OPS_RAGGED_H_

#include "tensorflow/core/framework/tensor.h"

namespace gridflow {
namespace ops {

// The ragged tensor of `values`, cut by `splits` (int64). Apart from the rest because TensorFlow's header for it takes
// longer to compile than everything else here.
tensorflow::Tensor RaggedVariant(tensorflow::Tensor values, tensorflow::Tensor splits);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_RAGGED_H_
