// A driver for tests on machines without a GPU: what gridflow/cuda asks of libcuda.so.1, in host memory.
//
// It runs the kernels themselves, which compiler.cc compiled, and is as strict as a driver where mistakes would be seen
// only on a GPU: registering what is registered, copying from one registration into the next, kernels that touch memory
// that is not theirs (see runner.h). Work in a stream is not begun before somebody waits for it, so that what was freed,
// given back or written over too early is found. After a mistake of a kernel every call fails, as with a GPU, and stderr
// says what it was.
//
// FAKE_GPU_BYTES is how much memory its one GPU has, for all processes that use this library together; 64 MiB without it.
// FAKE_GPU_DECODES: decoding takes less time than copying. FAKE_GPU_LACKS: the number of an attribute that it does not have.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cuda/gather_args.h"
#include "runner.h"

namespace {

using gridflow::cuda::DecodeArgs;
using gridflow::cuda::GatherArgs;

constexpr int kOk = 0, kInvalid = 1, kOutOfMemory = 2, kNotFound = 500, kNotReady = 600, kRegistered = 712;
constexpr int kNotRegistered = 713, kLaunchFailed = 719;

using Ranges = std::map<uintptr_t, size_t>;

// Memory of the GPU that processes can share, as those who have a handle or a mapping of it hold it.
struct Piece {
  int file = -1;
  size_t bytes = 0;
  size_t slot = 0;
  ~Piece();
};

struct Stream {
  std::deque<std::function<int()>> work;
  uint64_t begun = 0, done = 0;
};

struct Event {
  std::shared_ptr<Stream> stream;
  uint64_t after = 0;   // so much work of the stream
  size_t decoded = 0;  // by then
};

std::mutex mutex;  // guards what follows
int failed = kOk;  // what every call says from now on
std::string mistake;
int64_t until_failure = -1;  // calls that go well
int failure = kOk;
Ranges registered;  // ranges of host memory
Ranges pinned;      // host memory that the driver allocated
Ranges allocated;   // of the GPU, that can be used
Ranges reserved;    // addresses
std::map<uintptr_t, std::shared_ptr<Piece>> mapped;
std::map<unsigned long long, std::shared_ptr<Piece>> handles;
std::map<void*, std::shared_ptr<Stream>> streams;
std::vector<std::shared_ptr<Stream>> all_streams;
size_t decoded = 0, own_slot = SIZE_MAX;
size_t copied = 0;  // bytes, from registered memory

// ---- how much memory is in use, by all processes ----

// A process's own memory, or its part in a piece.
struct Slot {
  pid_t process;
  uint64_t piece;  // its inode; 0: the process's own
  uint64_t bytes;
};
constexpr size_t kSlots = 4096;

class Slots {
 public:
  Slots() {
    Dl_info info;
    ::dladdr(&mutex, &info);
    file_ = ::open((std::string(info.dli_fname) + ".memory").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file_ < 0 || ::ftruncate(file_, kSlots * sizeof(Slot)) != 0) std::abort();
    slots_ = static_cast<Slot*>(
        ::mmap(nullptr, kSlots * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0));
    if (slots_ == MAP_FAILED) std::abort();
  }
  // If there is room for `bytes` more of a new piece, or of this process's own memory in a slot it has.
  bool Take(uint64_t piece, uint64_t bytes, size_t* slot) {
    const Lock lock(file_);
    const bool known = piece != 0 && Find(piece) != kSlots;
    if (!known && Used() + bytes > Room()) return false;
    if (*slot == SIZE_MAX) *slot = static_cast<size_t>(
        std::find_if(slots_, slots_ + kSlots, [](const Slot& one) { return one.process == 0; }) - slots_);
    if (*slot == kSlots) std::abort();
    Slot& it = slots_[*slot];
    it = {::getpid(), piece, it.process == ::getpid() ? it.bytes + bytes : bytes};
    return true;
  }
  void Give(size_t slot, uint64_t bytes) {
    const Lock lock(file_);
    Slot& it = slots_[slot];
    it.bytes -= bytes;
    if (it.piece != 0 && it.bytes == 0) it.process = 0;
  }
  uint64_t InUse() {
    const Lock lock(file_);
    return Used();
  }
  static uint64_t Room() {
    const char* given = std::getenv("FAKE_GPU_BYTES");
    return given != nullptr ? std::strtoull(given, nullptr, 10) : uint64_t{64} << 20;
  }

 private:
  struct Lock {
    explicit Lock(int file) : file(file) { ::flock(file, LOCK_EX); }
    ~Lock() { ::flock(file, LOCK_UN); }
    int file;
  };
  size_t Find(uint64_t piece) {
    Forget();
    return static_cast<size_t>(std::find_if(slots_, slots_ + kSlots, [&](const Slot& slot) {
      return slot.process != 0 && slot.piece == piece;
    }) - slots_);
  }
  // What processes had that are no more.
  void Forget() {
    for (size_t i = 0; i < kSlots; ++i)
      if (slots_[i].process != 0 && ::kill(slots_[i].process, 0) != 0) slots_[i].process = 0;
  }
  uint64_t Used() {
    Forget();
    uint64_t bytes = 0;
    std::set<uint64_t> pieces;
    for (size_t i = 0; i < kSlots; ++i)
      if (slots_[i].process != 0 && (slots_[i].piece == 0 || pieces.insert(slots_[i].piece).second))
        bytes += slots_[i].bytes;
    return bytes;
  }

  int file_;
  Slot* slots_;
};

Slots& Memory() {
  static auto* slots = new Slots;
  return *slots;
}

Piece::~Piece() {
  ::close(file);
  Memory().Give(slot, bytes);
}

// Takes the file over; null: there is not so much memory.
std::shared_ptr<Piece> NewPiece(int file, size_t bytes) {
  struct stat info;
  size_t slot = SIZE_MAX;
  if (::fstat(file, &info) != 0 || !Memory().Take(info.st_ino, bytes, &slot)) {
    ::close(file);
    return nullptr;
  }
  auto piece = std::make_shared<Piece>();
  piece->file = file;
  piece->bytes = bytes;
  piece->slot = slot;
  return piece;
}

// ---- ranges ----

// Whether [begin, begin + bytes) lies in one range.
bool Within(const Ranges& ranges, uintptr_t begin, size_t bytes) {
  auto after = ranges.upper_bound(begin);
  if (after == ranges.begin()) return false;
  --after;
  return begin + bytes <= after->first + after->second;
}

// Whether it touches any range.
bool Touches(const Ranges& ranges, uintptr_t begin, size_t bytes) {
  const auto after = ranges.lower_bound(begin + bytes);
  if (after == ranges.begin()) return false;
  const auto last = std::prev(after);
  return last->first + last->second > begin;
}

size_t BytesOf(const Ranges& ranges) {
  size_t bytes = 0;
  for (const auto& [begin, size] : ranges) bytes += size;
  return bytes;
}

// ---- failures ----

// To be asked by each call that may fail; the mutex is held. What the call is to say, or kOk.
int Failure() {
  if (failed != kOk) return failed;
  if (until_failure < 0 || until_failure-- != 0) return kOk;
  return failure;
}

#define FAKE_GPU_RETURN_IF_FAILURE() \
  if (const int result_ = Failure()) return result_

// ---- streams ----

// The default one is there from its first use on. Null: there is none.
std::shared_ptr<Stream> StreamOf(void* handle) {
  const auto found = streams.find(handle);
  if (found != streams.end()) return found->second;
  if (handle != nullptr) return nullptr;
  all_streams.push_back(streams[handle] = std::make_shared<Stream>());
  return all_streams.back();
}

int Enqueue(void* handle, std::function<int()> work) {
  const std::shared_ptr<Stream> stream = StreamOf(handle);
  if (stream == nullptr) return kInvalid;
  stream->work.push_back(std::move(work));
  ++stream->begun;
  return kOk;
}

int RunUntil(Stream* stream, uint64_t end) {
  while (failed == kOk && stream->done < end) {
    const std::function<int()> work = std::move(stream->work.front());
    stream->work.pop_front();
    ++stream->done;
    failed = work();
  }
  return failed;
}

int RunAll() {
  for (const auto& stream : all_streams) RunUntil(stream.get(), stream->begun);
  return failed;
}

int Mistake(const std::string& what) {
  mistake = what;
  std::fprintf(stderr, "fake GPU: %s\n", what.c_str());
  return kLaunchFailed;
}

// ---- copies ----

// Where an end of a copy lies: all of it, in one range.
enum class Place { kGpu, kRegistered, kPinned, kPageable, kNowhere };

Place PlaceOf(uintptr_t at, size_t bytes) {
  const std::pair<const Ranges*, Place> all[] = {
      {&allocated, Place::kGpu}, {&registered, Place::kRegistered}, {&pinned, Place::kPinned}};
  for (const auto& [ranges, place] : all) {
    if (Within(*ranges, at, bytes)) return place;
    if (Touches(*ranges, at, bytes)) return Place::kNowhere;
  }
  return Touches(reserved, at, bytes) ? Place::kNowhere : Place::kPageable;
}

int Copy(uintptr_t to, uintptr_t from, size_t bytes, void* stream) {
  const Place target = PlaceOf(to, bytes), source = PlaceOf(from, bytes);
  if (target == Place::kNowhere || source == Place::kNowhere || target == Place::kRegistered) return kInvalid;
  if (source == Place::kPageable) {  // is read before the call returns
    std::string kept(reinterpret_cast<const char*>(from), bytes);
    return Enqueue(stream, [to, target, kept = std::move(kept)] {
      if (PlaceOf(to, kept.size()) != target) return Mistake("a copy writes into memory that is gone");
      std::memcpy(reinterpret_cast<void*>(to), kept.data(), kept.size());
      return kOk;
    });
  }
  if (source == Place::kRegistered) copied += bytes;
  const int result = Enqueue(stream, [to, from, bytes, target, source] {
    if (PlaceOf(to, bytes) != target) return Mistake("a copy writes into memory that is gone");
    if (PlaceOf(from, bytes) != source) return Mistake("a copy reads memory that is gone");
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    return kOk;
  });
  if (result != kOk || target != Place::kPageable) return result;
  Stream* it = StreamOf(stream).get();  // is written before the call returns
  return RunUntil(it, it->begun);
}

// ---- kernels ----

struct Function {
  void* code;
  fake_gpu::Module* module;
  std::string name;
};

int RunKernel(const Function& function, const std::function<void()>& body, unsigned blocks, unsigned threads) {
  std::vector<fake_gpu::Area> areas;
  for (const auto& [begin, bytes] : registered) areas.push_back({begin, begin + bytes, false});
  for (const auto& [begin, bytes] : allocated) areas.push_back({begin, begin + bytes, true});
  std::sort(areas.begin(), areas.end(), [](const auto& one, const auto& other) { return one.begin < other.begin; });
  const std::string error = fake_gpu::Run(function.module, function.name, body, blocks, threads, areas);
  return error.empty() ? kOk : Mistake(error);
}

void* NewHandle() {
  static uintptr_t last = 0;
  return reinterpret_cast<void*>(++last << 8);
}

}  // namespace

extern "C" {

// What a test asks: bytes, and how often blocks were decoded.
size_t fake_gpu_registered() {
  std::lock_guard<std::mutex> lock(mutex);
  return BytesOf(registered);
}
size_t fake_gpu_decoded() {
  std::lock_guard<std::mutex> lock(mutex);
  return decoded;
}
size_t fake_gpu_accesses() {
  std::lock_guard<std::mutex> lock(mutex);
  return fake_gpu::Touched();
}
size_t fake_gpu_copied() {
  std::lock_guard<std::mutex> lock(mutex);
  return copied;
}
size_t fake_gpu_allocated() {
  std::lock_guard<std::mutex> lock(mutex);
  return BytesOf(allocated);
}

// Of the calls from now on that may fail, the one after `calls` says `result`; calls < 0: none. How many were still to come.
int64_t fake_gpu_fail(int64_t calls, int result) {
  std::lock_guard<std::mutex> lock(mutex);
  failure = result;
  return std::exchange(until_failure, calls);
}

// Goes on after a mistake, of which it says what it was.
const char* fake_gpu_forgive() {
  std::lock_guard<std::mutex> lock(mutex);
  static std::string said;
  said = std::move(mistake);
  mistake.clear();
  failed = kOk;
  for (const auto& stream : all_streams) {
    stream->work.clear();
    stream->done = stream->begun;
  }
  return said.c_str();
}

int cuInit(unsigned) { return kOk; }
int cuDriverGetVersion(int* version) { return *version = 12080, kOk; }
int cuGetErrorName(int, const char** name) { return *name = "FAKE_GPU", kOk; }
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
  const char* lacks = std::getenv("FAKE_GPU_LACKS");
  if (lacks != nullptr && std::strtol(lacks, nullptr, 10) == attribute) return *value = 0, kOk;
  switch (attribute) {
    case 75:  // compute capability: of no GPU that there is
    case 76:
      return *value = 9, kOk;
    case 16:   // multiprocessors
    case 91:   // registered memory under its own address
    case 102:  // virtual memory
    case 103:  // that can be shared
    case 113:  // read-only memory
      return *value = 1, kOk;
    default:
      return *value = 0, kOk;
  }
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &mutex, kOk; }
int cuCtxPushCurrent_v2(void*) { return kOk; }
int cuCtxPopCurrent_v2(void** context) { return *context = &mutex, kOk; }
int cuCtxSynchronize() {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  return RunAll();
}

int cuMemGetInfo_v2(size_t* free, size_t* all) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  *all = Slots::Room();
  *free = *all - std::min<size_t>(*all, Memory().InUse());
  return kOk;
}
int cuMemAlloc_v2(unsigned long long* out, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  if (!Memory().Take(0, bytes, &own_slot)) return kOutOfMemory;
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256 + 4096);  // with something behind it that is nobody's
  if (memory == nullptr) return kOutOfMemory;
  std::memset(memory, 0xA5, bytes);
  allocated[reinterpret_cast<uintptr_t>(memory)] = bytes;
  *out = reinterpret_cast<uintptr_t>(memory);
  return kOk;
}
int cuMemFree_v2(unsigned long long memory) {
  std::lock_guard<std::mutex> lock(mutex);
  RunAll();  // a driver waits, too
  const auto found = allocated.find(static_cast<uintptr_t>(memory));
  if (found == allocated.end()) return kInvalid;
  Memory().Give(own_slot, found->second);
  allocated.erase(found);
  std::free(reinterpret_cast<void*>(memory));
  return failed;
}
int cuMemHostAlloc(void** out, size_t bytes, unsigned) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  *out = std::malloc(bytes);
  if (*out == nullptr) return kOutOfMemory;
  pinned[reinterpret_cast<uintptr_t>(*out)] = bytes;
  return kOk;
}
int cuMemFreeHost(void* memory) {
  std::lock_guard<std::mutex> lock(mutex);
  if (pinned.erase(reinterpret_cast<uintptr_t>(memory)) == 0) return kInvalid;
  std::free(memory);
  return failed;
}
int cuMemHostRegister_v2(void* begin, size_t bytes, unsigned flags) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const auto at = reinterpret_cast<uintptr_t>(begin);
  if ((flags & 8) == 0 || at % 4096 != 0) return kInvalid;  // mappings of a grid may only be read
  if (Touches(registered, at, bytes)) return kRegistered;
  registered[at] = bytes;
  return kOk;
}
int cuMemHostUnregister(void* begin) {
  std::lock_guard<std::mutex> lock(mutex);
  return registered.erase(reinterpret_cast<uintptr_t>(begin)) != 0 ? failed : kNotRegistered;
}
int cuMemHostGetDevicePointer_v2(unsigned long long* out, void* memory, unsigned) {
  return *out = reinterpret_cast<uintptr_t>(memory), kOk;
}

int cuMemcpyAsync(unsigned long long to, unsigned long long from, size_t bytes, void* stream) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  return Copy(static_cast<uintptr_t>(to), static_cast<uintptr_t>(from), bytes, stream);
}
int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t bytes, void* stream) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  return Enqueue(stream, [=] {
    if (!Within(allocated, static_cast<uintptr_t>(to), bytes)) return Mistake("memory is set that is gone");
    std::memset(reinterpret_cast<void*>(to), value, bytes);
    return kOk;
  });
}

int cuStreamCreate(void** out, unsigned flags) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  if (flags != 1) return kInvalid;  // streams that wait for the default one are not there
  all_streams.push_back(streams[*out = NewHandle()] = std::make_shared<Stream>());
  return kOk;
}
int cuStreamDestroy_v2(void* stream) {  // its work is done all the same
  std::lock_guard<std::mutex> lock(mutex);
  return streams.erase(stream) != 0 ? failed : kInvalid;
}
int cuStreamSynchronize(void* handle) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const std::shared_ptr<Stream> stream = StreamOf(handle);
  return stream != nullptr ? RunUntil(stream.get(), stream->begun) : kInvalid;
}
int cuEventCreate(void** out, unsigned) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  return *out = new std::shared_ptr<Event>(new Event), kOk;
}
int cuEventRecord(void* handle, void* stream) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  auto& event = *static_cast<std::shared_ptr<Event>*>(handle);
  event = std::make_shared<Event>();
  event->stream = StreamOf(stream);
  if (event->stream == nullptr) return kInvalid;
  event->after = event->stream->begun + 1;
  return Enqueue(stream, [event] { return event->decoded = decoded, kOk; });
}
int cuEventSynchronize(void* handle) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const Event& event = **static_cast<std::shared_ptr<Event>*>(handle);
  return event.stream != nullptr ? RunUntil(event.stream.get(), event.after) : failed;
}
int cuEventElapsedTime(float* ms, void* first, void* second) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const Event& one = **static_cast<std::shared_ptr<Event>*>(first);
  const Event& other = **static_cast<std::shared_ptr<Event>*>(second);
  for (const Event* event : {&one, &other})
    if (event->stream == nullptr || event->stream->done < event->after) return kNotReady;
  *ms = one.decoded != other.decoded && std::getenv("FAKE_GPU_DECODES") != nullptr ? 1 : 2;
  return kOk;
}
int cuEventDestroy_v2(void* event) { return delete static_cast<std::shared_ptr<Event>*>(event), kOk; }

int cuModuleLoadData(void** out, const void* image) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  *out = ::dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
  if (*out != nullptr) return kOk;
  std::fprintf(stderr, "fake GPU: %s\n", ::dlerror());
  return kNotFound;
}
int cuModuleGetFunction(void** out, void* library, const char* name) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  auto* module = static_cast<fake_gpu::Module*>(::dlsym(library, "fake_gpu_module"));
  void* code = ::dlsym(library, name);
  if (module == nullptr || code == nullptr) return kNotFound;
  return *out = new Function{code, module, name}, kOk;
}
int cuLaunchKernel(void* handle, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned,
                   void* stream, void** arguments, void**) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const Function function = *static_cast<const Function*>(handle);
  if (function.name == "decode_blocks") {
    const auto args = *static_cast<const DecodeArgs*>(arguments[0]);
    return Enqueue(stream, [=] {
      ++decoded;
      const auto code = reinterpret_cast<void (*)(DecodeArgs)>(function.code);
      return RunKernel(function, [&] { code(args); }, blocks, threads);
    });
  }
  const auto args = *static_cast<const GatherArgs*>(arguments[0]);
  return Enqueue(stream, [=] {
    const auto code = reinterpret_cast<void (*)(GatherArgs)>(function.code);
    return RunKernel(function, [&] { code(args); }, blocks, threads);
  });
}

// Memory that processes share: files in memory.
int cuMemGetAllocationGranularity(size_t* bytes, const void*, int) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  return *bytes = 4096, kOk;
}
int cuMemCreate(unsigned long long* out, size_t bytes, const void*, unsigned long long) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const int file = ::memfd_create("fake GPU", MFD_CLOEXEC);
  std::shared_ptr<Piece> piece = NewPiece(file, bytes);
  if (piece == nullptr || ::ftruncate(file, static_cast<off_t>(bytes)) != 0) return kOutOfMemory;
  handles[*out = reinterpret_cast<uintptr_t>(NewHandle())] = std::move(piece);
  return kOk;
}
int cuMemRelease(unsigned long long handle) {
  std::lock_guard<std::mutex> lock(mutex);
  return handles.erase(handle) != 0 ? failed : kInvalid;
}
int cuMemAddressReserve(unsigned long long* out, size_t bytes, size_t, unsigned long long, unsigned long long) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  void* at = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return kOutOfMemory;
  reserved[*out = reinterpret_cast<uintptr_t>(at)] = bytes;
  return kOk;
}
int cuMemAddressFree(unsigned long long at, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  if (mapped.count(at) != 0 || reserved.erase(at) == 0) return kInvalid;
  ::munmap(reinterpret_cast<void*>(at), bytes);
  return failed;
}
int cuMemMap(unsigned long long at, size_t bytes, size_t, unsigned long long handle, unsigned long long) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const auto found = handles.find(handle);
  if (found == handles.end() || found->second->bytes != bytes || !Within(reserved, at, bytes)) return kInvalid;
  void* begin = reinterpret_cast<void*>(at);
  if (::mmap(begin, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, found->second->file, 0) == MAP_FAILED) return kOutOfMemory;
  mapped[at] = found->second;
  return kOk;
}
int cuMemSetAccess(unsigned long long at, size_t bytes, const void*, size_t) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  if (mapped.count(at) == 0) return kInvalid;
  if (::mprotect(reinterpret_cast<void*>(at), bytes, PROT_READ | PROT_WRITE) != 0) return kOutOfMemory;
  allocated[at] = bytes;
  return kOk;
}
int cuMemUnmap(unsigned long long at, size_t bytes) {  // does not wait
  std::lock_guard<std::mutex> lock(mutex);
  if (mapped.erase(at) == 0) return kInvalid;
  allocated.erase(at);
  ::mmap(reinterpret_cast<void*>(at), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return failed;
}
int cuMemExportToShareableHandle(void* out, unsigned long long handle, int, unsigned long long) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const auto found = handles.find(handle);
  if (found == handles.end()) return kInvalid;
  const int file = ::fcntl(found->second->file, F_DUPFD_CLOEXEC, 0);
  std::memcpy(out, &file, sizeof(file));
  return file >= 0 ? failed : kInvalid;
}
int cuMemImportFromShareableHandle(unsigned long long* out, void* given, int) {
  std::lock_guard<std::mutex> lock(mutex);
  FAKE_GPU_RETURN_IF_FAILURE();
  const int file = ::fcntl(static_cast<int>(reinterpret_cast<intptr_t>(given)), F_DUPFD_CLOEXEC, 0);
  struct stat info;
  if (file < 0 || ::fstat(file, &info) != 0) return kInvalid;
  std::shared_ptr<Piece> piece = NewPiece(file, static_cast<size_t>(info.st_size));
  if (piece == nullptr) return kInvalid;
  handles[*out = reinterpret_cast<uintptr_t>(NewHandle())] = std::move(piece);
  return kOk;
}
}
