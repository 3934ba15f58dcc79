#include "cuda/driver.h"

#include <dlfcn.h>

#include "cuda/given_path.h"

namespace gridflow {
namespace cuda {
namespace {

struct Opened {
  Driver driver;
  Outcome outcome;
};

GivenPath& Path() {
  static auto* path = new GivenPath;
  return *path;
}

Opened Open() {
  Opened opened;
  const std::string given = Path().Get();
  void* library = ::dlopen(given.empty() ? "libcuda.so.1" : given.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    opened.outcome = Fail(GF_CUDA_NO_DRIVER, std::string("no NVIDIA driver on this machine: ") + ::dlerror());
    return opened;
  }
  const char* missing = nullptr;
#define GF_CUDA_FIND(name, symbol, arguments)                                                 \
  opened.driver.name = reinterpret_cast<CUresult(*) arguments>(::dlsym(library, symbol));      \
  if (opened.driver.name == nullptr) missing = symbol;
  GF_CUDA_DRIVER_FUNCTIONS(GF_CUDA_FIND)
#undef GF_CUDA_FIND
  if (missing != nullptr) {
    opened.outcome = Fail(GF_CUDA_NO_DRIVER, std::string("the NVIDIA driver is too old: it has no ") + missing);
    return opened;
  }
  const CUresult result = opened.driver.Init(0);
  if (result != 0) {
    opened.outcome = opened.driver.Check(result, "start the NVIDIA driver");
    opened.outcome.code = GF_CUDA_NO_DRIVER;
  }
  return opened;
}

}  // namespace

void UseDriver(const std::string& path) { Path().Set(path); }

Outcome Driver::Get(const Driver** out) {
  static const Opened* opened = new Opened(Open());
  *out = &opened->driver;
  return opened->outcome;
}

Outcome Driver::Check(CUresult result, const std::string& what) const {
  if (result == 0) return Ok();
  const char *name = nullptr, *words = nullptr;
  GetErrorName(result, &name);
  GetErrorString(result, &words);
  std::string message = "cannot " + what + ": " + (words != nullptr ? words : "unknown error");
  if (name != nullptr) message += std::string(" (") + name + ")";
  return Fail(result == kOutOfMemory ? GF_CUDA_NO_MEMORY : GF_CUDA_FAILED, message);
}

}  // namespace cuda
}  // namespace gridflow
