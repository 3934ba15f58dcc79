// Runs a kernel in host memory, thread after thread, and looks at every address that it reads or writes.
#ifndef GRIDFLOW_TESTS_FAKE_GPU_RUNNER_H_
#define GRIDFLOW_TESTS_FAKE_GPU_RUNNER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "module.h"

namespace fake_gpu {

// Memory that kernels may read.
struct Area {
  uintptr_t begin, end;
  bool may_be_written;
};

// Calls `body` for each thread of each block. Empty if all went well; else what a thread did that none may do:
//
//   - it touched memory outside `areas`, or wrote where it may only read,
//   - at an address that is no multiple of the size: a GPU does not do that,
//   - that another thread touched before, one of the two writing, and no barrier in between for both, be the memory the
//     block's or the GPU's: threads run in any order,
//   - it waits for threads that wait elsewhere.
//
// `areas` are in the order of their addresses. One call at a time.
std::string Run(Module* module, const std::string& name, const std::function<void()>& body, unsigned blocks,
                unsigned threads, const std::vector<Area>& areas);

// How often threads have read or written one of `areas`, in all runs.
uint64_t Touched();

}  // namespace fake_gpu

#endif  // GRIDFLOW_TESTS_FAKE_GPU_RUNNER_H_
