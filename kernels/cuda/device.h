// Device: a GPU, its context and kernels; and memory on it that goes when its last holder does.
#ifndef GRIDFLOW_CUDA_DEVICE_H_
#define GRIDFLOW_CUDA_DEVICE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "core/mutex.h"
#include "cuda/driver.h"
#include "cuda/gather_args.h"
#include "cuda/outcome.h"

namespace gridflow {
namespace cuda {

class Device;

// Makes a device's context that of this thread, and gives the one before back: TensorFlow's or PyTorch's, say.
class Current {
 public:
  explicit Current(const Device& device);
  ~Current();
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  const Driver& driver_;
};

// One for each GPU that is used, for as long as the process lives: it shares the primary context with all others who use
// the CUDA runtime. Any thread may use it.
class Device {
 public:
  // NO_DEVICE: there is no such GPU, or it is too old.
  static Outcome Get(int ordinal, Device** out);
  static Outcome Count(int* count);

  const Driver& driver() const { return *driver_; }
  int ordinal() const { return ordinal_; }
  CUcontext context() const { return context_; }
  int capability() const { return major_ * 10 + minor_; }
  int multiprocessors() const { return multiprocessors_; }
  // Whether kernels may read registered host memory under its own address, and memory that may not be written at all.
  bool reads_host_addresses() const { return reads_host_addresses_; }
  bool reads_read_only() const { return reads_read_only_; }
  // Whether memory can be given to other processes.
  bool shares_memory() const { return shares_memory_; }
  Outcome Describe(gf_cuda_device* out) const;
  Outcome FreeMemory(size_t* free, size_t* all) const;

  // Launches a kernel of a part of gather.cu, which is compiled at the first call; `args` are its GatherArgs or DecodeArgs.
  Outcome Launch(int part, const std::string& kernel, int64_t blocks, int threads, const void* args, CUstream stream);

 private:
  Device() = default;
  Outcome Start(int ordinal);
  Outcome Kernel(int part, const std::string& name, CUfunction* out);

  const Driver* driver_ = nullptr;
  int ordinal_ = 0;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  int major_ = 0, minor_ = 0, multiprocessors_ = 0;
  bool reads_host_addresses_ = false, reads_read_only_ = false, shares_memory_ = false;
  Mutex mutex_;
  std::map<int, CUmodule> modules_ GF_GUARDED_BY(mutex_);  // by part
  std::map<std::pair<int, std::string>, CUfunction> kernels_ GF_GUARDED_BY(mutex_);
};

// Memory of a device.
class DeviceMemory {
 public:
  // NO_MEMORY: there is not so much.
  static Outcome Allocate(Device* device, size_t bytes, std::shared_ptr<DeviceMemory>* out);
  // The same as something that can be exported, if the device can do so; in steps of 2 MiB or so.
  static Outcome AllocateShareable(Device* device, size_t bytes, std::shared_ptr<DeviceMemory>* out);
  // Of a descriptor that another process exported; it stays the caller's.
  static Outcome Import(Device* device, size_t bytes, int descriptor, std::shared_ptr<DeviceMemory>* out);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  unsigned char* data() const { return reinterpret_cast<unsigned char*>(address_); }
  size_t bytes() const { return bytes_; }
  // The caller closes the descriptor.
  Outcome Export(int* descriptor) const;

 private:
  DeviceMemory() = default;
  // Without memory yet; knows how many addresses it takes. The device's context is current.
  static Outcome NewShareable(Device* device, size_t bytes, std::shared_ptr<DeviceMemory>* out);
  Outcome MapHandle();

  Device* device_ = nullptr;
  CUdeviceptr address_ = 0;
  size_t bytes_ = 0;
  size_t reserved_ = 0;                      // of addresses; 0: plain memory
  CUmemGenericAllocationHandle handle_ = 0;  // of what is mapped there
  bool has_handle_ = false, mapped_ = false;
};

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_DEVICE_H_
