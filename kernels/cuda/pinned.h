// Pinned: files that are registered with the driver, so that the GPU reads them where they are mapped.
#ifndef GRIDFLOW_CUDA_PINNED_H_
#define GRIDFLOW_CUDA_PINNED_H_

#include <cstdint>
#include <memory>

#include "core/mapping.h"
#include "core/mutex.h"
#include "cuda/device.h"

namespace gridflow {
namespace cuda {

// Files are registered in pieces of this size; a copy must not reach from one into the next.
constexpr uint64_t kPinnedPiece = uint64_t{1} << 30;

// A range of host memory that is registered as long as this lives.
class Pinned {
 public:
  // A mapped file, which is registered once in a process for all who ask, read-only, and kept mapped. `progress` is told
  // how many bytes more have been registered; what it returns, unless it is ok, ends the work.
  template <typename Progress>
  static Outcome File(Device* device, const std::shared_ptr<const Mapping>& mapping, const Progress& progress,
                      std::shared_ptr<Pinned>* out);
  // Read-only memory that whoever calls keeps mapped, as one piece.
  static Outcome Memory(Device* device, const void* begin, uint64_t bytes, std::unique_ptr<Pinned>* out);

  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  Pinned(Device* device, const uint8_t* begin, uint64_t bytes, uint64_t piece, std::shared_ptr<const Mapping> mapping)
      : device_(device), begin_(begin), bytes_(bytes), piece_(piece), mapping_(std::move(mapping)) {}
  static std::shared_ptr<Pinned> Of(Device* device, const std::shared_ptr<const Mapping>& mapping);
  Outcome RegisterNext(uint64_t* bytes) GF_REQUIRES(mutex_);

  Device* const device_;
  const uint8_t* const begin_;
  const uint64_t bytes_, piece_;
  const std::shared_ptr<const Mapping> mapping_;  // null: somebody else's
  Mutex mutex_;
  uint64_t registered_ GF_GUARDED_BY(mutex_) = 0;  // from the beginning on
};

template <typename Progress>
Outcome Pinned::File(Device* device, const std::shared_ptr<const Mapping>& mapping, const Progress& progress,
                     std::shared_ptr<Pinned>* out) {
  std::shared_ptr<Pinned> pinned = Of(device, mapping);
  MutexLock lock(&pinned->mutex_);  // who comes second waits, and then finds it done
  while (pinned->registered_ < mapping->size()) {
    uint64_t bytes = 0;
    GF_CUDA_RETURN_IF_ERROR(pinned->RegisterNext(&bytes));
    GF_CUDA_RETURN_IF_ERROR(progress(bytes));
  }
  *out = std::move(pinned);
  return Ok();
}

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_PINNED_H_
