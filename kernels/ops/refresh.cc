#include "ops/refresh.h"

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace gridflow {
namespace ops {
namespace {

constexpr int64_t kMessageBytes = 4096;

// Who calls the function holds the mutex shared; who has replaced it waits for them with the mutex. A process that
// ends takes the function away first: no thread may be on its way into an interpreter that is gone.
std::shared_mutex& Mutex() {
  static std::shared_mutex* mutex = new std::shared_mutex;
  return *mutex;
}
std::atomic<gridflow_refresh> current{nullptr};

}  // namespace

absl::Status RefreshTable(const std::string& directory, const std::string& table) {
  if (current.load() == nullptr) return absl::OkStatus();  // without the mutex, or its writer might starve
  std::shared_lock<std::shared_mutex> lock(Mutex());
  const gridflow_refresh refresh = current.load();
  if (refresh == nullptr) return absl::OkStatus();
  char message[kMessageBytes] = "";
  const int code = refresh(directory.c_str(), table.c_str(), message, kMessageBytes);
  if (code == 0) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(code), message);
}

}  // namespace ops
}  // namespace gridflow

void gridflow_ops_set_refresh(gridflow_refresh refresh) {
  gridflow::ops::current.store(refresh);
  std::unique_lock<std::shared_mutex> wait(gridflow::ops::Mutex());
}
