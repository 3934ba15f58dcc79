#include "ops/python.h"

#include <atomic>
#include <mutex>
#include <shared_mutex>

#include "absl/strings/str_cat.h"

namespace gridflow {
namespace ops {

// What Python is to fill in: that it says all is well does not mean that it has.
struct Answer : Selection {
  bool given = false;
};

namespace {

constexpr int64_t kMessageBytes = 4096;

// Who calls the functions holds the mutex shared; who has replaced them waits for them with the mutex. A process that
// ends takes the functions away first: no thread may be on its way into an interpreter that is gone.
std::shared_mutex& Mutex() {
  static std::shared_mutex* mutex = new std::shared_mutex;
  return *mutex;
}
std::atomic<gridflow_refresh> current_refresh{nullptr};
std::atomic<gridflow_select> current_select{nullptr};

// Calls `function` as call(function, message, room), if there is one; else `missing`.
template <typename Function, typename Call>
absl::Status Ask(const std::atomic<Function>& function, const Call& call, const absl::Status& missing) {
  if (function.load() == nullptr) return missing;  // without the mutex, or its writer might starve
  std::shared_lock<std::shared_mutex> lock(Mutex());
  const Function held = function.load();
  if (held == nullptr) return missing;
  char message[kMessageBytes] = "";
  const int code = call(held, message);
  return code == 0 ? absl::OkStatus() : absl::Status(static_cast<absl::StatusCode>(code), message);
}

}  // namespace

absl::Status RefreshTable(const std::string& directory, const std::string& table) {
  const auto call = [&](gridflow_refresh refresh, char* message) {
    return refresh(directory.c_str(), table.c_str(), message, kMessageBytes);
  };
  return Ask(current_refresh, call, absl::OkStatus());
}

absl::Status SelectRows(const std::string& directory, const std::string& table,
                        const std::shared_ptr<const TableSnapshot>& snapshot, const std::string& selection,
                        const std::vector<int64_t>& partitions, int64_t rows, std::shared_ptr<const Selection>* out) {
  auto selected = std::make_shared<Answer>();
  const auto call = [&](gridflow_select select, char* message) {
    return select(directory.c_str(), table.c_str(), &snapshot, selection.c_str(), partitions.data(),
                  static_cast<int64_t>(partitions.size()), selected.get(), message, kMessageBytes);
  };
  const absl::Status status =
      Ask(current_select, call,
          absl::FailedPreconditionError(absl::StrCat("rows of table ", table, " are chosen by SQL, which needs Python's ",
                                                     "gridflow.Dataset to be imported in the process that reads them")));
  if (!status.ok()) return status;
  if (!selected->given) return absl::InternalError(absl::StrCat("rows of table ", table, " were not chosen"));
  for (const int64_t ordinal : selected->ordinals)
    if (ordinal < 0 || ordinal >= rows)
      return absl::InternalError(absl::StrCat("table ", table, " has ", rows, " rows, and row ", ordinal, " was chosen"));
  *out = std::move(selected);
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow

void gridflow_ops_set_python(gridflow_refresh refresh, gridflow_select select) {
  gridflow::ops::current_refresh.store(refresh);
  gridflow::ops::current_select.store(select);
  std::unique_lock<std::shared_mutex> wait(gridflow::ops::Mutex());
}

void gridflow_ops_selected(void* result, const int64_t* ordinals, const double* weights, int64_t count) {
  auto* selection = static_cast<gridflow::ops::Answer*>(result);
  selection->given = true;
  selection->ordinals.assign(ordinals, ordinals + count);
  if (weights != nullptr) selection->slots = gridflow::ops::MakeSlots(weights, count);
}
