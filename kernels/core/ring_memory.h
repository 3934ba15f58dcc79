// What both ends of a ring are built of (ring_format.h): memory shared between processes, and the ways to wait for it.
#ifndef GRIDFLOW_CORE_RING_MEMORY_H_
#define GRIDFLOW_CORE_RING_MEMORY_H_

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/status.h"
#include "gridflow/ring_format.h"

namespace gridflow {

// A file that is mapped to read and to write, shared with whoever has it mapped, too. Its space is allocated: no page of it
// is missing when it is touched. The other end may change any byte at any time, and whoever may open the file may cut it,
// as any file of a grid: that ends its users, so it is as protected as those are.
class SharedMemory {
 public:
  // Makes the file, which must not be there, of zeros. kFull: there is no room; no file is left.
  static Status Create(const std::string& path, size_t bytes, std::unique_ptr<SharedMemory>* out);
  // Opens a regular file of exactly that size; no link, and nothing that could keep who opens it waiting.
  static Status Open(const std::string& path, size_t bytes, std::unique_ptr<SharedMemory>* out);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // Says that this process has it, as long as the process lives: a lock that the kernel drops with it and that no forked
  // child inherits. It is also dropped when this process closes any other descriptor of the file.
  Status Hold();
  // The other process that holds it, as it is called here: 0 if it is of another pid namespace, -1 if there is none.
  Status Holder(pid_t* out) const;
  uint8_t* data() const { return data_; }
  const std::string& path() const { return path_; }

 private:
  SharedMemory() = default;
  Status Map(int fd, size_t bytes);

  std::string path_;
  int fd_ = -1;
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

// Sleeps while *word is `seen`, at most `ns` nanoseconds (a negative number: without a limit). May return without a reason.
void FutexWait(uint32_t* word, uint32_t seen, int64_t ns);
void FutexWake(uint32_t* word, int sleepers);

int64_t NowNs();

// Whether to spin for what is awaited, before one sleeps: where that was in vain, the next waits sleep at once, twice as
// many each time. So it costs next to nothing where others want the processors, or nobody writes. Any thread may call it.
class Patience {
 public:
  explicit Patience(int64_t most_ns) : most_ns_(most_ns) {}

  // Nanoseconds to spin now; 0: sleep at once.
  int64_t ns() {
    if (skips_.load(std::memory_order_relaxed) <= 0) return most_ns_;  // below 0 where threads meet
    skips_.fetch_sub(1, std::memory_order_relaxed);
    return 0;
  }
  // Whether it came while one spun.
  void Learn(bool came) {
    const int failures = came ? 0 : std::min(failures_.load(std::memory_order_relaxed) + 1, kMostFailures);
    failures_.store(failures, std::memory_order_relaxed);
    skips_.store((1 << failures) - 1, std::memory_order_relaxed);
  }

 private:
  static constexpr int kMostFailures = 10;

  const int64_t most_ns_;
  std::atomic<int> failures_{0};  // one after the other
  std::atomic<int> skips_{0};     // waits that will sleep at once
};

// Spins until `ready` says so or `ns` nanoseconds have passed; returns what `ready` said last. It does not yield: where
// others want the processor, that would be for milliseconds, while who sleeps is woken soon.
template <typename Ready>
bool SpinUntil(const Ready& ready, int64_t ns);

// One step of a spin.
void SpinPause();

template <typename Ready>
bool SpinUntil(const Ready& ready, int64_t ns) {
  constexpr int kPauses = 32;  // about a microsecond
  if (ready()) return true;
  if (ns <= 0) return false;
  const int64_t end = NowNs() + ns;
  do {
    for (int i = 0; i < kPauses; ++i) {
      SpinPause();
      if (ready()) return true;
    }
  } while (NowNs() < end);
  return ready();
}

// The bell that clients ring for the owner (gf_ring_bell).
class RingBell {
 public:
  // Owner: makes it anew; whoever has an older one rings for nobody.
  static Status Create(const std::string& path, std::unique_ptr<RingBell>* out);
  static Status Open(const std::string& path, std::unique_ptr<RingBell>* out);

  // Wakes the owner if it sleeps: after something was published, or before, when that will be soon.
  void Ring();
  // The same, whatever the bell says of the owner, as clients can write to it.
  void Wake();
  // Whether the owner that has made this bell still lives, by the lock that it holds on it.
  bool OwnerLives() const;
  // Owner: says that it is about to sleep; then it looks once more at what it waits for. Returns what Sleep() takes.
  uint32_t Arm();
  void Disarm();
  // Whether it was rung meanwhile; may return without a reason.
  bool Sleep(uint32_t seen);

 private:
  gf_ring_bell* bell() const { return reinterpret_cast<gf_ring_bell*>(memory_->data()); }

  std::unique_ptr<SharedMemory> memory_;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_RING_MEMORY_H_
