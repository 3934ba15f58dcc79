#include "ops/pinning.h"

#include <unistd.h>

#include <atomic>
#include <memory>

#include "absl/log/log.h"
#include "ops/cuda_library.h"

namespace gridflow {
namespace ops {
namespace {

absl::Status Pin(const Mapping& mapping, int32_t gpu, std::shared_ptr<void>* out) {
  const CudaLibrary* cuda;
  if (absl::Status status = CudaLibrary::Get(&cuda); !status.ok()) return status;
  gf_cuda_pinned* pinned;
  gf_cuda_error error;
  const int code = cuda->pin_memory(gpu, mapping.data(), mapping.size(), &pinned, &error);
  if (code != 0) return CudaStatus(code, error);
  *out = {pinned, [cuda, owner = ::getpid()](void* it) {
            // The driver does not follow into a child that was forked.
            if (::getpid() == owner) cuda->unpin_memory(static_cast<gf_cuda_pinned*>(it));
          }};
  return absl::OkStatus();
}

}  // namespace

bool IsPinned(const Mapping& mapping, int32_t gpu) {
  return mapping.Attached([&] {
    static std::atomic<bool> said{false};
    std::shared_ptr<void> pinned;
    const absl::Status status = Pin(mapping, gpu, &pinned);
    if (!status.ok() && !said.exchange(true))
      LOG(WARNING) << "Gridflow: files are not pinned, so copies to the GPU take one in host memory more: "
                   << status.message();
    return pinned;
  }) != nullptr;
}

}  // namespace ops
}  // namespace gridflow
