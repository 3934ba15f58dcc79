// Work that leaves processor and disk to others.
#ifndef GRIDFLOW_CORE_YIELDING_H_
#define GRIDFLOW_CORE_YIELDING_H_

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>
#include <system_error>
#include <thread>

namespace gridflow {

// Calls work() on a thread of its own, of low priority, and returns when it has. A thread that has lowered its priority
// may not raise it again: so the caller's, which may hold what others wait for afterwards, stays as it is. What work()
// throws is thrown.
template <typename Work>
void Yielding(const Work& work) {
  constexpr int kNice = 10, kIoWhoProcess = 1, kIoBestEffort = 2 << 13, kIoLast = 7;
  std::exception_ptr thrown;
  std::thread thread;
  try {
    thread = std::thread([&] {
      // What the system does not let us change stays as it is.
      const auto self = static_cast<id_t>(::syscall(SYS_gettid));
      (void)::setpriority(PRIO_PROCESS, self, kNice);
      (void)::syscall(SYS_ioprio_set, kIoWhoProcess, 0, kIoBestEffort | kIoLast);
      try {
        work();
      } catch (...) {
        thrown = std::current_exception();
      }
    });
  } catch (const std::system_error&) {
    return work();  // no more threads are to be had
  }
  thread.join();
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_YIELDING_H_
