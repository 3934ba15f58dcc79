// Failpoints: named places where a test makes the process die or a call fail, to see what is left.
#ifndef GRIDFLOW_CORE_FAILPOINT_H_
#define GRIDFLOW_CORE_FAILPOINT_H_

#include <atomic>
#include <map>
#include <string>

#include "core/mutex.h"
#include "core/status.h"

namespace gridflow {

// Which failpoints are armed. Any thread may call anything.
class Failpoints {
 public:
  // Arms "name=action" or "name=action@n" (at the n-th pass, from 1), separated by ";". Actions: kill (the process dies
  // as by kill -9), full (no space left), io (an input/output error). An empty text disarms all.
  Status Set(const std::string& specification);
  // What the failpoint says; dies if it says so.
  Status Hit(const char* name);
  bool armed() const { return armed_.load(std::memory_order_relaxed); }

 private:
  struct Armed {
    std::string action;
    long passes_left = 1;
  };

  Mutex mutex_;
  std::map<std::string, Armed> points_ GF_GUARDED_BY(mutex_);
  std::atomic<bool> armed_{false};  // whether there are any
};

// Those of this process: see ProcessState, whose they are.
Failpoints& ProcessFailpoints();

// In code that returns a Status.
#define GF_FAILPOINT(name)                                                  \
  do {                                                                      \
    ::gridflow::Failpoints& failpoints = ::gridflow::ProcessFailpoints();   \
    if (failpoints.armed()) GF_RETURN_IF_ERROR(failpoints.Hit(name));       \
  } while (0)

// In code that cannot fail: only `kill` counts.
#define GF_KILLPOINT(name)                                                  \
  do {                                                                      \
    ::gridflow::Failpoints& failpoints = ::gridflow::ProcessFailpoints();   \
    if (failpoints.armed()) (void)failpoints.Hit(name);                     \
  } while (0)

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_FAILPOINT_H_
