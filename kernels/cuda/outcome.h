// Outcome: what the CUDA layer returns: a gf_cuda_code and words. Core's Status becomes one in one place, here.
#ifndef GRIDFLOW_CUDA_OUTCOME_H_
#define GRIDFLOW_CUDA_OUTCOME_H_

#include <string>
#include <utility>

#include "core/status.h"
#include "gridflow/cuda_api.h"

namespace gridflow {
namespace cuda {

struct Outcome {
  gf_cuda_code code = GF_CUDA_OK;
  std::string message;

  bool ok() const { return code == GF_CUDA_OK; }
};

inline Outcome Ok() { return {}; }
inline Outcome Fail(gf_cuda_code code, std::string message) { return {code, std::move(message)}; }

inline Outcome From(const Status& status) {
  switch (status.code) {
    case Code::kOk:
      return Ok();
    case Code::kNotFound:
    case Code::kGone:
      return Fail(GF_CUDA_NOT_FOUND, status.message);
    case Code::kCorrupt:
      return Fail(GF_CUDA_CORRUPT, status.message);
    case Code::kInvalid:
      return Fail(GF_CUDA_INVALID, status.message);
    default:
      return Fail(GF_CUDA_FAILED, status.message);
  }
}

#define GF_CUDA_RETURN_IF_ERROR(expression)               \
  do {                                                    \
    ::gridflow::cuda::Outcome gf_outcome_ = (expression); \
    if (!gf_outcome_.ok()) return gf_outcome_;            \
  } while (0)

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_OUTCOME_H_
