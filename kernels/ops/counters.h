// Counters: how much of what was read was handed out where it lies, and how much was copied.
#ifndef GRIDFLOW_OPS_COUNTERS_H_
#define GRIDFLOW_OPS_COUNTERS_H_

#include <atomic>
#include <cstdint>

namespace gridflow {
namespace ops {

// Any thread may add and read at any time; the numbers are each right, but not of one moment. Only values count,
// not the row splits of ragged tensors.
struct Counters {
  std::atomic<int64_t> views{0};  // tensors of which no byte was copied
  std::atomic<int64_t> viewed_bytes{0};
  std::atomic<int64_t> copies{0};  // all others
  std::atomic<int64_t> copied_bytes{0};
  std::atomic<int64_t> pinned_bytes{0};  // of those that were viewed, what lies in pinned memory

  // One tensor more.
  void Add(int64_t viewed, int64_t copied, bool pinned) {
    const bool view = viewed > 0 && copied == 0;
    (view ? views : copies).fetch_add(1, std::memory_order_relaxed);
    if (viewed > 0) viewed_bytes.fetch_add(viewed, std::memory_order_relaxed);
    if (copied > 0) copied_bytes.fetch_add(copied, std::memory_order_relaxed);
    if (pinned) pinned_bytes.fetch_add(viewed, std::memory_order_relaxed);
  }
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_COUNTERS_H_
