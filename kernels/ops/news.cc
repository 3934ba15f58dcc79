#include "ops/news.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "ops/status.h"

namespace gridflow {
namespace ops {
namespace {

// Between two looks at a table: each may have its writer flush, and a flush for every single commit is too many.
constexpr int64_t kLeastMs = 50;
// A grid that was removed and made again in the same place has another page: look for it this often.
constexpr int64_t kReopenMs = 1000;
// A mirror is told of nothing: its grid is asked this often.
constexpr int64_t kMirrorMs = 500;

}  // namespace

absl::Status News::Look() {
  std::shared_ptr<ControlPage> page;
  const Status status = ControlPage::Open(directory_ + "/control", &page);
  if (!status.ok()) return ToTf(status);
  seen_ = page->Now();
  return absl::OkStatus();
}

bool News::Wait(const std::function<bool()>& cancelled) const {
  using std::chrono::milliseconds;
  const auto left = [this] {
    if (timeout_ms_ < 0) return kReopenMs;
    const auto passed = std::chrono::steady_clock::now() - since_;
    return std::max<int64_t>(0, timeout_ms_ - std::chrono::duration_cast<milliseconds>(passed).count());
  };
  if (timeout_ms_ >= 0 && left() == 0) return false;
  if (::access((directory_ + "/mirror").c_str(), F_OK) == 0) {
    for (int64_t slept = 0; slept < kMirrorMs && left() > 0 && !cancelled(); slept += kLeastMs)
      std::this_thread::sleep_for(milliseconds(std::min(kLeastMs, left())));
    return !cancelled() && left() > 0;
  }
  std::this_thread::sleep_for(milliseconds(std::min(kLeastMs, left())));
  while (!cancelled()) {
    std::shared_ptr<ControlPage> page;
    const int64_t wait_ms = std::min(kReopenMs, left());
    if (!ControlPage::Open(directory_ + "/control", &page).ok()) return true;  // reading the table says what is wrong
    if (page->Wait(seen_, wait_ms, cancelled)) return true;
    if (wait_ms == 0) return false;
  }
  return false;
}

}  // namespace ops
}  // namespace gridflow
