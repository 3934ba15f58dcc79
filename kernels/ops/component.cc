#include "ops/component.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ops/bits.h"
#include "ops/buffer.h"
#include "ops/decimal.h"
#include "ops/key_text.h"
#include "ops/ragged.h"
#include "ops/status.h"

namespace gridflow {
namespace ops {

using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

namespace {

// A view costs about as much as copying this many bytes, and keeps a whole file in memory.
constexpr int64_t kSmallestView = 64;
// Copies of more than this are shared among threads, in pieces of this size.
constexpr int64_t kPieceBytes = 512 * 1024;

absl::Status Allocate(const Workers& workers, tensorflow::DataType dtype, const TensorShape& shape, Tensor* out) {
  *out = Tensor(workers.allocator, dtype, shape);
  if (out->IsInitialized()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("no memory for a tensor of ", tensorflow::DataTypeString(dtype), shape.DebugString()));
}

}  // namespace

absl::Status Component::Make(const std::string& leaf, const std::string& table, const TableSnapshot& snapshot,
                             std::unique_ptr<Component>* out) {
  std::unique_ptr<Component> component(new Component);
  component->table_ = table;
  TF_RETURN_IF_ERROR(Leaf::Parse(leaf, &component->leaf_));
  const Type* type = component->leaf_.Find(snapshot.schema());
  if (type == nullptr)
    return absl::NotFoundError(absl::StrCat("table ", table, " has no column ", component->name(),
                                            " any more: make the dataset again"));
  const absl::Status status = FormatOf(*type, &component->format_);
  if (!status.ok())
    return absl::InvalidArgumentError(
        absl::StrCat("column ", component->name(), " of table ", table, ": ", status.message()));
  component->scale_ = (component->format_.list ? type->children[0] : *type).scale;
  component->bindings_.resize(snapshot.segments().size());
  for (size_t i = 0; i < component->bindings_.size(); ++i)
    TF_RETURN_IF_ERROR(
        Binding::Make(component->leaf_, component->format_, snapshot, i, &component->bindings_[i]));
  *out = std::move(component);
  return absl::OkStatus();
}

TensorShape Component::ShapeOf(int64_t values) const {
  TensorShape shape({values});
  shape.AppendShape(format_.shape);
  return shape;
}

absl::Status Component::NullError(const Binding& binding, int64_t row, const char* what) const {
  return absl::InvalidArgumentError(
      absl::StrCat("column ", name(), " of table ", table_, what, "in the row where ", KeyText(*binding.segment, row),
                   ": leave the column out with columns=, or fill it"));
}

absl::Status Component::OffsetsError(const Binding& binding, const ColumnView& view, int64_t row) const {
  const std::string& file = binding.segment->path();
  const int64_t at = (view.offsets + (row + view.offset) * 8) - binding.segment->mapping()->data();
  return ToTf(Status::Corrupt(file, at, absl::StrCat("column ", name(), " has impossible offsets")));
}

absl::Status Component::CheckNulls(const Run& run) const {
  const Binding& binding = bindings_[run.segment];
  if (binding.view == nullptr) return NullError(binding, run.begin, " is null ");
  for (const ColumnView* level : binding.nullable) {
    const int64_t begin = run.begin + level->offset;
    const int64_t null = FindBit(level->validity, begin, begin + run.count, false);
    if (null < begin + run.count) return NullError(binding, null - level->offset, " is null ");
  }
  return absl::OkStatus();
}

absl::Status Component::Batch(const Workers& workers, const std::vector<Run>& runs, int64_t rows, Tensor* out) const {
  for (const Run& run : runs) TF_RETURN_IF_ERROR(CheckNulls(run));
  if (!format_.list) return Gather(workers, runs.data(), runs.size(), rows, ShapeOf(rows), out);
  Tensor splits;
  TF_RETURN_IF_ERROR(Allocate(workers, tensorflow::DT_INT64, TensorShape({rows + 1}), &splits));
  int64_t* ends = splits.flat<int64_t>().data();
  *ends++ = 0;
  int64_t total = 0;
  std::vector<Run> items(runs.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    TF_RETURN_IF_ERROR(Items(runs[i], total, ends, &items[i]));
    total += items[i].count;
    ends += runs[i].count;
  }
  Tensor values;
  TF_RETURN_IF_ERROR(Gather(workers, items.data(), items.size(), total, ShapeOf(total), &values));
  *out = RaggedVariant(std::move(values), std::move(splits));
  return absl::OkStatus();
}

absl::Status Component::Row(const Workers& workers, const Run& run, Tensor* out) const {
  const Run row = {run.segment, run.begin, 1};
  TF_RETURN_IF_ERROR(CheckNulls(row));
  if (!format_.list) return Gather(workers, &row, 1, 1, format_.shape, out);
  Run items;
  TF_RETURN_IF_ERROR(Items(row, 0, nullptr, &items));
  return Gather(workers, &items, 1, items.count, ShapeOf(items.count), out);
}

absl::Status Component::Items(const Run& run, int64_t base, int64_t* ends, Run* items) const {
  const Binding& binding = bindings_[run.segment];
  const ColumnView& view = *binding.view;
  const int64_t first = view.Offset(run.begin);
  int64_t start = first, end = first;
  for (int64_t i = 0; i < run.count; ++i) {
    if (!CheckedRange(view, run.begin + i, &start, &end)) return OffsetsError(binding, view, run.begin + i);
    if (ends != nullptr) ends[i] = base + end - first;
  }
  *items = {run.segment, first, end - first};
  const ColumnView& values = *binding.items;
  if (values.validity == nullptr) return absl::OkStatus();
  const int64_t begin = first + values.offset, stop = end + values.offset;
  const int64_t null = FindBit(values.validity, begin, stop, false);
  if (null == stop) return absl::OkStatus();
  int64_t row = run.begin;  // whose list holds that item
  while (view.Offset(row + 1) <= null - values.offset) ++row;
  return NullError(binding, row, " holds a null in its list ");
}

absl::Status Component::Gather(const Workers& workers, const Run* runs, size_t count, int64_t values,
                               const TensorShape& shape, Tensor* out) const {
  if (format_.form == Form::kFixed) {
    const int64_t bytes = values * format_.width;
    if (count == 1 && bytes >= kSmallestView) {
      const Binding& binding = bindings_[runs[0].segment];
      const uint8_t* data = binding.values().Value(runs[0].begin);
      if (binding.mapped && IsAligned(data)) {
        *out = ViewOf(binding.segment->mapping(), data, static_cast<size_t>(bytes), format_.dtype, shape);
        return absl::OkStatus();
      }
    }
    TF_RETURN_IF_ERROR(Allocate(workers, format_.dtype, shape, out));
    CopyFixed(workers, runs, count, bytes, static_cast<char*>(out->data()));
    return absl::OkStatus();
  }
  TF_RETURN_IF_ERROR(Allocate(workers, format_.dtype, shape, out));
  if (format_.form == Form::kBool) {
    bool* at = out->flat<bool>().data();
    for (const Run* run = runs; run < runs + count; ++run) {
      const ColumnView& view = bindings_[run->segment].values();
      for (int64_t i = 0; i < run->count; ++i) *at++ = view.Bit(run->begin + i);
    }
    return absl::OkStatus();
  }
  tstring* at = out->flat<tstring>().data();
  for (const Run* run = runs; run < runs + count; at += run->count, ++run)
    TF_RETURN_IF_ERROR(CopyStrings(*run, at));
  return absl::OkStatus();
}

void Component::CopyFixed(const Workers& workers, const Run* runs, size_t count, int64_t bytes, char* out) const {
  if (workers.threads < 2 || bytes < 2 * kPieceBytes) {
    for (const Run* run = runs; run < runs + count; ++run) {
      const size_t size = static_cast<size_t>(run->count * format_.width);
      if (size > 0) std::memcpy(out, bindings_[run->segment].values().Value(run->begin), size);
      out += size;
    }
    return;
  }
  // Cut where the output crosses a multiple of kPieceBytes; starts[i] is the first output byte of run i.
  std::vector<int64_t> starts(count + 1, 0);
  for (size_t i = 0; i < count; ++i) starts[i + 1] = starts[i] + runs[i].count * format_.width;
  ParallelFor(workers, (bytes + kPieceBytes - 1) / kPieceBytes, [&](int64_t piece) {
    int64_t at = piece * kPieceBytes;
    const int64_t stop = std::min(bytes, at + kPieceBytes);
    size_t i = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), at) - starts.begin()) - 1;
    for (; at < stop; ++i) {
      const int64_t size = std::min(stop, starts[i + 1]) - at;
      const uint8_t* data = bindings_[runs[i].segment].values().Value(runs[i].begin) + (at - starts[i]);
      if (size > 0) std::memcpy(out + at, data, static_cast<size_t>(size));
      at += size;
    }
  });
}

absl::Status Component::CopyStrings(const Run& run, tstring* out) const {
  const Binding& binding = bindings_[run.segment];
  const ColumnView& view = binding.values();
  for (int64_t row = run.begin; row < run.begin + run.count; ++row, ++out) {
    switch (format_.form) {
      case Form::kUuid:
        out->assign(reinterpret_cast<const char*>(view.Value(row)), 16);
        break;
      case Form::kDecimal: {
        char text[kDecimalChars];
        out->assign(text, FormatDecimal(view.Value(row), scale_, text));
        break;
      }
      default: {
        int64_t start, end;
        if (!CheckedRange(view, row, &start, &end)) return OffsetsError(binding, view, row);
        const char* data = reinterpret_cast<const char*>(view.data + start);
        const size_t size = static_cast<size_t>(end - start);
        // What fits into the tstring itself is cheaper to copy than to share.
        if (size <= TF_TString_SmallCapacity || !binding.mapped)
          out->assign(data, size);
        else
          out->assign_as_shared_view(data, size, binding.owner.get());
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow
