// The one place that turns core's Status into TensorFlow's.
#ifndef GRIDFLOW_OPS_STATUS_H_
#define GRIDFLOW_OPS_STATUS_H_

#include "absl/status/status.h"
#include "core/status.h"

namespace gridflow {
namespace ops {

inline absl::Status ToTf(const Status& status) {
  switch (status.code) {
    case Code::kOk:
      return absl::OkStatus();
    case Code::kNotFound:
    case Code::kGone:
      return absl::NotFoundError(status.message);
    case Code::kFull:
      return absl::ResourceExhaustedError(status.message);
    case Code::kAccess:
      return absl::PermissionDeniedError(status.message);
    case Code::kCorrupt:
      return absl::DataLossError(status.message);
    case Code::kVersion:
      return absl::FailedPreconditionError(status.message);
    case Code::kInvalid:
      return absl::InvalidArgumentError(status.message);
    case Code::kBusy:
    case Code::kUnreachable:
      return absl::UnavailableError(status.message);
    case Code::kCancelled:
      return absl::CancelledError(status.message);
    case Code::kInternal:
      break;
  }
  return absl::InternalError(status.message);
}

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_STATUS_H_
