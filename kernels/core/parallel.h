// Work that several threads share.
#ifndef GRIDFLOW_CORE_PARALLEL_H_
#define GRIDFLOW_CORE_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

namespace gridflow {

// Calls work() on up to `threads` threads, the caller's among them, and returns when all calls have. It may be fewer:
// each call must do whatever no other has begun.
template <typename Work>
void OnThreads(int threads, const Work& work) {
  std::vector<std::thread> others;
  try {
    for (int i = 1; i < threads; ++i) others.emplace_back([&work] { work(); });
  } catch (const std::system_error&) {
    // No more threads are to be had: those there are do the work.
  }
  work();
  for (std::thread& thread : others) thread.join();
}

// Calls body(0) ... body(count - 1), each once, in any order, on up to `threads` threads.
template <typename Body>
void ForEach(int threads, size_t count, const Body& body) {
  std::atomic<size_t> next{0};
  OnThreads(static_cast<int>(std::min(static_cast<size_t>(std::max(threads, 1)), count)), [&] {
    for (size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
  });
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_PARALLEL_H_
