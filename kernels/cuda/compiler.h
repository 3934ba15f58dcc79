// Compiler: the kernels as machine code of a GPU, compiled by NVRTC once and then kept on disk.
#ifndef GRIDFLOW_CUDA_COMPILER_H_
#define GRIDFLOW_CUDA_COMPILER_H_

#include <string>

#include "cuda/outcome.h"

namespace gridflow {
namespace cuda {

// Where NVRTC is, if the loader does not find it. Must be called before it is needed.
void UseCompiler(const std::string& path);

// Kernels for a compute capability, major * 10 + minor; `part` is GF_PART of gather.cu. NO_COMPILER: there is no NVRTC, or
// it does not know that GPU.
Outcome CompileKernels(int capability, int part, std::string* cubin);

// The same from $XDG_CACHE_HOME/gridflow/kernels, or ~/.cache/gridflow/kernels, if it has been compiled before; else
// compiled and put there. A file that is damaged is replaced; where nothing can be written it is compiled every time.
Outcome CachedKernels(int capability, int part, std::string* cubin);

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_COMPILER_H_
