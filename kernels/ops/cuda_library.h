// CudaLibrary: the functions of gridflow/cuda_api.h, in the library that lies beside this one in the package.
#ifndef GRIDFLOW_OPS_CUDA_LIBRARY_H_
#define GRIDFLOW_OPS_CUDA_LIBRARY_H_

#include "absl/status/status.h"
#include "gridflow/cuda_api.h"

namespace gridflow {
namespace ops {

struct CudaLibrary {
  decltype(&gf_cuda_pin_memory) pin_memory;
  decltype(&gf_cuda_unpin_memory) unpin_memory;
  decltype(&gf_cuda_retain) retain;
  decltype(&gf_cuda_close) close;
  decltype(&gf_cuda_device_of) device_of;
  decltype(&gf_cuda_rows) rows;
  decltype(&gf_cuda_result_bytes) result_bytes;
  decltype(&gf_cuda_gather) gather;
  decltype(&gf_cuda_batch) batch;
  decltype(&gf_cuda_view) view;
  decltype(&gf_cuda_release) release;
  decltype(&gf_cuda_check) check;

  // Opened at the first call, and never closed. FailedPrecondition: it is not there, or of another version.
  static absl::Status Get(const CudaLibrary** out);
};

// What one of the functions said, as TensorFlow's status.
absl::Status CudaStatus(int code, const gf_cuda_error& error);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_CUDA_LIBRARY_H_
