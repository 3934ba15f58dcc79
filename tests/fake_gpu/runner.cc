#include "runner.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_map>

namespace fake_gpu {
namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kStack = 64 * 1024;

// ---- who touched what, to find threads that are in each other's way ----

// Of a byte: who wrote and read it last, and when; times grow with each barrier.
struct Byte {
  uint32_t writer, written, reader, read;
};
constexpr uintptr_t kPage = 4096;
using Page = std::vector<Byte>;
// Of a kernel that touches more, the rest is not looked at for this.
constexpr size_t kMostPages = 4096;

// Threads have numbers from 1 on, with room for names of all of a warp or of a block.
constexpr uint32_t kNamesOfBlock = 2048, kNamesOfWarps = 1024;

class Accesses {
 public:
  void Begin() {
    pages_.clear();
    for (Recent& one : recent_) one.bytes = nullptr;
    now_ = 1;
  }
  void BeginBlock(unsigned block, size_t shared_bytes) {
    first_name_ = block * kNamesOfBlock + 1;
    block_waited_ = 0;
    std::fill(std::begin(warp_waited_), std::end(warp_waited_), 0);
    shared_.assign(shared_bytes, Byte{});
  }
  void BlockWaited() { block_waited_ = ++now_; }
  void WarpWaited(unsigned warp) { warp_waited_[warp] = ++now_; }

  // The number in the block of a thread that is in the way of this one; kNone: there is none; kSome: it is another block's,
  // or one of several.
  static constexpr int kNone = -1, kSome = -2;
  int TouchShared(size_t offset, size_t size, unsigned thread, bool writes) {
    return Touch(&shared_[offset], size, thread, writes);
  }
  int Touch(uintptr_t at, size_t size, unsigned thread, bool writes) {  // aligned: all on one page
    Byte* bytes = PageOf(at / kPage);
    return bytes == nullptr ? kNone : Touch(bytes + at % kPage, size, thread, writes);
  }

 private:
  Byte* PageOf(uintptr_t number) {
    Recent& recent = recent_[number % kRecent];
    if (recent.bytes != nullptr && recent.number == number) return recent.bytes;
    auto found = pages_.find(number);
    if (found == pages_.end()) {
      if (pages_.size() >= kMostPages) return nullptr;
      found = pages_.emplace(number, Page(kPage)).first;
    }
    recent = {number, found->second.data()};
    return recent.bytes;
  }

  int Touch(Byte* byte, size_t size, unsigned thread, bool writes) {
    const uint32_t me = first_name_ + thread;
    for (const Byte* end = byte + size; byte != end; ++byte) {
      if (!Before(byte->writer, byte->written, thread)) return Thread(byte->writer);
      if (writes) {
        if (!Before(byte->reader, byte->read, thread)) return Thread(byte->reader);
        byte->writer = me;
        byte->written = now_;
      } else {
        byte->reader = Before(byte->reader, byte->read, thread) ? me : Both(byte->reader, me);
        byte->read = now_;
      }
    }
    return kNone;
  }

  int Thread(uint32_t name) const {
    const uint32_t number = name - first_name_;
    return number < kNamesOfWarps ? static_cast<int>(number) : kSome;
  }

  // Whether what `name` did at a time was over, for this thread, by a barrier or as it was itself.
  bool Before(uint32_t name, uint32_t time, unsigned thread) const {
    const uint32_t number = name - first_name_;
    if (name == 0 || number == thread) return true;
    if (number >= kNamesOfBlock) return false;
    if (time < block_waited_) return true;
    const uint32_t warp = thread / kWarp;
    return WarpOf(number) == warp && time < warp_waited_[warp];
  }

  static uint32_t WarpOf(uint32_t number) {
    return number < kNamesOfWarps ? number / kWarp : number - kNamesOfWarps;
  }

  // A name for two readers, the second a thread of this block.
  uint32_t Both(uint32_t one, uint32_t other) const {
    const uint32_t number = one - first_name_, warp = WarpOf(other - first_name_);
    if (one == other) return one;
    if (number >= kNamesOfBlock) return UINT32_MAX;
    return first_name_ + (WarpOf(number) == warp ? kNamesOfWarps + warp : kNamesOfBlock - 1);
  }

  struct Recent {
    uintptr_t number = 0;
    Byte* bytes = nullptr;
  };
  static constexpr size_t kRecent = 256;
  std::unordered_map<uintptr_t, Page> pages_;
  Recent recent_[kRecent];
  std::vector<Byte> shared_;
  uint32_t now_ = 1, first_name_ = 1, block_waited_ = 0;
  uint32_t warp_waited_[kNamesOfWarps / kWarp] = {};
};

// ---- threads ----

enum class State { kReady, kWaitsForBlock, kWaitsForWarp, kDone };

// Runs one thread after the other.
struct Fiber {
  ucontext_t begin;
  jmp_buf at;
  bool begun = false;
  State state = State::kDone;
  int line = 0;  // where it waits
  std::unique_ptr<char[]> stack{new char[kStack]};
};

struct Runner {
  Module* module;
  const std::string* name;
  const std::function<void()>* body;
  const std::vector<Area>* areas;
  size_t last_area;
  std::vector<std::unique_ptr<Fiber>> fibers;  // by number of the thread
  jmp_buf scheduler;
  unsigned thread;  // that runs
  uintptr_t stack;  // its own
  Accesses accesses;
  uint64_t touched = 0;  // how often memory that is neither a thread's own nor a block's was read or written
  std::string error;
};
Runner runner;

Fiber& Running() { return *runner.fibers[runner.thread]; }

[[noreturn]] void ToScheduler() { _longjmp(runner.scheduler, 1); }

void Fail(const std::string& what) {
  const Module& module = *runner.module;
  runner.error = "kernel " + *runner.name + ", block " + std::to_string(module.block.x) + ", thread " +
                 std::to_string(module.thread.x) + ": " + what;
  ToScheduler();
}

void FiberMain() {
  for (;;) {
    (*runner.body)();
    Running().state = State::kDone;
    if (_setjmp(Running().at) == 0) ToScheduler();
  }
}

// Lets a thread run until it waits, ends or fails.
void Resume(unsigned thread) {
  runner.thread = thread;
  runner.module->thread.x = thread;
  Fiber& fiber = *runner.fibers[thread];
  runner.stack = reinterpret_cast<uintptr_t>(fiber.stack.get());
  if (_setjmp(runner.scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.at, 1);
  fiber.begun = true;
  ::getcontext(&fiber.begin);
  fiber.begin.uc_stack.ss_sp = fiber.stack.get();
  fiber.begin.uc_stack.ss_size = kStack;
  fiber.begin.uc_link = nullptr;
  ::makecontext(&fiber.begin, FiberMain, 0);
  ::setcontext(&fiber.begin);
}

void Wait(bool whole_block, int line) {
  Fiber& fiber = Running();
  fiber.state = whole_block ? State::kWaitsForBlock : State::kWaitsForWarp;
  fiber.line = line;
  if (_setjmp(fiber.at) == 0) ToScheduler();
}

// Whether those of threads [begin, end) that have not ended all wait so at one line; none of them does if all have ended.
bool AllWait(unsigned begin, unsigned end, State state) {
  int line = 0;
  for (unsigned thread = begin; thread < end; ++thread) {
    const Fiber& fiber = *runner.fibers[thread];
    if (fiber.state == State::kDone) continue;
    if (fiber.state != state || (line != 0 && line != fiber.line)) return false;
    line = fiber.line;
  }
  return line != 0;
}

void Release(unsigned begin, unsigned end) {
  for (unsigned thread = begin; thread < end; ++thread)
    if (runner.fibers[thread]->state != State::kDone) runner.fibers[thread]->state = State::kReady;
}

void RunBlock(unsigned block, unsigned threads) {
  Module& module = *runner.module;
  module.block.x = block;
  const auto shared = static_cast<size_t>(module.shared_end - module.shared_begin);
  std::memset(module.shared_begin, 0xA5, shared);
  runner.accesses.BeginBlock(block, shared);
  for (unsigned thread = 0; thread < threads; ++thread) runner.fibers[thread]->state = State::kReady;
  for (;;) {
    for (unsigned thread = 0; thread < threads; ++thread) {
      if (runner.fibers[thread]->state == State::kReady) Resume(thread);
      if (!runner.error.empty()) return;
    }
    if (AllWait(0, threads, State::kWaitsForBlock)) {
      runner.accesses.BlockWaited();
      Release(0, threads);
      continue;
    }
    bool released = false;
    for (unsigned begin = 0; begin < threads; begin += kWarp) {
      const unsigned end = std::min(threads, begin + kWarp);
      if (!AllWait(begin, end, State::kWaitsForWarp)) continue;
      runner.accesses.WarpWaited(begin / kWarp);
      Release(begin, end);
      released = true;
    }
    if (released) continue;
    for (unsigned thread = 0; thread < threads; ++thread) {
      const Fiber& fiber = *runner.fibers[thread];
      if (fiber.state == State::kDone) continue;
      runner.error = "kernel " + *runner.name + ", block " + std::to_string(block) + ", thread " +
                     std::to_string(thread) + ": waits at line " + std::to_string(fiber.line) +
                     " for threads that wait elsewhere";
      return;
    }
    return;
  }
}

// ---- memory ----

std::string Described(bool writes, unsigned size, uintptr_t at) {
  std::string text = (writes ? "writes " : "reads ") + std::to_string(size) + " bytes";
  for (const Area& area : *runner.areas) {
    if (at >= area.begin && at < area.end) {
      text += " at byte " + std::to_string(at - area.begin);
      text += " of " + std::to_string(area.end - area.begin);
    } else if (at >= area.end && at - area.end < 4096) {
      text += ", " + std::to_string(at - area.end) + " bytes after the end of " + std::to_string(area.end - area.begin);
    } else if (at < area.begin && area.begin - at < 4096) {
      text += ", " + std::to_string(area.begin - at) + " bytes before " + std::to_string(area.end - area.begin);
    }
  }
  return text;
}

bool Within(const void* begin, const void* end, uintptr_t at, size_t size) {
  return at >= reinterpret_cast<uintptr_t>(begin) && at + size <= reinterpret_cast<uintptr_t>(end);
}

const Area* AreaOf(uintptr_t at, size_t size) {
  const std::vector<Area>& areas = *runner.areas;
  const auto holds = [&](const Area& area) { return at >= area.begin && at + size <= area.end; };
  if (runner.last_area < areas.size() && holds(areas[runner.last_area])) return &areas[runner.last_area];
  const auto after =
      std::upper_bound(areas.begin(), areas.end(), at, [](uintptr_t value, const Area& area) { return value < area.begin; });
  if (after == areas.begin() || !holds(*(after - 1))) return nullptr;
  runner.last_area = static_cast<size_t>(after - 1 - areas.begin());
  return &areas[runner.last_area];
}

enum class Kind { kOwn, kShared, kReadOnly, kGpu };

// Fails unless the thread may touch that memory.
Kind Check(uintptr_t at, unsigned size, bool writes) {
  if (at - runner.stack < kStack) return Kind::kOwn;
  const Module& module = *runner.module;
  const bool is_shared = Within(module.shared_begin, module.shared_end, at, size);
  const Area* area = is_shared ? nullptr : AreaOf(at, size);
  if (area == nullptr && !is_shared) {
    if (Within(&module, &module + 1, at, size)) return Kind::kOwn;  // its numbers
    Fail(Described(writes, size, at) + ", where there is no memory for it");
  }
  if (at % size != 0) Fail(Described(writes, size, at) + ", which is not aligned");
  if (is_shared) return Kind::kShared;
  if (area->may_be_written) return Kind::kGpu;
  if (writes) Fail(Described(writes, size, at) + ", which may only be read");
  return Kind::kReadOnly;
}

void Access(const void* address, unsigned size, bool writes) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  const Kind kind = Check(at, size, writes);
  if (kind == Kind::kReadOnly || kind == Kind::kGpu) ++runner.touched;
  int other = Accesses::kNone;
  if (kind == Kind::kGpu)
    other = runner.accesses.Touch(at, size, runner.thread, writes);
  else if (kind == Kind::kShared)
    other = runner.accesses.TouchShared(at - reinterpret_cast<uintptr_t>(runner.module->shared_begin), size, runner.thread,
                                        writes);
  if (other == Accesses::kNone) return;
  Fail(Described(writes, size, at) + (kind == Kind::kShared ? " of the block's memory" : "") + ", as " +
       (other == Accesses::kSome ? "threads elsewhere do" : "thread " + std::to_string(other) + " does") +
       ", with no barrier in between");
}

unsigned long long CompareAndSwap(unsigned long long* at, unsigned long long expected, unsigned long long value) {
  Check(reinterpret_cast<uintptr_t>(at), sizeof(*at), true);
  const unsigned long long found = *at;
  if (found == expected) *at = value;
  return found;
}

}  // namespace

uint64_t Touched() { return runner.touched; }

std::string Run(Module* module, const std::string& name, const std::function<void()>& body, unsigned blocks,
                unsigned threads, const std::vector<Area>& areas) {
  if (threads > kNamesOfWarps) return "kernel " + name + ": " + std::to_string(threads) + " threads in a block";
  runner.module = module;
  runner.name = &name;
  runner.body = &body;
  runner.areas = &areas;
  runner.last_area = 0;
  runner.error.clear();
  runner.accesses.Begin();
  module->threads = {threads, 1, 1};
  module->blocks = {blocks, 1, 1};
  module->access = Access;
  module->wait = Wait;
  module->compare_and_swap = CompareAndSwap;
  while (runner.fibers.size() < threads) runner.fibers.push_back(std::make_unique<Fiber>());
  for (unsigned block = 0; block < blocks && runner.error.empty(); ++block) RunBlock(block, threads);
  if (!runner.error.empty()) runner.fibers.clear();  // some are in the midst of the kernel
  runner.accesses.Begin();
  return runner.error;
}

}  // namespace fake_gpu
