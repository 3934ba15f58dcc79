#include "ops/python.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/mirror.h"
#include "core/process_state.h"
#include "tsl/profiler/lib/traceme.h"

namespace gridflow {
namespace ops {

namespace {

using SharedSelection = std::shared_ptr<const Selection>;

// What Python answers with: one of the two.
struct Answer {
  std::shared_ptr<const RowPlan> plan;
  SharedSelection selection;
};

constexpr int64_t kMessageBytes = 4096;

// Who calls the functions holds the mutex shared; who has replaced them waits for them with the mutex. A process that
// ends takes the functions away first: no thread may be on its way into an interpreter that is gone.
std::shared_mutex& CallsMutex() {
  static std::shared_mutex* mutex = new std::shared_mutex;
  return *mutex;
}
std::atomic<gridflow_refresh> current_refresh{nullptr};
std::atomic<gridflow_select> current_select{nullptr};

// Calls `function` as call(function, message, room), if there is one; else `missing`.
template <typename Function, typename Call>
absl::Status Ask(const std::atomic<Function>& function, const Call& call, const absl::Status& missing) {
  if (function.load() == nullptr) return missing;  // without the mutex, or its writer might starve
  std::shared_lock<std::shared_mutex> lock(CallsMutex());
  const Function current = function.load();
  if (current == nullptr) return missing;
  char message[kMessageBytes] = "";
  const int code = call(current, message);
  return code == 0 ? absl::OkStatus() : absl::Status(static_cast<absl::StatusCode>(code), message);
}

}  // namespace

absl::Status RefreshTable(const std::string& directory, const std::string& table) {
  const tsl::profiler::TraceMe trace([&] { return absl::StrCat("Gridflow::Refresh#table=", table, "#"); });
  const auto call = [&](gridflow_refresh refresh, char* message) {
    return refresh(directory.c_str(), table.c_str(), message, kMessageBytes);
  };
  return Ask(current_refresh, call, absl::OkStatus());
}

absl::Status SelectRows(const std::string& directory, const std::string& table,
                        const std::shared_ptr<const TableSnapshot>& snapshot, const std::string& selection,
                        std::shared_ptr<const RowPlan>* plan, std::shared_ptr<const Selection>* out) {
  const tsl::profiler::TraceMe trace([&] { return absl::StrCat("Gridflow::Select#table=", table, "#"); });
  Answer answer;  // that Python says all is well does not mean that it has answered
  const auto call = [&](gridflow_select select, char* message) {
    return select(directory.c_str(), table.c_str(), &snapshot, plan, selection.c_str(), &answer, message,
                  kMessageBytes);
  };
  const absl::Status status =
      Ask(current_select, call,
          absl::FailedPreconditionError(absl::StrCat("rows of table ", table, " are chosen by SQL, which needs Python's ",
                                                     "gridflow.Dataset to be imported in the process that reads them")));
  if (!status.ok()) return status;
  const Selection* selected = answer.selection.get();
  if ((answer.plan == nullptr) == (selected == nullptr))
    return absl::InternalError(absl::StrCat("rows of table ", table, " were not chosen"));
  if (selected != nullptr && (selected->least < 0 || selected->most >= (*plan)->rows()))
    return absl::InternalError(absl::StrCat("table ", table, " has ", (*plan)->rows(), " rows, and rows ", selected->least,
                                            " to ", selected->most, " were chosen"));
  // It may be one of the same version that was mapped once more: rows have the same places.
  const auto same = [](const SegmentRef& a, const SegmentRef& b) {
    return a.segment->mapping()->identity() == b.segment->mapping()->identity();
  };
  if (answer.plan != nullptr && !std::equal(answer.plan->snapshot().segments().begin(), answer.plan->snapshot().segments().end(),
                                            snapshot->segments().begin(), snapshot->segments().end(), same))
    return absl::InternalError(absl::StrCat("rows of another version of table ", table, " were chosen"));
  if (answer.plan != nullptr) *plan = std::move(answer.plan);
  *out = std::move(answer.selection);
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow

void gridflow_ops_set_python(gridflow_refresh refresh, gridflow_select select) {
  gridflow::ops::current_refresh.store(refresh);
  gridflow::ops::current_select.store(select);
  std::unique_lock<std::shared_mutex> wait(gridflow::ops::CallsMutex());
}

void gridflow_ops_set_fetcher(void* fetcher) {
  gridflow::process_state->fetcher.store(static_cast<gridflow::Fetcher*>(fetcher), std::memory_order_release);
}

void* gridflow_ops_make_selection(const int64_t* ordinals, const double* weights, int64_t count) {
  auto selection = std::make_shared<gridflow::ops::Selection>();
  selection->ordinals.assign(ordinals, ordinals + count);
  if (count > 0) {
    const auto [least, most] = std::minmax_element(ordinals, ordinals + count);
    selection->least = *least;
    selection->most = *most;
  }
  if (weights != nullptr) selection->slots = gridflow::ops::MakeSlots(weights, count);
  return new gridflow::ops::SharedSelection(std::move(selection));
}

const int64_t* gridflow_ops_ordinals(const void* selection) {
  return (*static_cast<const gridflow::ops::SharedSelection*>(selection))->ordinals.data();
}

void gridflow_ops_selected(void* result, const void* selection) {
  static_cast<gridflow::ops::Answer*>(result)->selection = *static_cast<const gridflow::ops::SharedSelection*>(selection);
}

void gridflow_ops_chosen(void* result, const void* plan) {
  static_cast<gridflow::ops::Answer*>(result)->plan = *static_cast<const std::shared_ptr<const gridflow::RowPlan>*>(plan);
}

void gridflow_ops_free_selection(void* selection) { delete static_cast<gridflow::ops::SharedSelection*>(selection); }
