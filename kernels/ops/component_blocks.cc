// How a Component checks the blocks that it reads, and its errors.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ops/component.h"
#include "ops/key_text.h"
#include "ops/status.h"

namespace gridflow {
namespace ops {
namespace {

// With more runs than this it pays to know that a column has no block left to check.
constexpr size_t kManyRuns = 16;

}  // namespace

Status Component::CheckBlocks(size_t level, const Run& run) const {
  const Binding& binding = bindings_[run.segment];
  const Segment& segment = *binding.segment;
  const Binding::Level& it = binding.levels[level];
  const int64_t end = run.begin + run.count;
  for (const ColumnView* view : it.nullable) GF_RETURN_IF_ERROR(segment.CheckValidity(*view, run.begin, end));
  const bool only_nulls = leaf_.nulls == Nulls::kRowValid || leaf_.nulls == Nulls::kItemValid;
  return only_nulls && level == lists_ ? Status::Ok() : segment.CheckValues(*it.view, run.begin, end);
}

absl::Status Component::CheckBlocks(absl::Span<const Runs> levels) const {
  const size_t level = levels.size() - 1;
  const Runs runs = levels.back();
  const auto needed = [&](size_t segment) {
    const Binding& binding = bindings_[segment];
    return binding.mapped && !binding.levels.empty() && !binding.segment->checked() &&
           !checked_[segment * (lists_ + 1) + level].load(std::memory_order_relaxed);
  };
  bool any = runs.size() <= kManyRuns;  // or else it is worth looking
  for (size_t i = 0; i < bindings_.size() && !any; ++i) any = needed(i);
  if (!any) return absl::OkStatus();
  for (const Run& run : runs)
    if (run.count > 0 && needed(static_cast<size_t>(run.segment)) && !CheckBlocks(level, run).ok())
      return BlockError(levels, run);
  if (runs.size() <= kManyRuns) return absl::OkStatus();
  for (size_t i = 0; i < bindings_.size(); ++i) {
    if (!needed(i)) continue;
    const Binding::Level& it = bindings_[i].levels[level];
    const auto done = [&](const ColumnView* view) { return bindings_[i].segment->IsChecked(*view); };
    if (done(it.view) && std::all_of(it.nullable.begin(), it.nullable.end(), done))
      checked_[i * (lists_ + 1) + level].store(true, std::memory_order_relaxed);
  }
  return absl::OkStatus();
}

absl::Status Component::BlockError(absl::Span<const Runs> levels, const Run& run) const {
  const size_t level = levels.size() - 1;
  Run at = {run.segment, run.begin, 1};
  while (at.begin + 1 < run.begin + run.count && CheckBlocks(level, at).ok()) ++at.begin;
  const Status status = CheckBlocks(level, at);
  const Run row = RowOf(levels, at);
  return ToTf({status.code, absl::StrCat("column ", name(), " of table ", table_, " is damaged in the row where ",
                                         KeyText(*bindings_[row.segment].segment, row.begin), ": ", status.message),
               status.file, status.offset});
}

void Component::ReadAhead(const std::vector<Run>& runs) const {
  for (const Run& run : runs)
    if (bindings_[run.segment].mapped && !bindings_[run.segment].levels.empty()) (void)CheckBlocks(0, run);
}

}  // namespace ops
}  // namespace gridflow
