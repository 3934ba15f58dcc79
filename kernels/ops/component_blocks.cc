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

// What a column, or a part of one, has in its file.
int64_t BytesOf(const ColumnView& view) {
  int64_t bytes = view.validity != nullptr ? view.length / 8 : 0;
  if (view.offsets != nullptr) bytes += view.length * (view.type->kind == GF_MAP ? 4 : 8);
  if (view.offsets != nullptr && view.data != nullptr) bytes += view.limit;
  if (view.offsets == nullptr && view.data != nullptr)
    bytes += view.type->kind == GF_BOOL ? view.length / 8 : view.length * view.type->width;
  for (const ColumnView& child : view.children) bytes += BytesOf(child);
  return bytes;
}

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

bool Component::NeedsCheck(size_t segment, size_t level) const {
  const Binding& binding = bindings_[segment];
  return binding.mapped && !binding.levels.empty() && !binding.segment->checked() &&
         !checked_[segment * (lists_ + 1) + level].load(std::memory_order_relaxed);
}

void Component::NoteChecked(size_t level) const {
  for (size_t i = 0; i < bindings_.size(); ++i) {
    if (!NeedsCheck(i, level)) continue;
    const Binding::Level& it = bindings_[i].levels[level];
    const auto done = [&](const ColumnView* view) { return bindings_[i].segment->IsChecked(*view); };
    if (done(it.view) && std::all_of(it.nullable.begin(), it.nullable.end(), done))
      checked_[i * (lists_ + 1) + level].store(true, std::memory_order_relaxed);
  }
}

bool Component::checked() const {
  for (size_t i = 0; i < bindings_.size(); ++i)
    if (NeedsCheck(i, 0)) return false;
  return true;
}

absl::Status Component::CheckBlocks(absl::Span<const Runs> levels) const {
  const size_t level = levels.size() - 1;
  const Runs runs = levels.back();
  bool any = runs.size() <= kManyRuns;  // or else it is worth looking
  for (size_t i = 0; i < bindings_.size() && !any; ++i) any = NeedsCheck(i, level);
  if (!any) return absl::OkStatus();
  for (const Run& run : runs)
    if (run.count > 0 && NeedsCheck(static_cast<size_t>(run.segment), level)) {
      const Status status = CheckBlocks(level, run);
      if (!status.ok()) return status.code == Code::kCorrupt ? BlockError(levels, run) : ToTf(status);
    }
  if (runs.size() > kManyRuns) NoteChecked(level);
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

int64_t Component::bytes() const {
  int64_t bytes = 0;
  for (const Binding& binding : bindings_)
    if (binding.mapped && !binding.levels.empty()) bytes += BytesOf(*binding.levels[0].view);
  return bytes;
}

void Component::AskFor(const std::vector<Run>& runs) const {
  for (const Run& run : runs) {
    const Binding& binding = bindings_[static_cast<size_t>(run.segment)];
    if (!binding.mapped || binding.levels.empty() || !NeedsCheck(static_cast<size_t>(run.segment), 0)) continue;
    const Binding::Level& it = binding.levels[0];
    for (const ColumnView* view : it.nullable)
      if (view != it.view && view->validity != nullptr)
        binding.segment->WillNeed(view->validity + run.begin / 8,
                                  static_cast<uint64_t>((run.begin + run.count - 1) / 8 - run.begin / 8 + 1));
    binding.segment->WillNeedRows(*it.view, run.begin, run.begin + run.count);
  }
}

void Component::WillNeed(const std::vector<Run>& runs) const {
  const auto view_of = [this](const Run& run) {
    const Binding& binding = bindings_[static_cast<size_t>(run.segment)];
    return binding.mapped && !binding.levels.empty() ? binding.levels[0].view : nullptr;
  };
  for (const Run& run : runs) {
    const ColumnView* view = view_of(run);
    if (view == nullptr) continue;
    const Segment& segment = *bindings_[static_cast<size_t>(run.segment)].segment;
    if (view->offsets != nullptr) {
      const int64_t width = view->type->kind == GF_MAP ? 4 : 8;
      segment.WillNeed(view->offsets + run.begin * width, static_cast<uint64_t>((run.count + 1) * width));
    } else if (view->data != nullptr && view->type->width > 0) {
      segment.WillNeed(view->data + run.begin * view->type->width, static_cast<uint64_t>(run.count * view->type->width));
    }
  }
  for (const Run& run : runs) {  // what the offsets say, which have been asked for by now
    const ColumnView* view = view_of(run);
    if (view == nullptr || view->offsets == nullptr || view->data == nullptr) continue;
    if (bindings_[static_cast<size_t>(run.segment)].segment->partial()) continue;  // AskFor() was there
    const int64_t begin = view->Offset(run.begin), end = view->Offset(run.begin + run.count);
    if (begin >= 0 && begin < end && end <= view->limit)
      bindings_[static_cast<size_t>(run.segment)].segment->WillNeed(view->data + begin, static_cast<uint64_t>(end - begin));
  }
}

void Component::ReadAhead(const std::vector<Run>& runs) const {
  for (const Run& run : runs)
    if (NeedsCheck(static_cast<size_t>(run.segment), 0)) (void)CheckBlocks(0, run);
  NoteChecked(0);
}

}  // namespace ops
}  // namespace gridflow
