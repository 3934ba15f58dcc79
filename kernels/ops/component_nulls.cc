// Which values of a Component are null, and its errors.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/bits.h"
#include "ops/component.h"
#include "ops/key_text.h"
#include "ops/status.h"

namespace gridflow {
namespace ops {
namespace {

// Where that place of the runs is: a run of one.
Run At(Runs runs, int64_t place) {
  const Run* run = runs.data();
  for (; place >= run->count; ++run) place -= run->count;
  return {run->segment, run->begin + place, 1};
}

}  // namespace

absl::Status Component::FindNulls(absl::Span<const Runs> levels, Places* nulls) const {
  nulls->clear();
  const size_t level = levels.size() - 1;
  if (!nullable_[level]) return absl::OkStatus();
  int64_t place = 0;
  for (const Run& run : levels[level]) {
    const Binding& binding = bindings_[run.segment];
    if (binding.levels.empty())
      for (int64_t i = 0; i < run.count; ++i) nulls->push_back(place + i);
    else
      AppendNulls(binding.levels[level], run, place, nulls);
    place += run.count;
  }
  const bool error = leaf_.nulls == Nulls::kError || (leaf_.nulls == Nulls::kEmptyList && level == lists_);
  return error && !nulls->empty() ? NullError(levels, nulls->front()) : absl::OkStatus();
}

void Component::AppendNulls(const Binding::Level& level, const Run& run, int64_t place, Places* nulls) {
  const auto known = static_cast<Places::difference_type>(nulls->size());
  for (const ColumnView* view : level.nullable) {
    const int64_t begin = run.begin + view->offset, end = begin + run.count;
    for (int64_t bit = begin; (bit = FindBit(view->validity, bit, end, false)) < end; ++bit)
      nulls->push_back(place + bit - begin);
  }
  if (level.nullable.size() < 2) return;
  std::sort(nulls->begin() + known, nulls->end());
  nulls->erase(std::unique(nulls->begin() + known, nulls->end()), nulls->end());
}

Run Component::RowOf(absl::Span<const Runs> levels, Run at) const {
  const Binding& binding = bindings_[at.segment];
  // From the item to the list that holds it, up to the row. The offsets were checked on the way down.
  for (size_t level = levels.size() - 1; level-- > 0;) {
    const ColumnView& view = *binding.levels[level].view;
    const auto holds = [&view, &at](int64_t row) { return view.Offset(row) <= at.begin && at.begin < view.Offset(row + 1); };
    for (const Run& run : levels[level]) {
      if (run.segment != at.segment) continue;
      int64_t row = run.begin;
      while (row < run.begin + run.count && !holds(row)) ++row;
      if (row == run.begin + run.count) continue;
      at.begin = row;
      break;
    }
  }
  return at;
}

absl::Status Component::NullError(absl::Span<const Runs> levels, int64_t place) const {
  const Run at = RowOf(levels, At(levels.back(), place));
  const Binding& binding = bindings_[at.segment];
  const char* what = levels.size() > 1 ? " holds a null in its list " : " is null ";
  return absl::InvalidArgumentError(absl::StrCat(
      "column ", name(), " of table ", table_, what, "in the row where ", KeyText(*binding.segment, at.begin),
      ": leave the column out with columns=, say with nulls= what it is to be, or fill it"));
}

absl::Status Component::OffsetsError(const Binding& binding, const ColumnView& view, int64_t row) const {
  const std::string& file = binding.segment->path();
  const int64_t width = view.type->kind == GF_MAP ? 4 : 8;
  const int64_t at = (view.offsets + (row + view.offset) * width) - binding.segment->mapping()->data();
  return ToTf(Status::Corrupt(file, at, absl::StrCat("column ", name(), " has impossible offsets")));
}

}  // namespace ops
}  // namespace gridflow
