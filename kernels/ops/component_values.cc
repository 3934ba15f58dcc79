// A Component's values: views where they can be, else copies.

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/bits.h"
#include "ops/buffer.h"
#include "ops/component.h"
#include "ops/decimal.h"
#include "ops/pinning.h"

namespace gridflow {
namespace ops {

using tensorflow::AllocatorMemoryType;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

namespace {

// A view costs about as much as copying this many bytes, and keeps a whole file in memory.
constexpr int64_t kSmallestView = 64;

}  // namespace

absl::Status AllocateTensor(const Workers& workers, tensorflow::DataType dtype, const TensorShape& shape, Tensor* out) {
  *out = Tensor(workers.allocator, dtype, shape);
  if (out->IsInitialized()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("no memory for a tensor of ", tensorflow::DataTypeString(dtype), shape.DebugString()));
}

absl::Status Component::Values(const Workers& workers, Runs runs, const Places& nulls, int64_t values,
                               const TensorShape& shape, Tensor* out) const {
  if (format_.form == Form::kFixed && runs.size() == 1 && nulls.empty() && values * format_.width >= kSmallestView) {
    const Binding& binding = bindings_[runs[0].segment];
    const uint8_t* data = values_[runs[0].segment]->Value(runs[0].begin);
    if (binding.mapped && IsAligned(data)) {
      const int64_t bytes = values * format_.width;
      const std::shared_ptr<const Mapping>& mapping = binding.segment->mapping();
      const bool pinned = gpu_ >= 0 && IsPinned(*mapping, gpu_);
      const auto memory = pinned ? AllocatorMemoryType::kHostPinned : AllocatorMemoryType::kHostPageable;
      Count(bytes, 0, pinned);
      *out = ViewOf(mapping, memory, data, static_cast<size_t>(bytes), format_.dtype, shape);
      return absl::OkStatus();
    }
  }
  TF_RETURN_IF_ERROR(AllocateTensor(workers, format_.dtype, shape, out));
  if (leaf_.nulls == Nulls::kRowValid || leaf_.nulls == Nulls::kItemValid) {
    bool* valid = out->flat<bool>().data();
    std::fill_n(valid, values, true);
    for (int64_t place : nulls) valid[place] = false;
    Count(0, values);
    return absl::OkStatus();
  }
  if (format_.form == Form::kFixed) {
    GatherFixed(workers, runs, bases_, format_.width, static_cast<char*>(out->data()));
    Count(0, values * format_.width);
  } else if (format_.form == Form::kBool) {
    CopyBools(runs, out->flat<bool>().data());
    Count(0, values);
  } else if (format_.form == Form::kString) {
    TF_RETURN_IF_ERROR(CopyStrings(runs, out->flat<tstring>().data()));
  } else {
    CopyTexts(runs, out->flat<tstring>().data());
  }
  Fill(nulls, out);
  return absl::OkStatus();
}

void Component::CopyBools(Runs runs, bool* out) const {
  for (const Run& run : runs) {
    if (const ColumnView* view = values_[run.segment]) {
      const int64_t begin = run.begin + view->offset;
      SpreadBits(view->data, begin, begin + run.count, reinterpret_cast<uint8_t*>(out));
    }
    out += run.count;
  }
}

absl::Status Component::CopyStrings(Runs runs, tstring* out) const {
  int64_t viewed = 0, copied = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i + kRunsAhead < runs.size()) {
      const Run& later = runs[i + kRunsAhead];
      if (const ColumnView* view = values_[later.segment])
        __builtin_prefetch(view->offsets + (later.begin + view->offset) * sizeof(int64_t));
    }
    const Run& run = runs[i];
    const ColumnView* view = values_[run.segment];
    if (view == nullptr) {
      out += run.count;
      continue;
    }
    const Binding& binding = bindings_[run.segment];
    for (int64_t row = run.begin; row < run.begin + run.count; ++row, ++out) {
      int64_t start, end;
      if (!CheckedRange(*view, row, &start, &end)) return OffsetsError(binding, *view, row);
      const char* data = reinterpret_cast<const char*>(view->data + start);
      const size_t size = static_cast<size_t>(end - start);
      // What fits into the tstring itself is cheaper to copy than to share.
      if (size <= TF_TString_SmallCapacity || !binding.mapped) {
        out->assign(data, size);
        copied += end - start;
      } else {
        out->assign_as_shared_view(data, size, binding.owner.get());
        viewed += end - start;
      }
    }
  }
  Count(viewed, copied);
  return absl::OkStatus();
}

void Component::CopyTexts(Runs runs, tstring* out) const {
  int64_t copied = 0;
  for (const Run& run : runs) {
    const ColumnView* view = values_[run.segment];
    for (int64_t row = run.begin; row < run.begin + run.count; ++row, ++out) {
      if (view == nullptr) continue;
      if (format_.form == Form::kUuid) {
        out->assign(reinterpret_cast<const char*>(view->Value(row)), static_cast<size_t>(format_.width));
      } else {
        char text[kDecimalChars];
        out->assign(text, FormatDecimal(view->Value(row), format_.scale, text));
      }
      copied += static_cast<int64_t>(out->size());
    }
  }
  Count(0, copied);
}

void Component::Fill(const Places& nulls, Tensor* out) const {
  if (nulls.empty()) return;
  if (format_.dtype == tensorflow::DT_STRING) {
    tstring* values = out->flat<tstring>().data();
    for (int64_t place : nulls) values[place].assign(fill_.data(), fill_.size());
    return;
  }
  char* bytes = static_cast<char*>(out->data());
  for (int64_t place : nulls) std::memcpy(bytes + place * fill_.size(), fill_.data(), fill_.size());
}

}  // namespace ops
}  // namespace gridflow
