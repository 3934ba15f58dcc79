// Mutex, MutexLock and Condition: std::mutex and its companions, which libstdc++ does not annotate, with the annotations.
#ifndef GRIDFLOW_CORE_MUTEX_H_
#define GRIDFLOW_CORE_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "core/thread_annotations.h"

namespace gridflow {

class GF_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() GF_ACQUIRE() { mutex_.lock(); }
  void Unlock() GF_RELEASE() { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

// Holds a mutex as long as it lives.
class GF_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) GF_ACQUIRE(mutex) : mutex_(mutex) { mutex_->Lock(); }
  ~MutexLock() GF_RELEASE() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// Something that threads wait for, which is guarded by a mutex.
class Condition {
 public:
  // Lets go of the mutex while it waits. May return without a reason: look again at what you wait for.
  void Wait(Mutex* mutex) GF_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    condition_.wait(lock);
    (void)lock.release();  // the caller has it, as before
  }
  // As Wait, at most so many nanoseconds.
  void WaitFor(Mutex* mutex, int64_t ns) GF_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    condition_.wait_for(lock, std::chrono::nanoseconds(ns));
    (void)lock.release();
  }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MUTEX_H_
