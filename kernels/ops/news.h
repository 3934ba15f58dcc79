// Waiting for a table to be written, for iterators that follow it.
#ifndef GRIDFLOW_OPS_NEWS_H_
#define GRIDFLOW_OPS_NEWS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "core/control.h"

namespace gridflow {
namespace ops {

// Until when who follows a table waits, and for what. Copies are cheap; one thread uses one.
class News {
 public:
  News() = default;
  // `timeout_ms`: how long nothing new may come; negative for ever.
  News(std::string directory, int64_t timeout_ms) : directory_(std::move(directory)), timeout_ms_(timeout_ms) {}

  // Call it before the table is read: what comes from then on ends the next Wait.
  absl::Status Look();
  // The time without news begins now, or ends.
  void Begin() {
    if (!waiting_) since_ = std::chrono::steady_clock::now();
    waiting_ = true;
  }
  void End() { waiting_ = false; }
  // Waits until anything in the grid was written since Look(). False: the time is over, or `cancelled` says so.
  bool Wait(const std::function<bool()>& cancelled) const;

 private:
  std::string directory_;
  int64_t timeout_ms_ = -1;
  ControlPage::Seen seen_ = {0, 0};
  bool waiting_ = false;
  std::chrono::steady_clock::time_point since_;
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_NEWS_H_
