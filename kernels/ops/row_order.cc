#include "ops/row_order.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace gridflow {
namespace ops {
Slice Slice::Of(const Stage& stage) const {
  switch (stage.kind) {
    case kSkip: {
      const int64_t skipped = stage.a < 0 ? size : std::min(stage.a, size);
      return {start + skipped * stride, stride, size - skipped};
    }
    case kTake:
      return {start, stride, stage.a < 0 ? size : std::min(stage.a, size)};
    default:  // kShard
      if (stage.b >= size) return {start, 1, 0};
      if (size - stage.b <= stage.a) return {start + stage.b * stride, 1, 1};  // a stride could overflow, and is not used
      return {start + stage.b * stride, stride * stage.a, (size - stage.b - 1) / stage.a + 1};
  }
}

absl::Status Stages::Parse(const std::vector<int64_t>& numbers, Stages* out) {
  *out = Stages();
  if (numbers.size() % 3 != 0) return absl::InvalidArgumentError("stages must come in threes");
  bool repeated = false;
  for (size_t i = 0; i < numbers.size(); i += 3) {
    const Stage stage = {static_cast<StageKind>(numbers[i]), numbers[i + 1], numbers[i + 2]};
    const bool sound = (stage.kind == kSkip || stage.kind == kTake || stage.kind == kRepeat) ||
                       (stage.kind == kShard && stage.a > 0 && stage.b >= 0 && stage.b < stage.a) ||
                       (stage.kind == kShuffle && stage.a != 0 && !out->batched && out->Find(kShuffle) == nullptr) ||
                       (stage.kind == kSample && i == 0) ||
                       (stage.kind == kFill && stage.a >= 0 && !out->batched &&
                        (out->Find(kShuffle) == nullptr || out->Find(kShuffle)->a < 0)) ||
                       (stage.kind == kBatch && stage.a > 0 && !out->batched);
    if (!sound || (repeated && (stage.kind != kBatch || !out->repeats_rows)))
      return absl::InvalidArgumentError(
          absl::StrCat("stage ", stage.kind, " (", stage.a, ", ", stage.b, ") cannot stand at place ", i / 3));
    if (stage.kind == kRepeat) {
      repeated = true;
      out->repeats_rows = !out->batched;
      out->epochs = stage.a;
    } else if (stage.kind == kBatch) {
      out->batched = true;
      out->batch_size = stage.a;
      out->drop_remainder = stage.b != 0;
    } else {
      (out->batched ? out->elements : out->rows).push_back(stage);
    }
  }
  return absl::OkStatus();
}

const Stage* Stages::Find(StageKind kind) const {
  for (const Stage& stage : rows)
    if (stage.kind == kind) return &stage;
  return nullptr;
}

std::vector<AliasSlot> MakeSlots(const double* weights, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += weights[i];
  std::vector<AliasSlot> slots(static_cast<size_t>(count));
  std::vector<int64_t> small, large;  // rows whose slot is not full yet, and rows with more than a slot
  for (int64_t i = 0; i < count; ++i) {
    slots[static_cast<size_t>(i)] = {weights[i] / sum * static_cast<double>(count), i};
    (slots[static_cast<size_t>(i)].own < 1 ? small : large).push_back(i);
  }
  while (!small.empty() && !large.empty()) {
    AliasSlot& slot = slots[static_cast<size_t>(small.back())];
    AliasSlot& giver = slots[static_cast<size_t>(large.back())];
    small.pop_back();
    slot.other = large.back();
    giver.own -= 1 - slot.own;
    if (giver.own < 1) {
      small.push_back(large.back());
      large.pop_back();
    }
  }
  // What is left is full but for rounding. A row without weight must not be drawn even so.
  for (int64_t i : large) slots[static_cast<size_t>(i)].own = 1;
  const int64_t heaviest = std::max_element(weights, weights + count) - weights;
  for (int64_t i : small) slots[static_cast<size_t>(i)] = {weights[i] > 0 ? 1.0 : 0.0, heaviest};
  return slots;
}

RowOrder::RowOrder(const std::vector<Stage>& stages, int64_t rows, std::shared_ptr<const Selection> selection,
                   uint64_t seed)
    : selection_(std::move(selection)), seed_(seed) {
  size_ = selection_ == nullptr ? rows : static_cast<int64_t>(selection_->ordinals.size());
  contiguous_ = selection_ == nullptr;
  Slice slice = {0, 1, size_};
  for (const Stage& stage : stages) {
    if (stage.kind == kSample) {
      sampled_ = true;
      if (stage.a >= 0 && size_ > 0) size_ = stage.a;
      slice.size = size_;
    } else if (stage.kind == kFill && stage.a > size_ && size_ > 0) {
      AddSlice(slice);
      steps_.insert(steps_.begin(), Step{0, 1, nullptr, size_});
      size_ = stage.a;
      slice = {0, 1, size_};
      contiguous_ = false;
    } else if (stage.kind == kFill) {
      slice = slice.Of({kTake, stage.a, 0});
      size_ = slice.size;
    } else if (stage.kind != kShuffle) {
      slice = slice.Of(stage);
      size_ = slice.size;
    } else if (stage.a != 1) {  // a buffer of one row changes nothing
      AddSlice(slice);
      slice = {0, 1, size_};
      inner_size_ = size_;
      contiguous_ = false;
      if (stage.a < 0 || stage.a >= size_)
        steps_.insert(steps_.begin(), Step{0, 1, std::make_shared<Permutation>(size_, seed), 0});
      else
        window_ = stage.a;
    }
  }
  if (window_ > 0) {
    start_ = slice.start;
    stride_ = slice.stride;
  } else {
    AddSlice(slice);
    inner_size_ = size_;
  }
}

void RowOrder::AddSlice(const Slice& slice) {
  if (slice.start != 0 || slice.stride != 1) steps_.insert(steps_.begin(), Step{slice.start, slice.stride, nullptr, 0});
  contiguous_ = contiguous_ && slice.stride == 1;
}

int64_t RowOrder::At(int64_t i) const {
  for (const Step& step : steps_) {
    if (step.period > 0) i %= step.period;
    i = step.permutation != nullptr ? static_cast<int64_t>((*step.permutation)(static_cast<uint64_t>(i)))
                                    : step.start + i * step.stride;
  }
  if (selection_ == nullptr) return i;
  if (sampled_) {
    const uint64_t random = RandomAt(seed_, static_cast<uint64_t>(i));
    const auto slot = static_cast<int64_t>(Below(selection_->slots.size(), random));
    const AliasSlot& drawn = selection_->slots[static_cast<size_t>(slot)];
    i = static_cast<double>(Mix64(random) >> 11) * 0x1p-53 < drawn.own ? slot : drawn.other;
  }
  return selection_->ordinals[static_cast<size_t>(i)];
}

void RowOrder::Cursor::MoveTo(int64_t place) { place_ = std::clamp<int64_t>(place, 0, order_->size()); }

int64_t RowOrder::Cursor::Draw() {
  while (static_cast<int64_t>(buffer_.size()) < std::min(order_->window_, order_->inner_size_) &&
         read_ < order_->inner_size_)
    buffer_.push_back(order_->At(read_++));
  const size_t slot = Below(buffer_.size(), RandomAt(~order_->seed_, static_cast<uint64_t>(drawn_++)));
  const int64_t ordinal = buffer_[slot];
  if (read_ < order_->inner_size_) {
    buffer_[slot] = order_->At(read_++);
  } else {
    buffer_[slot] = buffer_.back();
    buffer_.pop_back();
  }
  return ordinal;
}

int64_t RowOrder::Cursor::Take(int64_t count, std::vector<int64_t>* ordinals) {
  const int64_t stop = place_ + std::min(count, order_->size() - place_);
  const int64_t taken = stop - place_;
  for (; place_ < stop; ++place_) {
    if (order_->random_access()) {
      ordinals->push_back(order_->At(place_));
      continue;
    }
    for (const int64_t at = order_->start_ + place_ * order_->stride_; drawn_ < at;) Draw();
    ordinals->push_back(Draw());
  }
  return taken;
}

}  // namespace ops
}  // namespace gridflow
