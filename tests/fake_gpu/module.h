// What kernels that g++ compiled share with the driver that runs them: see device.h.
#ifndef GRIDFLOW_TESTS_FAKE_GPU_MODULE_H_
#define GRIDFLOW_TESTS_FAKE_GPU_MODULE_H_

namespace fake_gpu {

struct Index {
  unsigned x, y, z;
};

// Of a library of kernels, under the name fake_gpu_module. The driver fills it in.
struct Module {
  Index thread, block, threads, blocks;  // of the thread that runs
  // Called before memory is read or written.
  void (*access)(const void* at, unsigned bytes, bool writes);
  // Until all threads of the block, or of the warp, are there.
  void (*wait)(bool whole_block, int line);
  unsigned long long (*compare_and_swap)(unsigned long long* at, unsigned long long expected, unsigned long long value);
  char *shared_begin, *shared_end;  // the module's own: its memory that a block shares
};

}  // namespace fake_gpu

#endif  // GRIDFLOW_TESTS_FAKE_GPU_MODULE_H_
