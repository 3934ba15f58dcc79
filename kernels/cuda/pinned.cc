#include "cuda/pinned.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "core/weak_registry.h"

namespace gridflow {
namespace cuda {
namespace {

// By the address: core maps a file once, and the mapping lives as long as what is registered of it. Registered memory is
// portable: it serves all GPUs.
using Registry = WeakRegistry<const uint8_t*, Pinned>;
Registry& All() {
  static auto* registry = new Registry;
  return *registry;
}

}  // namespace

std::shared_ptr<Pinned> Pinned::Of(Device* device, const std::shared_ptr<const Mapping>& mapping) {
  return All().FindOrMake(mapping->data(), [&] {
    return std::shared_ptr<Pinned>(new Pinned(device, mapping->data(), mapping->size(), kPinnedPiece, mapping));
  });
}

Outcome Pinned::Memory(Device* device, const void* begin, uint64_t bytes, std::unique_ptr<Pinned>* out) {
  if (bytes == 0) return Fail(GF_CUDA_INVALID, "no memory to register");
  out->reset(new Pinned(device, static_cast<const uint8_t*>(begin), bytes, bytes, nullptr));
  uint64_t registered;
  MutexLock lock(&(*out)->mutex_);
  return (*out)->RegisterNext(&registered);
}

Outcome Pinned::RegisterNext(uint64_t* bytes) {
  if (!device_->reads_read_only())
    return Fail(GF_CUDA_NO_DEVICE, "this GPU's driver does not register memory that may only be read");
  *bytes = std::min(piece_, bytes_ - registered_);
  const Current current(*device_);
  const Driver& driver = device_->driver();
  void* begin = const_cast<uint8_t*>(begin_) + registered_;
  // Read-only, as the mapping is; the driver would refuse it else.
  CUresult result;
  // Who held it last may still be about to give it back.
  for (int tries = 0; tries < 1000; ++tries) {
    result = driver.MemHostRegister(begin, *bytes, kRegisterPortable | kRegisterMapped | kRegisterReadOnly);
    if (result != kAlreadyRegistered) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (result != 0) {
    const std::string what = mapping_ != nullptr ? mapping_->path() : std::to_string(*bytes) + " bytes";
    Outcome outcome = driver.Check(result, "register " + what + " with the GPU's driver");
    if (result == kNotPermitted || result == kOutOfMemory) {
      outcome.code = GF_CUDA_NO_MEMORY;
      outcome.message += "; ulimit -l says how much memory may be locked";
    }
    return outcome;
  }
  registered_ += *bytes;
  return Ok();
}

Pinned::~Pinned() {
  {
    const Current current(*device_);
    for (uint64_t at = 0; at < registered_; at += piece_)
      device_->driver().MemHostUnregister(const_cast<uint8_t*>(begin_) + at);
  }
  if (mapping_ != nullptr) All().Forget(begin_);
}

}  // namespace cuda
}  // namespace gridflow
