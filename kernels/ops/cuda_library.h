// CudaLibrary: the functions of gridflow/cuda_api.h, in the library that lies beside this one in the package.
#ifndef GRIDFLOW_OPS_CUDA_LIBRARY_H_
#define GRIDFLOW_OPS_CUDA_LIBRARY_H_

#include "absl/status/status.h"
#include "gridflow/cuda_api.h"

namespace gridflow {
namespace ops {

// gf_cuda_<name>
#define GF_CUDA_LIBRARY_FUNCTIONS(F) \
  F(pin_memory) F(unpin_memory) F(retain) F(close) F(device_of) F(rows) F(result_bytes) F(gather) F(batch) F(view) \
  F(release) F(check)

struct CudaLibrary {
#define GF_CUDA_DECLARE(name) decltype(&gf_cuda_##name) name;
  GF_CUDA_LIBRARY_FUNCTIONS(GF_CUDA_DECLARE)
#undef GF_CUDA_DECLARE

  // Opened at the first call, and never closed. FailedPrecondition: it is not there, or of another version.
  static absl::Status Get(const CudaLibrary** out);
};

// What one of the functions said, as TensorFlow's status.
absl::Status CudaStatus(int code, const gf_cuda_error& error);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_CUDA_LIBRARY_H_
