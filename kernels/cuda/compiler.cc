#include "cuda/compiler.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/key_hash.h"
#include "core/mapping.h"
#include "core/mutex.h"
#include "cuda/given_path.h"
#include "cuda/sources.h"

namespace gridflow {
namespace cuda {
namespace {

using nvrtcResult = int;
using nvrtcProgram = struct _nvrtcProgram*;

// Declarations follow NVIDIA's documentation of NVRTC.
#define GF_NVRTC_FUNCTIONS(F)                                                                                  \
  F(Version, "nvrtcVersion", (int*, int*))                                                                     \
  F(GetNumSupportedArchs, "nvrtcGetNumSupportedArchs", (int*))                                                 \
  F(GetSupportedArchs, "nvrtcGetSupportedArchs", (int*))                                                       \
  F(CreateProgram, "nvrtcCreateProgram",                                                                       \
    (nvrtcProgram*, const char*, const char*, int, const char* const*, const char* const*))                    \
  F(DestroyProgram, "nvrtcDestroyProgram", (nvrtcProgram*))                                                    \
  F(CompileProgram, "nvrtcCompileProgram", (nvrtcProgram, int, const char* const*))                            \
  F(GetProgramLogSize, "nvrtcGetProgramLogSize", (nvrtcProgram, size_t*))                                      \
  F(GetProgramLog, "nvrtcGetProgramLog", (nvrtcProgram, char*))                                                \
  F(GetCUBINSize, "nvrtcGetCUBINSize", (nvrtcProgram, size_t*))                                                \
  F(GetCUBIN, "nvrtcGetCUBIN", (nvrtcProgram, char*))

struct Nvrtc {
#define GF_NVRTC_DECLARE(name, symbol, arguments) nvrtcResult(*name) arguments = nullptr;
  GF_NVRTC_FUNCTIONS(GF_NVRTC_DECLARE)
#undef GF_NVRTC_DECLARE
  int major = 0, minor = 0;
};

GivenPath& Path() {
  static auto* path = new GivenPath;
  return *path;
}

void* OpenLibrary() {
  const std::string given = Path().Get();
  if (!given.empty())
    if (void* library = ::dlopen(given.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"})
    if (void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
  return nullptr;
}

Outcome Open(const Nvrtc** out) {
  static Mutex mutex;
  static Nvrtc* opened GF_GUARDED_BY(mutex) = nullptr;  // until it could be opened each call tries again
  MutexLock lock(&mutex);
  *out = opened;
  if (opened != nullptr) return Ok();
  void* library = OpenLibrary();
  if (library == nullptr)
    return Fail(GF_CUDA_NO_COMPILER,
                "there is no NVRTC (libnvrtc.so), which compiles kernels for the GPU: pip install nvidia-cuda-nvrtc");
  Nvrtc found;
  const char* missing = nullptr;
#define GF_NVRTC_FIND(name, symbol, arguments)                                               \
  found.name = reinterpret_cast<nvrtcResult(*) arguments>(::dlsym(library, symbol));          \
  if (found.name == nullptr) missing = symbol;
  GF_NVRTC_FUNCTIONS(GF_NVRTC_FIND)
#undef GF_NVRTC_FIND
  if (missing != nullptr)
    return Fail(GF_CUDA_NO_COMPILER, std::string("NVRTC is too old: it has no ") + missing);
  found.Version(&found.major, &found.minor);
  *out = opened = new Nvrtc(found);
  return Ok();
}

Outcome Compile(const Nvrtc& nvrtc, int capability, int part, std::string* cubin) {
  int count = 0;
  nvrtc.GetNumSupportedArchs(&count);
  std::vector<int> known(static_cast<size_t>(count) + 1);
  nvrtc.GetSupportedArchs(known.data());
  known.resize(static_cast<size_t>(count));
  // Code for sm_XY runs on every GPU of the same X and no smaller Y.
  int best = 0;
  for (const int arch : known)
    if (arch / 10 == capability / 10 && arch <= capability && arch > best) best = arch;
  const std::string name = "NVRTC " + std::to_string(nvrtc.major) + "." + std::to_string(nvrtc.minor);
  if (best == 0)
    return Fail(GF_CUDA_NO_COMPILER, name + " does not compile for compute capability " +
                                         std::to_string(capability / 10) + "." + std::to_string(capability % 10));
  nvrtcProgram program = nullptr;
  constexpr int kHeaders = kSourceCount - 1;
  const char *names[kHeaders], *headers[kHeaders];
  for (int i = 0; i < kHeaders; ++i) {
    names[i] = kSources[i + 1].name;
    headers[i] = kSources[i + 1].text;
  }
  if (nvrtc.CreateProgram(&program, kSources[0].text, kSources[0].name, kHeaders, headers, names) != 0)
    return Fail(GF_CUDA_NO_COMPILER, name + " cannot make a program");
  const std::string arch = "--gpu-architecture=sm_" + std::to_string(best);
  const std::string define = "--define-macro=GF_PART=" + std::to_string(part);
  const char* options[] = {arch.c_str(), define.c_str(), "--std=c++17", "--fmad=false"};
  const bool compiled = nvrtc.CompileProgram(program, 4, options) == 0;
  size_t bytes = 0;
  if (compiled && nvrtc.GetCUBINSize(program, &bytes) == 0 && bytes > 0) {
    cubin->resize(bytes);
    nvrtc.GetCUBIN(program, &(*cubin)[0]);
  }
  std::string log;
  if (!compiled && nvrtc.GetProgramLogSize(program, &bytes) == 0 && bytes > 0) {
    log.resize(bytes);
    nvrtc.GetProgramLog(program, &log[0]);
  }
  nvrtc.DestroyProgram(&program);
  if (compiled && !cubin->empty()) return Ok();
  return Fail(GF_CUDA_NO_COMPILER, name + " does not compile the kernels for sm_" + std::to_string(best) + ": " + log);
}

// A folder under the user's cache, made if it is not there; empty if it cannot be.
std::string CacheFolder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::string folder;
  if (cache != nullptr && cache[0] == '/') {
    folder = cache;
  } else if (home != nullptr && home[0] == '/') {
    folder = std::string(home) + "/.cache";
  } else {
    return "";
  }
  ::mkdir(folder.c_str(), 0700);
  for (const char* part : {"/gridflow", "/kernels"}) {
    folder += part;
    ::mkdir(folder.c_str(), 0700);
  }
  // Code that others could replace is not run.
  struct stat info;
  if (::stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return "";
  return info.st_uid == ::geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0 ? folder : "";
}

std::string Hex(uint64_t number) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(number));
  return text;
}

uint64_t HashOf(const std::string& text) { return KeyHash(text.data(), text.size()); }

}  // namespace

void UseCompiler(const std::string& path) { Path().Set(path); }

Outcome CompileKernels(int capability, int part, std::string* cubin) {
  const Nvrtc* nvrtc;
  GF_CUDA_RETURN_IF_ERROR(Open(&nvrtc));
  cubin->clear();
  return Compile(*nvrtc, capability, part, cubin);
}

Outcome CachedKernels(int capability, int part, std::string* cubin) {
  // Named by what it is made of, not by what made it: without NVRTC, what was compiled before still serves.
  const std::string what = std::to_string(part) + "-sm_" + std::to_string(capability);
  std::string made_of = what;
  for (const Source& source : kSources) made_of += source.text;
  const std::string folder = CacheFolder();
  const std::string path = folder + "/gather" + what + "-" + Hex(HashOf(made_of)) + ".cubin";
  std::shared_ptr<const Mapping> file;
  constexpr size_t kHash = 16;
  if (!folder.empty() && Mapping::Open(path, &file).ok() && file->size() > kHash) {
    const std::string text(reinterpret_cast<const char*>(file->data()), file->size());
    *cubin = text.substr(kHash);
    if (text.compare(0, kHash, Hex(HashOf(*cubin))) == 0) return Ok();
  }
  GF_CUDA_RETURN_IF_ERROR(CompileKernels(capability, part, cubin));
  if (folder.empty()) return Ok();
  const std::string text = Hex(HashOf(*cubin)) + *cubin;
  (void)ReplaceFile(path, text.data(), text.size(), false);  // it is a cache: the next process tries again
  return Ok();
}

}  // namespace cuda
}  // namespace gridflow
