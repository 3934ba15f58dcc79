// A device "GPU" for TensorFlow on machines without one, whose memory is that of driver.cc. Kernels of gridflow_ops for
// GPUs run on it. TensorFlow places its own there as well, but those for the processor do their work, in this memory.
// What XLA compiles does not run. To be loaded before TensorFlow looks for devices.
#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tensorflow/core/common_runtime/device_factory.h"
#include "tensorflow/core/common_runtime/local_device.h"
#include "tensorflow/core/framework/allocator.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/version.h"
#include "xla/stream_executor/stream_common.h"

namespace {

using tensorflow::Allocator;
using tensorflow::AllocatorAttributes;
using tensorflow::Device;
using tensorflow::Tensor;

// The functions of the driver, in the library that is named by the environment.
struct Driver {
  int (*alloc)(unsigned long long*, size_t);
  int (*free)(unsigned long long);
  int (*copy)(unsigned long long, unsigned long long, size_t, void*);
  int (*wait)(void*);

  static const Driver& Get() {
    static const Driver* driver = [] {
      void* library = ::dlopen(std::getenv("GRIDFLOW_FAKE_GPU"), RTLD_NOW);
      auto* made = new Driver;
      const auto find = [&](auto* function, const char* name) {
        *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(::dlsym(library, name));
        if (*function == nullptr) std::abort();
      };
      find(&made->alloc, "cuMemAlloc_v2");
      find(&made->free, "cuMemFree_v2");
      find(&made->copy, "cuMemcpyAsync");
      find(&made->wait, "cuStreamSynchronize");
      return made;
    }();
    return *driver;
  }
};

class Memory : public Allocator {
 public:
  std::string Name() override { return "fake GPU"; }
  void* AllocateRaw(size_t, size_t bytes) override {
    unsigned long long memory;
    return Driver::Get().alloc(&memory, bytes) == 0 ? reinterpret_cast<void*>(memory) : nullptr;
  }
  void DeallocateRaw(void* memory) override { Driver::Get().free(reinterpret_cast<unsigned long long>(memory)); }
  tensorflow::AllocatorMemoryType GetMemoryType() const override { return tensorflow::AllocatorMemoryType::kDevice; }
};

// The driver's default one, of which kernels ask only for its handle.
class DefaultStream : public stream_executor::StreamCommon {
 public:
  // An executor it must have; nobody asks for it.
  DefaultStream() : StreamCommon(reinterpret_cast<stream_executor::StreamExecutor*>(this)) {}
  PlatformSpecificHandle platform_specific_handle() const override { return {nullptr}; }
  absl::Status WaitFor(Stream*) override { return None(); }
  absl::Status WaitFor(stream_executor::Event*) override { return None(); }
  absl::Status RecordEvent(stream_executor::Event*) override { return None(); }
  absl::Status Memcpy(void*, const stream_executor::DeviceAddressBase&, uint64_t) override { return None(); }
  absl::Status Memcpy(stream_executor::DeviceAddressBase*, const void*, uint64_t) override { return None(); }
  absl::Status BlockHostUntilDone() override { return None(); }
  absl::Status DoHostCallbackWithStatus(absl::AnyInvocable<absl::Status() &&>) override { return None(); }

 private:
  static absl::Status None() { return absl::UnimplementedError("the fake GPU's stream has a handle and no more"); }
};

class Context : public tensorflow::DeviceContext {
 public:
  stream_executor::Stream* stream() const override { return stream_; }
  void CopyCPUTensorToDevice(const Tensor* from, Device*, Tensor* to, tensorflow::StatusCallback done,
                             bool) const override {
    done(Copy(from, to));
  }
  void CopyDeviceTensorToCPU(const Tensor* from, absl::string_view, Device*, Tensor* to,
                             tensorflow::StatusCallback done) override {
    done(Copy(from, to));
  }
  void CopyTensorInSameDevice(const Tensor* from, Device*, Tensor* to, tensorflow::StatusCallback done) const override {
    done(Copy(from, to));
  }

 private:
  static absl::Status Copy(const Tensor* from, Tensor* to) {
    const auto address = [](const Tensor* tensor) { return reinterpret_cast<unsigned long long>(tensor->data()); };
    const size_t bytes = from->TotalBytes();
    if (bytes == 0) return absl::OkStatus();
    const Driver& driver = Driver::Get();
    const int result = driver.copy(address(to), address(from), bytes, nullptr);
    return result == 0 && driver.wait(nullptr) == 0 ? absl::OkStatus() : absl::InternalError("the copy failed");
  }
  stream_executor::Stream* const stream_ = new DefaultStream;
};

class FakeGpu : public tensorflow::LocalDevice {
 public:
  FakeGpu(const tensorflow::SessionOptions& options, const std::string& name)
      : LocalDevice(options, Device::BuildDeviceAttributes(name, "GPU", tensorflow::Bytes(64 << 20), {}, "fake")) {
    info_.stream = context_->stream();
    info_.default_context = context_;
    info_.gpu_id = 0;
    set_tensorflow_accelerator_device_info(&info_);
  }
  Allocator* GetAllocator(AllocatorAttributes attributes) override {
    return attributes.on_host() ? tensorflow::cpu_allocator() : memory_;
  }
  absl::Status MakeTensorFromProto(const tensorflow::TensorProto& proto, const AllocatorAttributes attributes,
                                   Tensor* out) override {
    Tensor read;
    if (!read.FromProto(tensorflow::cpu_allocator(), proto)) return absl::InvalidArgumentError("no tensor");
    if (attributes.on_host()) {
      *out = read;
      return absl::OkStatus();
    }
    *out = Tensor(memory_, read.dtype(), read.shape());
    return context_->CopyCPUTensorToDeviceSync(&read, this, out);
  }
  void Compute(tensorflow::OpKernel* kernel, tensorflow::OpKernelContext* context) override {
    const auto stands_in = OfProcessor(*kernel);
    if (stands_in == nullptr) return kernel->Compute(context);
    OP_REQUIRES_OK(context, Sync());
    stands_in->Compute(context);
  }
  absl::Status TryGetDeviceContext(tensorflow::DeviceContext** out) override {
    context_->Ref();
    *out = context_;
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    return Driver::Get().wait(nullptr) == 0 ? absl::OkStatus() : absl::InternalError("the GPU failed");
  }

 private:
  // What does the work of a kernel of TensorFlow's: the same for the processor. Null for Gridflow's, and for those of
  // tf.data, which have no work for a GPU and may be kept.
  std::unique_ptr<tensorflow::OpKernel> OfProcessor(const tensorflow::OpKernel& kernel) {
    const std::string& name = kernel.type_string();
    if (absl::StartsWith(name, "Gridflow") || absl::StrContains(name, "Dataset") ||
        absl::StrContains(name, "Iterator"))
      return nullptr;
    absl::Status status;
    return tensorflow::CreateOpKernel(tensorflow::DEVICE_CPU, this, tensorflow::cpu_allocator(), kernel.def(),
                                      TF_GRAPH_DEF_VERSION, &status);
  }
  Memory* const memory_ = new Memory;
  Context* const context_ = new Context;
  AcceleratorDeviceInfo info_;
};

class Factory : public tensorflow::DeviceFactory {
 public:
  absl::Status ListPhysicalDevices(std::vector<std::string>* devices) override {
    devices->push_back("/physical_device:GPU:0");
    return absl::OkStatus();
  }
  absl::Status CreateDevices(const tensorflow::SessionOptions& options, const std::string& prefix,
                             std::vector<std::unique_ptr<Device>>* devices) override {
    devices->push_back(std::make_unique<FakeGpu>(options, prefix + "/device:GPU:0"));
    return absl::OkStatus();
  }
};

REGISTER_LOCAL_DEVICE_FACTORY("GPU", Factory, 1000);

}  // namespace
