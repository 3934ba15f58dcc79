#include "cuda/device.h"

#include <algorithm>
#include <cstring>

#include "cuda/compiler.h"

namespace gridflow {
namespace cuda {
namespace {

constexpr int kLeastCapability = 75;
constexpr int kOnDevice = 1, kPinned = 1, kPosixDescriptor = 1, kReadWrite = 3;

CUmemAllocationProp PropertiesOf(int ordinal) {
  CUmemAllocationProp properties;
  std::memset(&properties, 0, sizeof(properties));
  properties.type = kPinned;
  properties.requested_handle_types = kPosixDescriptor;
  properties.location = {kOnDevice, ordinal};
  return properties;
}

}  // namespace

Current::Current(const Device& device) : driver_(device.driver()) { driver_.CtxPushCurrent(device.context()); }

Current::~Current() {
  CUcontext ours;
  driver_.CtxPopCurrent(&ours);
}

Outcome Device::Count(int* count) {
  const Driver* driver;
  GF_CUDA_RETURN_IF_ERROR(Driver::Get(&driver));
  return driver->Check(driver->DeviceGetCount(count), "count GPUs");
}

Outcome Device::Get(int ordinal, Device** out) {
  static Mutex mutex;
  static auto* devices GF_PT_GUARDED_BY(mutex) = new std::map<int, std::unique_ptr<Device>>;
  int count;
  GF_CUDA_RETURN_IF_ERROR(Count(&count));
  if (ordinal < 0 || ordinal >= count)
    return Fail(GF_CUDA_NO_DEVICE, "no GPU " + std::to_string(ordinal) + ": there are " + std::to_string(count));
  MutexLock lock(&mutex);
  std::unique_ptr<Device>& device = (*devices)[ordinal];
  if (device == nullptr) {
    std::unique_ptr<Device> made(new Device);
    GF_CUDA_RETURN_IF_ERROR(made->Start(ordinal));
    device = std::move(made);
  }
  *out = device.get();
  return Ok();
}

Outcome Device::Start(int ordinal) {
  GF_CUDA_RETURN_IF_ERROR(Driver::Get(&driver_));
  const Driver& driver = *driver_;
  ordinal_ = ordinal;
  const std::string name = "GPU " + std::to_string(ordinal);
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.DeviceGet(&device_, ordinal), "open " + name));
  const auto ask = [&](Attribute attribute) {
    int value = 0;
    driver.DeviceGetAttribute(&value, attribute, device_);
    return value;
  };
  major_ = ask(kMajor);
  minor_ = ask(kMinor);
  multiprocessors_ = ask(kMultiprocessors);
  if (capability() < kLeastCapability)
    return Fail(GF_CUDA_NO_DEVICE, name + " is too old: compute capability " + std::to_string(major_) + "." +
                                       std::to_string(minor_) + ", and 7.5 is needed");
  reads_host_addresses_ = ask(kHostPointerForRegistered) != 0;
  reads_read_only_ = ask(kReadOnlyRegistered) != 0;
  shares_memory_ = ask(kVirtualMemory) != 0 && ask(kDescriptors) != 0;
  return driver.Check(driver.DevicePrimaryCtxRetain(&context_, device_), "use " + name);
}

Outcome Device::Describe(gf_cuda_device* out) const {
  std::memset(out, 0, sizeof(*out));
  driver_->DeviceGetName(out->name, sizeof(out->name), device_);
  CUuuid uuid;
  std::memset(&uuid, 0, sizeof(uuid));
  driver_->DeviceGetUuid(&uuid, device_);
  std::memcpy(out->uuid, uuid.bytes, sizeof(out->uuid));
  out->major = major_;
  out->minor = minor_;
  out->multiprocessors = multiprocessors_;
  out->reads_pinned = reads_host_addresses_ && reads_read_only_;
  size_t free = 0, all = 0;
  GF_CUDA_RETURN_IF_ERROR(FreeMemory(&free, &all));
  out->free_bytes = free;
  out->memory_bytes = all;
  return Ok();
}

Outcome Device::FreeMemory(size_t* free, size_t* all) const {
  const Current current(*this);
  return driver_->Check(driver_->MemGetInfo(free, all), "ask for the GPU's memory");
}

Outcome Device::Kernel(int part, const std::string& name, CUfunction* out) {
  MutexLock lock(&mutex_);
  CUmodule& module = modules_[part];
  if (module == nullptr) {
    std::string cubin;
    GF_CUDA_RETURN_IF_ERROR(CachedKernels(capability(), part, &cubin));
    GF_CUDA_RETURN_IF_ERROR(driver_->Check(driver_->ModuleLoadData(&module, cubin.data()), "load the kernels"));
  }
  CUfunction& function = kernels_[{part, name}];
  if (function == nullptr)
    GF_CUDA_RETURN_IF_ERROR(
        driver_->Check(driver_->ModuleGetFunction(&function, module, name.c_str()), "find kernel " + name));
  *out = function;
  return Ok();
}

Outcome Device::Launch(int part, const std::string& kernel, int64_t blocks, int threads, const void* args,
                       CUstream stream) {
  const Current current(*this);
  CUfunction function;
  GF_CUDA_RETURN_IF_ERROR(Kernel(part, kernel, &function));
  void* arguments[] = {const_cast<void*>(args)};
  const auto grid = static_cast<unsigned>(std::clamp<int64_t>(blocks, 1, int64_t{1} << 30));
  return driver_->Check(
      driver_->LaunchKernel(function, grid, 1, 1, static_cast<unsigned>(threads), 1, 1, 0, stream, arguments, nullptr),
      "launch kernel " + kernel);
}

Outcome DeviceMemory::Allocate(Device* device, size_t bytes, std::shared_ptr<DeviceMemory>* out) {
  const Driver& driver = device->driver();
  const Current current(*device);
  std::shared_ptr<DeviceMemory> memory(new DeviceMemory);
  memory->device_ = device;
  memory->bytes_ = bytes;
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.MemAlloc(&memory->address_, std::max<size_t>(bytes, 1)),
                                       "allocate " + std::to_string(bytes) + " bytes on the GPU"));
  *out = std::move(memory);
  return Ok();
}

Outcome DeviceMemory::NewShareable(Device* device, size_t bytes, std::shared_ptr<DeviceMemory>* out) {
  out->reset(new DeviceMemory);
  (*out)->device_ = device;
  (*out)->bytes_ = bytes;
  const Driver& driver = device->driver();
  const CUmemAllocationProp properties = PropertiesOf(device->ordinal());
  size_t step = 0;
  GF_CUDA_RETURN_IF_ERROR(
      driver.Check(driver.MemGetAllocationGranularity(&step, &properties, 0), "ask how memory is allocated"));
  (*out)->reserved_ = (std::max<size_t>(bytes, 1) + step - 1) / step * step;
  return Ok();
}

Outcome DeviceMemory::AllocateShareable(Device* device, size_t bytes, std::shared_ptr<DeviceMemory>* out) {
  if (!device->shares_memory()) return Allocate(device, bytes, out);
  const Driver& driver = device->driver();
  const Current current(*device);
  std::shared_ptr<DeviceMemory> memory;
  GF_CUDA_RETURN_IF_ERROR(NewShareable(device, bytes, &memory));
  const CUmemAllocationProp properties = PropertiesOf(device->ordinal());
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.MemCreate(&memory->handle_, memory->reserved_, &properties, 0),
                                       "allocate " + std::to_string(bytes) + " bytes on the GPU"));
  memory->has_handle_ = true;
  GF_CUDA_RETURN_IF_ERROR(memory->MapHandle());
  *out = std::move(memory);
  return Ok();
}

Outcome DeviceMemory::Import(Device* device, size_t bytes, int descriptor, std::shared_ptr<DeviceMemory>* out) {
  const Driver& driver = device->driver();
  if (!device->shares_memory()) return Fail(GF_CUDA_INVALID, "this GPU's driver does not share memory among processes");
  const Current current(*device);
  std::shared_ptr<DeviceMemory> memory;
  GF_CUDA_RETURN_IF_ERROR(NewShareable(device, bytes, &memory));
  void* given = reinterpret_cast<void*>(static_cast<intptr_t>(descriptor));
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.MemImportFromShareableHandle(&memory->handle_, given, kPosixDescriptor),
                                       "map another process's memory"));
  memory->has_handle_ = true;
  GF_CUDA_RETURN_IF_ERROR(memory->MapHandle());
  *out = std::move(memory);
  return Ok();
}

Outcome DeviceMemory::MapHandle() {
  const Driver& driver = device_->driver();
  GF_CUDA_RETURN_IF_ERROR(
      driver.Check(driver.MemAddressReserve(&address_, reserved_, 0, 0, 0), "reserve addresses on the GPU"));
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.MemMap(address_, reserved_, 0, handle_, 0), "map memory of the GPU"));
  mapped_ = true;
  const CUmemAccessDesc access = {{kOnDevice, device_->ordinal()}, kReadWrite};
  return driver.Check(driver.MemSetAccess(address_, reserved_, &access, 1), "use memory of the GPU");
}

DeviceMemory::~DeviceMemory() {
  const Driver& driver = device_->driver();
  const Current current(*device_);
  if (reserved_ == 0) {
    if (address_ != 0) driver.MemFree(address_);
    return;
  }
  if (mapped_) {
    // Whoever had a view may have work under way in a stream that nobody here knows. MemFree waits by itself.
    driver.CtxSynchronize();
    driver.MemUnmap(address_, reserved_);
  }
  if (address_ != 0) driver.MemAddressFree(address_, reserved_);
  if (has_handle_) driver.MemRelease(handle_);
}

Outcome DeviceMemory::Export(int* descriptor) const {
  if (!has_handle_) return Fail(GF_CUDA_INVALID, "this GPU's driver does not share memory among processes");
  const Driver& driver = device_->driver();
  const Current current(*device_);
  return driver.Check(driver.MemExportToShareableHandle(descriptor, handle_, kPosixDescriptor, 0),
                      "share memory of the GPU");
}

}  // namespace cuda
}  // namespace gridflow
