// Texts that NVRTC compiles.
#ifndef GRIDFLOW_CUDA_SOURCES_H_
#define GRIDFLOW_CUDA_SOURCES_H_

namespace gridflow {
namespace cuda {

// A file of the kernels as #include names it.
struct Source {
  const char* name;
  const char* text;
};

// The first is the program, the others are its headers.
constexpr int kSourceCount = 5;
extern const Source kSources[kSourceCount];

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_SOURCES_H_
