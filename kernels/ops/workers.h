// Copying with the help of tf.data's threads.
#ifndef GRIDFLOW_OPS_WORKERS_H_
#define GRIDFLOW_OPS_WORKERS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/mutex.h"
#include "tensorflow/core/framework/allocator.h"

namespace gridflow {
namespace ops {

// What an element is made with: where its memory comes from, and who may help. Borrowed from the call that asks for
// the element.
struct Workers {
  tensorflow::Allocator* allocator;
  std::function<void(std::function<void()>)>* runner;
  int64_t threads;
};

// Calls body(0) ... body(count - 1), each once, in any order and on several threads; returns when all are done.
// The caller takes part and waits only for calls that have begun, so it cannot hang where all threads are callers.
inline void ParallelFor(const Workers& workers, int64_t count, const std::function<void(int64_t)>& body) {
  struct State {
    std::atomic<int64_t> next{0};
    Mutex mutex;
    Condition finished;
    int64_t done GF_GUARDED_BY(mutex) = 0;
  };
  auto state = std::make_shared<State>();
  // A helper that comes late finds nothing to do and does not touch `body`, which may be gone by then.
  auto work = [state, count, &body]() {
    int64_t done = 0;
    for (int64_t i = state->next.fetch_add(1); i < count; i = state->next.fetch_add(1), ++done) body(i);
    if (done == 0) return;
    MutexLock lock(&state->mutex);
    state->done += done;
    if (state->done == count) state->finished.NotifyAll();
  };
  for (int64_t helper = 1; helper < workers.threads && helper < count; ++helper) (*workers.runner)(work);
  work();
  MutexLock lock(&state->mutex);
  while (state->done != count) state->finished.Wait(&state->mutex);
}

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_WORKERS_H_
