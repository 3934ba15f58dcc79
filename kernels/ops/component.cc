#include "ops/component.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/row_codec.h"
#include "ops/decimal.h"
#include "ops/ragged.h"
#include "ops/status.h"

namespace gridflow {
namespace ops {

using tensorflow::Tensor;
using tensorflow::TensorShape;

namespace {

// Appends a run, or makes the last one longer.
void Append(const Run& run, std::vector<Run>* runs) {
  if (run.count == 0) return;
  Run* last = runs->empty() ? nullptr : &runs->back();
  if (last != nullptr && last->segment == run.segment && last->begin + last->count == run.begin)
    last->count += run.count;
  else
    runs->push_back(run);
}

// What a tensor has for a cell as the log encodes it; without a cell for zero or the empty string.
absl::Status FillOf(const Type& type, const Format& format, const std::string& cell, std::string* out) {
  const std::string zero(format.form == Form::kString ? sizeof(uint32_t) : type.encoded_width(), '\0');
  const std::string& value = cell.empty() ? zero : cell;
  TF_RETURN_IF_ERROR(ToTf(CheckCell(type, reinterpret_cast<const uint8_t*>(value.data()), value.size())));
  if (format.form == Form::kDecimal) {
    char text[kDecimalChars];
    out->assign(text, FormatDecimal(reinterpret_cast<const uint8_t*>(value.data()), format.scale, text));
  } else {
    *out = format.form == Form::kString ? value.substr(sizeof(uint32_t)) : value;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Component::Make(const std::string& leaf, const std::string& table, const TableSnapshot& snapshot,
                             Counters* counters, int32_t gpu, std::unique_ptr<Component>* out) {
  std::unique_ptr<Component> component(new Component);
  component->table_ = table;
  component->counters_ = counters;
  component->gpu_ = gpu;
  TF_RETURN_IF_ERROR(Leaf::Parse(leaf, &component->leaf_));
  std::vector<size_t> way;
  const Type* type = component->leaf_.Find(snapshot.schema(), &way);
  if (type == nullptr)
    return absl::NotFoundError(absl::StrCat("table ", table, " has no column ", component->name(),
                                            " any more: make the dataset again"));
  TF_RETURN_IF_ERROR(Format::Of(*type, &component->format_));
  if (component->leaf_.nulls == Nulls::kFill)
    TF_RETURN_IF_ERROR(FillOf(*type, component->format_, component->leaf_.fill, &component->fill_));
  component->Bind(way, snapshot);
  if (component->leaf_.nulls == Nulls::kRowValid || component->leaf_.nulls == Nulls::kItemValid) {
    component->format_ = Format();
    component->format_.form = Form::kBool;
    component->format_.dtype = tensorflow::DT_BOOL;
  }
  if (component->leaf_.nulls == Nulls::kRowValid) component->lists_ = 0;
  for (size_t level = 0; level <= component->lists_; ++level) component->NoteChecked(level);
  *out = std::move(component);
  return absl::OkStatus();
}

void Component::Bind(const std::vector<size_t>& way, const TableSnapshot& snapshot) {
  const Type* type = &snapshot.schema().columns[way[0]].type;
  for (size_t i = 1; i < way.size(); type = &type->children[way[i++]])
    if (type->kind == GF_LIST || type->kind == GF_MAP) ++lists_;
  nullable_.resize(lists_ + 1, false);
  checked_.reset(new std::atomic<bool>[snapshot.segments().size() * (lists_ + 1)]());
  for (size_t i = 0; i < snapshot.segments().size(); ++i) {
    bindings_.push_back(Binding::Make(way, snapshot, i));
    const std::vector<Binding::Level>& levels = bindings_.back().levels;
    if (levels.empty()) nullable_[0] = true;
    for (size_t level = 0; level < levels.size(); ++level)
      if (!levels[level].nullable.empty()) nullable_[level] = true;
    values_.push_back(levels.empty() ? nullptr : levels.back().view);
    const bool fixed = !levels.empty() && format_.form == Form::kFixed;
    bases_.push_back(fixed ? values_.back()->Value(0) : nullptr);
  }
}

tensorflow::PartialTensorShape Component::shape(bool batch) const {
  if (Ragged(batch)) return tensorflow::PartialTensorShape({});
  tensorflow::PartialTensorShape shape({});
  if (batch || lists_ > 0) shape.AddDim(-1);
  return shape.Concatenate(tensorflow::PartialTensorShape(format_.shape));
}

TensorShape Component::ShapeOf(int64_t values) const {
  TensorShape shape({values});
  shape.AppendShape(format_.shape);
  return shape;
}

absl::Status Component::Batch(const Workers& workers, const std::vector<Run>& runs, int64_t rows, Tensor* out) const {
  if (lists_ > 0) return ReadLists(workers, runs, true, out);
  const Runs levels[] = {runs};
  Places nulls;
  TF_RETURN_IF_ERROR(CheckBlocks(levels));
  TF_RETURN_IF_ERROR(FindNulls(levels, &nulls));
  return Values(workers, runs, nulls, rows, ShapeOf(rows), out);
}

bool Component::reads_lists() const {
  const int64_t width = format_.width;
  return lists_ == 0 && format_.form == Form::kFixed && width > 0 && width <= 16 && (width & (width - 1)) == 0 &&
         !nullable_[0] && leaf_.nulls != Nulls::kRowValid && leaf_.nulls != Nulls::kItemValid && checked();
}

absl::Status Component::List(const Workers& workers, const RowList& list, Tensor* out) const {
  TF_RETURN_IF_ERROR(AllocateTensor(workers, format_.dtype, ShapeOf(list.size()), out));
  GatherList(list, bases_, format_.width, static_cast<char*>(out->data()));
  Count(0, list.size() * format_.width);
  return absl::OkStatus();
}

absl::Status Component::Row(const Workers& workers, const Run& run, Tensor* out) const {
  const Run row[] = {{run.segment, run.begin, 1}};
  if (lists_ > 0) return ReadLists(workers, row, false, out);
  const Runs levels[] = {row};
  Places nulls;
  TF_RETURN_IF_ERROR(CheckBlocks(levels));
  TF_RETURN_IF_ERROR(FindNulls(levels, &nulls));
  return Values(workers, row, nulls, 1, format_.shape, out);
}

absl::Status Component::ReadLists(const Workers& workers, Runs rows, bool batch, Tensor* out) const {
  std::vector<std::vector<Run>> items(lists_);
  std::vector<Runs> levels = {rows};
  std::vector<Tensor> splits;
  Places nulls;
  int64_t count = 0;
  for (const Run& run : rows) count += run.count;
  for (size_t level = 0; level < lists_; ++level) {
    TF_RETURN_IF_ERROR(CheckBlocks(levels));
    TF_RETURN_IF_ERROR(FindNulls(levels, &nulls));
    int64_t* ends = nullptr;
    if (batch || level > 0) {
      splits.emplace_back();
      TF_RETURN_IF_ERROR(AllocateTensor(workers, tensorflow::DT_INT64, TensorShape({count + 1}), &splits.back()));
      ends = splits.back().flat<int64_t>().data();
      *ends++ = 0;
    }
    TF_RETURN_IF_ERROR(Items(level, levels.back(), nulls, ends, &items[level], &count));
    levels.push_back(items[level]);
  }
  TF_RETURN_IF_ERROR(CheckBlocks(levels));
  TF_RETURN_IF_ERROR(FindNulls(levels, &nulls));
  Tensor values;
  TF_RETURN_IF_ERROR(Values(workers, levels.back(), nulls, count, ShapeOf(count), &values));
  *out = splits.empty() ? std::move(values) : RaggedVariant(std::move(values), std::move(splits));
  return absl::OkStatus();
}

absl::Status Component::Items(size_t level, Runs runs, const Places& nulls, int64_t* ends, std::vector<Run>* items,
                              int64_t* count) const {
  int64_t place = 0, total = 0;  // lists passed over, and their items
  auto null = nulls.begin();
  for (const Run& run : runs) {
    const Binding& binding = bindings_[run.segment];
    const int64_t end = place + run.count;
    while (place < end) {
      const int64_t stop = null == nulls.end() ? end : std::min(end, *null);
      if (place < stop) {
        const ColumnView& view = *binding.levels[level].view;
        const int64_t row = run.begin + run.count - (end - place);
        const int64_t first = view.Offset(row);
        int64_t from = first, to = first;
        for (int64_t i = 0; i < stop - place; ++i) {
          if (!CheckedRange(view, row + i, &from, &to)) return OffsetsError(binding, view, row + i);
          if (ends != nullptr) *ends++ = total + to - first;
        }
        total += to - first;
        Append({run.segment, first, to - first}, items);
        place = stop;
      }
      for (; place < end && null != nulls.end() && *null == place; ++place, ++null)
        if (ends != nullptr) *ends++ = total;
    }
  }
  *count = total;
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow
