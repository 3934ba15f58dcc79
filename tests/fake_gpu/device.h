// CUDA's words for g++, read before a program with kernels. What g++ adds for its race detector, a call before each access
// of memory, comes here instead: the driver looks at every address.
#include "module.h"

#define __CUDACC__ 1
#define __device__
#define __global__ __attribute__((visibility("default")))
#define __grid_constant__
#define __shared__ static

#define FAKE_GPU_UNSEEN __attribute__((no_sanitize("thread")))

extern "C" {
// Where the linker puts what is not initialized: of kernels that is what a block shares, and nothing else.
extern char __bss_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
__attribute__((visibility("default"))) fake_gpu::Module fake_gpu_module = {{}, {}, {}, {}, nullptr, nullptr, nullptr,
                                                                           __bss_start, _end};

void __tsan_init() {}
#define FAKE_GPU_SEEN(name, type, bytes, writes) \
  FAKE_GPU_UNSEEN void __tsan_##name(type at) { fake_gpu_module.access(at, bytes, writes); }
#define FAKE_GPU_SEEN_OF_SIZE(bytes)                         \
  FAKE_GPU_SEEN(read##bytes, void*, bytes, false)            \
  FAKE_GPU_SEEN(write##bytes, void*, bytes, true)            \
  FAKE_GPU_SEEN(unaligned_read##bytes, void*, bytes, false)  \
  FAKE_GPU_SEEN(unaligned_write##bytes, void*, bytes, true)
FAKE_GPU_SEEN_OF_SIZE(1)
FAKE_GPU_SEEN_OF_SIZE(2)
FAKE_GPU_SEEN_OF_SIZE(4)
FAKE_GPU_SEEN_OF_SIZE(8)
FAKE_GPU_SEEN_OF_SIZE(16)
}

#define threadIdx (fake_gpu_module.thread)
#define blockIdx (fake_gpu_module.block)
#define blockDim (fake_gpu_module.threads)
#define gridDim (fake_gpu_module.blocks)
#define __syncthreads() fake_gpu_module.wait(true, __LINE__)
#define __syncwarp() fake_gpu_module.wait(false, __LINE__)

FAKE_GPU_UNSEEN static inline unsigned long long atomicCAS(unsigned long long* at, unsigned long long expected,
                                                           unsigned long long value) {
  return fake_gpu_module.compare_and_swap(at, expected, value);
}
static inline int min(int one, int other) { return one < other ? one : other; }
static inline int max(int one, int other) { return one > other ? one : other; }
static inline float __fmul_rn(float one, float other) { return one * other; }
static inline float __fadd_rn(float one, float other) { return one + other; }
