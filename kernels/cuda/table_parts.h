// What the parts of Table's implementation share.
#ifndef GRIDFLOW_CUDA_TABLE_PARTS_H_
#define GRIDFLOW_CUDA_TABLE_PARTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

#include "cuda/driver.h"
#include "cuda/outcome.h"

namespace gridflow {
namespace cuda {

constexpr unsigned kNoTiming = 2, kNonBlocking = 1;
// So many bytes and more are copied compressed, where that is faster; so many at once.
constexpr uint64_t kDecodedBytes = 256 * 1024, kDecodedAtOnce = 64 << 20;
// Where kernels say so, in Table::bad_: of rows that are not there, and of blocks that are none.
constexpr int kBadRows = 0, kBadBlocks = 2;

inline size_t Aligned(size_t bytes) {
  constexpr size_t kAlignment = 256;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

inline int Threads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u)); }

inline CUdeviceptr Address(const void* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

inline Outcome BadBlock(int64_t block) {
  return Fail(GF_CUDA_CORRUPT, "block " + std::to_string(block) + " of what was copied compressed cannot be decoded");
}

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_TABLE_PARTS_H_
