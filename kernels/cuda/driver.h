// The CUDA driver's functions, found in libcuda.so.1 when they are first needed: nothing of CUDA is there when this is
// built. Declarations follow NVIDIA's documentation of the CUDA Driver API; only what is used here is declared.
#ifndef GRIDFLOW_CUDA_DRIVER_H_
#define GRIDFLOW_CUDA_DRIVER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/outcome.h"

namespace gridflow {
namespace cuda {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmemGenericAllocationHandle = unsigned long long;

struct CUuuid {
  char bytes[16];
};
struct CUmemLocation {
  int type;  // 1: a device
  int id;
};
struct CUmemAllocationProp {
  int type;                  // 1: pinned
  int requested_handle_types;  // 1: POSIX file descriptors
  CUmemLocation location;
  void* win32_metadata;
  struct {
    unsigned char compression_type, gpu_direct_capable;
    unsigned short usage;
    unsigned char reserved[4];
  } flags;
};
struct CUmemAccessDesc {
  CUmemLocation location;
  int flags;  // 1: read, 3: read and write
};

enum Attribute : int {
  kMultiprocessors = 16,
  kMajor = 75,
  kMinor = 76,
  kHostPointerForRegistered = 91,
  kVirtualMemory = 102,
  kDescriptors = 103,
  kReadOnlyRegistered = 113,
};

constexpr CUresult kOutOfMemory = 2, kNotReady = 600, kAlreadyRegistered = 712, kNotPermitted = 800;
constexpr unsigned kRegisterPortable = 1, kRegisterMapped = 2, kRegisterReadOnly = 8;

// name, the symbol in the library, its arguments
#define GF_CUDA_DRIVER_FUNCTIONS(F)                                                                            \
  F(Init, "cuInit", (unsigned))                                                                                \
  F(DriverGetVersion, "cuDriverGetVersion", (int*))                                                            \
  F(GetErrorName, "cuGetErrorName", (CUresult, const char**))                                                  \
  F(GetErrorString, "cuGetErrorString", (CUresult, const char**))                                              \
  F(DeviceGetCount, "cuDeviceGetCount", (int*))                                                                \
  F(DeviceGet, "cuDeviceGet", (CUdevice*, int))                                                                \
  F(DeviceGetName, "cuDeviceGetName", (char*, int, CUdevice))                                                  \
  F(DeviceGetUuid, "cuDeviceGetUuid", (CUuuid*, CUdevice))                                                     \
  F(DeviceGetAttribute, "cuDeviceGetAttribute", (int*, int, CUdevice))                                         \
  F(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext*, CUdevice))                                \
  F(CtxPushCurrent, "cuCtxPushCurrent_v2", (CUcontext))                                                        \
  F(CtxPopCurrent, "cuCtxPopCurrent_v2", (CUcontext*))                                                         \
  F(CtxSynchronize, "cuCtxSynchronize", ())                                                                    \
  F(MemGetInfo, "cuMemGetInfo_v2", (size_t*, size_t*))                                                         \
  F(MemAlloc, "cuMemAlloc_v2", (CUdeviceptr*, size_t))                                                         \
  F(MemFree, "cuMemFree_v2", (CUdeviceptr))                                                                    \
  F(MemHostAlloc, "cuMemHostAlloc", (void**, size_t, unsigned))                                                \
  F(MemFreeHost, "cuMemFreeHost", (void*))                                                                     \
  F(MemHostRegister, "cuMemHostRegister_v2", (void*, size_t, unsigned))                                        \
  F(MemHostUnregister, "cuMemHostUnregister", (void*))                                                         \
  F(MemHostGetDevicePointer, "cuMemHostGetDevicePointer_v2", (CUdeviceptr*, void*, unsigned))                  \
  F(MemcpyAsync, "cuMemcpyAsync", (CUdeviceptr, CUdeviceptr, size_t, CUstream))                                \
  F(MemsetD8Async, "cuMemsetD8Async", (CUdeviceptr, unsigned char, size_t, CUstream))                          \
  F(StreamCreate, "cuStreamCreate", (CUstream*, unsigned))                                                     \
  F(StreamDestroy, "cuStreamDestroy_v2", (CUstream))                                                           \
  F(StreamSynchronize, "cuStreamSynchronize", (CUstream))                                                      \
  F(EventCreate, "cuEventCreate", (CUevent*, unsigned))                                                        \
  F(EventRecord, "cuEventRecord", (CUevent, CUstream))                                                         \
  F(EventSynchronize, "cuEventSynchronize", (CUevent))                                                         \
  F(EventElapsedTime, "cuEventElapsedTime", (float*, CUevent, CUevent))                                        \
  F(EventDestroy, "cuEventDestroy_v2", (CUevent))                                                              \
  F(ModuleLoadData, "cuModuleLoadData", (CUmodule*, const void*))                                              \
  F(ModuleGetFunction, "cuModuleGetFunction", (CUfunction*, CUmodule, const char*))                            \
  F(LaunchKernel, "cuLaunchKernel",                                                                            \
    (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**, void**)) \
  F(MemGetAllocationGranularity, "cuMemGetAllocationGranularity", (size_t*, const CUmemAllocationProp*, int))  \
  F(MemCreate, "cuMemCreate",                                                                                  \
    (CUmemGenericAllocationHandle*, size_t, const CUmemAllocationProp*, unsigned long long))                   \
  F(MemRelease, "cuMemRelease", (CUmemGenericAllocationHandle))                                                \
  F(MemAddressReserve, "cuMemAddressReserve", (CUdeviceptr*, size_t, size_t, CUdeviceptr, unsigned long long)) \
  F(MemAddressFree, "cuMemAddressFree", (CUdeviceptr, size_t))                                                 \
  F(MemMap, "cuMemMap", (CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long))       \
  F(MemUnmap, "cuMemUnmap", (CUdeviceptr, size_t))                                                             \
  F(MemSetAccess, "cuMemSetAccess", (CUdeviceptr, size_t, const CUmemAccessDesc*, size_t))                     \
  F(MemExportToShareableHandle, "cuMemExportToShareableHandle",                                                \
    (void*, CUmemGenericAllocationHandle, int, unsigned long long))                                            \
  F(MemImportFromShareableHandle, "cuMemImportFromShareableHandle", (CUmemGenericAllocationHandle*, void*, int))

// Where the driver is, unless the loader finds it. To be called before the first Driver::Get().
void UseDriver(const std::string& path);

struct Driver {
#define GF_CUDA_DECLARE(name, symbol, arguments) CUresult(*name) arguments = nullptr;
  GF_CUDA_DRIVER_FUNCTIONS(GF_CUDA_DECLARE)
#undef GF_CUDA_DECLARE

  // The driver, opened and started at the first call. NO_DRIVER: says what is missing; every later call says it again.
  static Outcome Get(const Driver** out);

  // Of a result, for what was tried ("register a segment", ...).
  Outcome Check(CUresult result, const std::string& what) const;
};

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_DRIVER_H_
