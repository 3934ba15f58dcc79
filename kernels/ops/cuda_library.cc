#include "ops/cuda_library.h"

#include <dlfcn.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace gridflow {
namespace ops {
namespace {

struct Opened {
  CudaLibrary library{};
  absl::Status status;
};

// gridflow/tf/_gridflow_ops.so knows where it is, and so where gridflow/cuda/_gridflow_cuda.so is.
std::string Path() {
  Dl_info info;
  if (::dladdr(reinterpret_cast<const void*>(&CudaLibrary::Get), &info) == 0) return "";
  const std::string mine = info.dli_fname;
  const size_t slash = mine.rfind('/');
  return absl::StrCat(slash == std::string::npos ? "." : mine.substr(0, slash), "/../cuda/_gridflow_cuda.so");
}

Opened Open() {
  Opened opened;
  void* library = ::dlopen(Path().c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* failure = library == nullptr ? ::dlerror() : nullptr;
#define GF_CUDA_FIND(name)                                                                                    \
  if (failure == nullptr) {                                                                                   \
    opened.library.name = reinterpret_cast<decltype(&gf_cuda_##name)>(::dlsym(library, "gf_cuda_" #name));     \
    if (opened.library.name == nullptr) failure = ::dlerror();                                                \
  }
  GF_CUDA_LIBRARY_FUNCTIONS(GF_CUDA_FIND)
#undef GF_CUDA_FIND
  if (failure != nullptr)
    opened.status = absl::FailedPreconditionError(
        absl::StrCat(failure, ": install gridflow again, or run `make build` in its sources"));
  return opened;
}

}  // namespace

absl::Status CudaLibrary::Get(const CudaLibrary** out) {
  static const Opened* opened = new Opened(Open());
  *out = &opened->library;
  return opened->status;
}

absl::Status CudaStatus(int code, const gf_cuda_error& error) {
  switch (code) {
    case GF_CUDA_OK:
      return absl::OkStatus();
    case GF_CUDA_NO_DRIVER:
    case GF_CUDA_NO_COMPILER:
    case GF_CUDA_NO_DEVICE:
      return absl::FailedPreconditionError(error.message);
    case GF_CUDA_NO_MEMORY:
      return absl::ResourceExhaustedError(error.message);
    case GF_CUDA_NOT_FOUND:
      return absl::NotFoundError(error.message);
    case GF_CUDA_INVALID:
    case GF_CUDA_OUT_OF_RANGE:  // tf.data would take OutOfRange for the end
      return absl::InvalidArgumentError(error.message);
    case GF_CUDA_CORRUPT:
      return absl::DataLossError(error.message);
    default:
      return absl::InternalError(error.message);
  }
}

}  // namespace ops
}  // namespace gridflow
