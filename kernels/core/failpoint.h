// Failpoints: named places where a test makes the process die or a call fail, to see what is left.
#ifndef GRIDFLOW_CORE_FAILPOINT_H_
#define GRIDFLOW_CORE_FAILPOINT_H_

#include <atomic>
#include <string>

#include "core/status.h"

namespace gridflow {

// Arms failpoints: "name=action" or "name=action@n" (at the n-th pass, from 1), separated by ";". Actions: kill (the
// process dies as by kill -9), full (no space left), io (an input/output error). An empty text disarms all.
Status SetFailpoints(const std::string& specification);

// What the failpoint says; dies if it says so.
Status HitFailpoint(const char* name);

extern std::atomic<bool> failpoints_armed;

// In code that returns a Status.
#define GF_FAILPOINT(name)                                             \
  do {                                                                 \
    if (::gridflow::failpoints_armed.load(std::memory_order_relaxed))  \
      GF_RETURN_IF_ERROR(::gridflow::HitFailpoint(name));              \
  } while (0)

// In code that cannot fail: only `kill` counts.
#define GF_KILLPOINT(name)                                                                               \
  do {                                                                                                   \
    if (::gridflow::failpoints_armed.load(std::memory_order_relaxed)) (void)::gridflow::HitFailpoint(name); \
  } while (0)

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_FAILPOINT_H_
