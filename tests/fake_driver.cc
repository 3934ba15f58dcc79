// A driver for tests on machines without a GPU: what gridflow/cuda asks of libcuda.so.1, in host memory.
//
// It does the copies and the kernels that copy rows; of kernels that convert numbers it says that it cannot. It is as strict as
// a driver where mistakes would be seen only on a GPU: registering what is registered, copying from one registration into
// the next, kernels that read host memory which is not registered, or memory of the GPU that was freed. Work is done at
// once, so it does not see what is freed or written over too early.
//
// FAKE_DRIVER_BYTES is how much memory its one GPU has; 64 MiB without it.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string>

#include "cuda/gather_args.h"
#include "cuda/lz4_block.h"

namespace {

using gridflow::cuda::GatherArgs;
using gridflow::cuda::GatherSpan;

constexpr int kOk = 0, kInvalid = 1, kOutOfMemory = 2, kRegistered = 712, kNotRegistered = 713, kIllegalAddress = 700;
constexpr int kNotSupported = 801;

std::mutex mutex;                        // guards what follows
std::map<uintptr_t, size_t> registered;  // ranges of host memory
std::map<uintptr_t, size_t> allocated;   // of the GPU
size_t in_use = 0, decoded = 0;

size_t Room() {
  const char* given = std::getenv("FAKE_DRIVER_BYTES");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : size_t{64} << 20;
}

// Whether [begin, begin + bytes) lies in one range.
bool Within(const std::map<uintptr_t, size_t>& ranges, uintptr_t begin, size_t bytes) {
  auto after = ranges.upper_bound(begin);
  if (after == ranges.begin()) return false;
  --after;
  return begin + bytes <= after->first + after->second;
}

// Whether it touches any range.
bool Touches(const std::map<uintptr_t, size_t>& ranges, uintptr_t begin, size_t bytes) {
  const auto after = ranges.lower_bound(begin + bytes);
  if (after == ranges.begin()) return false;
  const auto last = std::prev(after);
  return last->first + last->second > begin;
}

bool CanBeRead(const void* begin, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(begin);
  return Within(registered, at, bytes) || Within(allocated, at, bytes);
}

int CopyRows(const GatherArgs& args) {
  if (!CanBeRead(args.spans, static_cast<size_t>(args.span_count) * sizeof(GatherSpan))) return kIllegalAddress;
  for (long long i = 0; i < args.count; ++i) {
    unsigned char* to = args.out + i * args.row_bytes;
    const long long row = args.rows != nullptr ? args.rows[i] : args.first_row + i;
    if (row < 0 || row >= args.table_rows) {
      if (args.bad[0] == 0) args.bad[0] = 1, args.bad[1] = row;
      std::memset(to, 0, static_cast<size_t>(args.row_bytes));
      continue;
    }
    int span = args.span_count - 1;
    while (args.spans[span].first > row) --span;
    const GatherSpan& it = args.spans[span];
    const long long rank = row - it.first;
    if (it.live != nullptr && !CanBeRead(it.live + rank, sizeof(*it.live))) return kIllegalAddress;
    const unsigned char* from = it.data + (it.live != nullptr ? it.live[rank] : it.begin + rank) * args.row_bytes;
    if (!CanBeRead(from, static_cast<size_t>(args.row_bytes))) return kIllegalAddress;
    std::memcpy(to, from, static_cast<size_t>(args.row_bytes));
  }
  return kOk;
}

int DecodeBlocks(const gridflow::cuda::DecodeArgs& args) {
  for (unsigned long long block = 0; block < args.blocks; ++block) {
    const unsigned char* in = args.data + (args.bounds[block] - args.bounds[0]);
    const auto in_bytes = static_cast<unsigned>(args.bounds[block + 1] - args.bounds[block]);
    const unsigned long long begin = block * args.block_bytes;
    const auto out_bytes = static_cast<unsigned>(std::min(args.block_bytes, args.raw_bytes - begin));
    if (!Within(allocated, reinterpret_cast<uintptr_t>(in), in_bytes)) return kIllegalAddress;
    if (!Within(allocated, reinterpret_cast<uintptr_t>(args.out + begin), out_bytes)) return kIllegalAddress;
    if (in_bytes == out_bytes)
      std::memcpy(args.out + begin, in, out_bytes);
    else if (!gridflow::cuda::DecodeLz4Block(in, in_bytes, args.out + begin, out_bytes, 0, 1))
      args.bad[0] = 1, args.bad[1] = static_cast<long long>(block);
  }
  return kOk;
}

}  // namespace

extern "C" {

// What a test asks: bytes, and how often blocks were decoded.
size_t fake_driver_registered() {
  std::lock_guard<std::mutex> lock(mutex);
  size_t bytes = 0;
  for (const auto& [begin, size] : registered) bytes += size;
  return bytes;
}
size_t fake_driver_decoded() {
  std::lock_guard<std::mutex> lock(mutex);
  return decoded;
}
size_t fake_driver_allocated() {
  std::lock_guard<std::mutex> lock(mutex);
  return in_use;
}

int cuInit(unsigned) { return kOk; }
int cuDriverGetVersion(int* version) { return *version = 12080, kOk; }
int cuGetErrorName(int, const char** name) { return *name = "FAKE_DRIVER", kOk; }
int cuGetErrorString(int result, const char** text) {
  static thread_local std::string words;
  words = result == kOutOfMemory ? "out of memory" : "result " + std::to_string(result);
  return *text = words.c_str(), kOk;
}
int cuDeviceGetCount(int* count) { return *count = 1, kOk; }
int cuDeviceGet(int* device, int) { return *device = 0, kOk; }
int cuDeviceGetName(char* name, int room, int) { return std::strncpy(name, "Fake GPU", static_cast<size_t>(room)), kOk; }
int cuDeviceGetUuid(void* uuid, int) { return std::memset(uuid, 7, 16), kOk; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 16:  // multiprocessors
      return *value = 4, kOk;
    case 75:  // compute capability
      return *value = 9, kOk;
    case 76:
      return *value = 0, kOk;
    case 91:   // registered memory under its own address
    case 113:  // read-only
      return *value = 1, kOk;
    default:
      return *value = 0, kOk;
  }
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &mutex, kOk; }
int cuCtxPushCurrent_v2(void*) { return kOk; }
int cuCtxPopCurrent_v2(void** context) { return *context = &mutex, kOk; }
int cuCtxSynchronize() { return kOk; }
int cuMemGetInfo_v2(size_t* free, size_t* all) {
  std::lock_guard<std::mutex> lock(mutex);
  *all = Room();
  *free = *all - std::min(*all, in_use);
  return kOk;
}
int cuMemAlloc_v2(unsigned long long* out, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  if (in_use + bytes > Room()) return kOutOfMemory;
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  allocated[reinterpret_cast<uintptr_t>(memory)] = bytes;
  in_use += bytes;
  *out = reinterpret_cast<uintptr_t>(memory);
  return kOk;
}
int cuMemFree_v2(unsigned long long memory) {
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = allocated.find(static_cast<uintptr_t>(memory));
  if (found == allocated.end()) return kInvalid;
  in_use -= found->second;
  allocated.erase(found);
  std::free(reinterpret_cast<void*>(memory));
  return kOk;
}
int cuMemHostAlloc(void** out, size_t bytes, unsigned) { return *out = std::malloc(bytes), kOk; }
int cuMemFreeHost(void* memory) { return std::free(memory), kOk; }
int cuMemHostRegister_v2(void* begin, size_t bytes, unsigned flags) {
  std::lock_guard<std::mutex> lock(mutex);
  const auto at = reinterpret_cast<uintptr_t>(begin);
  if ((flags & 8) == 0 || at % 4096 != 0) return kInvalid;  // mappings of a grid may only be read
  if (Touches(registered, at, bytes)) return kRegistered;
  registered[at] = bytes;
  return kOk;
}
int cuMemHostUnregister(void* begin) {
  std::lock_guard<std::mutex> lock(mutex);
  return registered.erase(reinterpret_cast<uintptr_t>(begin)) != 0 ? kOk : kNotRegistered;
}
int cuMemHostGetDevicePointer_v2(unsigned long long* out, void* memory, unsigned) {
  return *out = reinterpret_cast<uintptr_t>(memory), kOk;
}
int cuMemcpyAsync(unsigned long long to, unsigned long long from, size_t bytes, void*) {
  std::lock_guard<std::mutex> lock(mutex);
  for (const unsigned long long end : {to, from})
    for (const auto* ranges : {&registered, &allocated})
      if (Touches(*ranges, end, bytes) && !Within(*ranges, end, bytes)) return kInvalid;
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  return kOk;
}
int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t bytes, void*) {
  return std::memset(reinterpret_cast<void*>(to), value, bytes), kOk;
}
int cuStreamCreate(void** out, unsigned) { return *out = std::malloc(1), kOk; }
int cuStreamDestroy_v2(void* stream) { return std::free(stream), kOk; }
int cuStreamSynchronize(void*) { return kOk; }
int cuEventCreate(void** out, unsigned) { return *out = std::malloc(1), kOk; }
int cuEventRecord(void*, void*) { return kOk; }
int cuEventSynchronize(void*) { return kOk; }
// A measurement in which blocks were decoded took less, if FAKE_DRIVER_DECODES says so.
int cuEventElapsedTime(float* ms, void*, void*) {
  static size_t before = 0;
  std::lock_guard<std::mutex> lock(mutex);
  const bool decodes = decoded != before;
  before = decoded;
  *ms = decodes && std::getenv("FAKE_DRIVER_DECODES") != nullptr ? 1 : 2;
  return kOk;
}
int cuEventDestroy_v2(void* event) { return std::free(event), kOk; }
int cuModuleLoadData(void** out, const void*) { return *out = &mutex, kOk; }
int cuModuleGetFunction(void** out, void*, const char* name) { return *out = ::strdup(name), kOk; }
int cuLaunchKernel(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                   void** arguments, void**) {
  std::lock_guard<std::mutex> lock(mutex);
  const std::string name = static_cast<const char*>(function);
  if (name == "decode_blocks") {
    ++decoded;
    return DecodeBlocks(*static_cast<const gridflow::cuda::DecodeArgs*>(arguments[0]));
  }
  if (name.compare(0, 7, "gather_") != 0) return kNotSupported;
  return CopyRows(*static_cast<const GatherArgs*>(arguments[0]));
}
int cuMemGetAllocationGranularity(size_t*, const void*, int) { return kNotSupported; }
int cuMemCreate(unsigned long long*, size_t, const void*, unsigned long long) { return kNotSupported; }
int cuMemRelease(unsigned long long) { return kNotSupported; }
int cuMemAddressReserve(unsigned long long*, size_t, size_t, unsigned long long, unsigned long long) {
  return kNotSupported;
}
int cuMemAddressFree(unsigned long long, size_t) { return kNotSupported; }
int cuMemMap(unsigned long long, size_t, size_t, unsigned long long, unsigned long long) { return kNotSupported; }
int cuMemUnmap(unsigned long long, size_t) { return kNotSupported; }
int cuMemSetAccess(unsigned long long, size_t, const void*, size_t) { return kNotSupported; }
int cuMemExportToShareableHandle(void*, unsigned long long, int, unsigned long long) { return kNotSupported; }
int cuMemImportFromShareableHandle(unsigned long long*, void*, int) { return kNotSupported; }
}
