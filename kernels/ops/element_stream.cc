#include "ops/element_stream.h"

#include <algorithm>
#include <utility>

#include "ops/python.h"
#include "ops/status.h"
#include "tensorflow/core/framework/tensor_util.h"

namespace gridflow {
namespace ops {

using tensorflow::Tensor;

Pass::Pass(std::shared_ptr<const TableReader> reader, const Stages& stages, uint64_t seed)
    : reader_(std::move(reader)),
      stages_(stages),
      order_(stages.rows, reader_->rows(), reader_->selection(), seed),
      cursor_(&order_) {
  const int64_t batch = stages.batch_size;
  slice_.size = order_.size() / batch + (order_.size() % batch != 0 && !stages.drop_remainder ? 1 : 0);
  for (const Stage& stage : stages.elements) slice_ = slice_.Of(stage);
  if (!stages.repeats_rows) cursor_.MoveTo(PlaceOf(0));
}

int64_t Pass::element() const {
  // A last element that is not full ends before the place where the next one would begin.
  const int64_t batches = place() == 0 ? 0 : (place() - 1) / stages_.batch_size + 1;
  return std::clamp<int64_t>((batches - slice_.start + slice_.stride - 1) / slice_.stride, 0, elements());
}

void Pass::MoveToElement(int64_t element) {
  cursor_.MoveTo(element < elements() ? PlaceOf(element) : order_.size());
}

absl::Status Pass::TakeInOrder(int64_t count, RowPlan::Cursor* cursor, Rows* rows, int64_t* taken) const {
  const RowPlan& plan = reader_->plan();
  TF_RETURN_IF_ERROR(ToTf(plan.HasShortRuns(*cursor, &rows->listed)));
  if (!rows->listed) return ToTf(plan.Take(count, cursor, &rows->runs, taken));
  TF_RETURN_IF_ERROR(ToTf(plan.Take(count, cursor, &rows->list)));
  *taken = rows->list.size();
  return absl::OkStatus();
}

absl::Status Pass::Take(const Workers& workers, int64_t count, Rows* rows, int64_t* taken) {
  rows->Clear();
  *taken = 0;
  const int64_t begin = place();
  const int64_t next = element() + 1;
  if (!stages_.repeats_rows && next > elements()) return absl::OkStatus();
  const auto window = [this](int64_t from, int64_t to, std::vector<Run>* runs) { return Ahead(from, to, runs); };
  read_ahead_.Follow(workers, reader_, begin, count, order_.size(), window);
  if (order_.contiguous()) {
    const int64_t ordinal = order_.first() + begin;
    if (in_plan_.ordinal != ordinal) in_plan_ = reader_->plan().Seek(ordinal);
    // Past them in any case: who goes on after an error, as ignore_errors() does, must not find it again.
    cursor_.MoveTo(begin + std::min(count, order_.size() - begin));
    const absl::Status status = TakeInOrder(place() - begin, &in_plan_, rows, taken);
    if (!status.ok()) in_plan_ = RowPlan::Cursor();
    TF_RETURN_IF_ERROR(status);
  } else {
    ordinals_.clear();
    *taken = cursor_.Take(count, &ordinals_);
    TF_RETURN_IF_ERROR(ToTf(reader_->plan().Find(ordinals_.data(), ordinals_.size(), &rows->list)));
    rows->listed = true;
  }
  if (!stages_.repeats_rows && (slice_.stride != 1 || next == elements())) MoveToElement(next);
  return absl::OkStatus();
}

Status Pass::Ahead(int64_t begin, int64_t end, std::vector<Run>* runs) {
  if (order_.contiguous()) {
    RowPlan::Cursor cursor = reader_->plan().Seek(order_.first() + begin);
    int64_t taken;
    return reader_->plan().Take(end - begin, &cursor, runs, &taken);
  }
  if (ahead_ == nullptr || ahead_->place() > begin) ahead_ = std::make_unique<RowOrder::Cursor>(&order_);
  ahead_->MoveTo(begin);
  std::vector<int64_t> ordinals;
  ahead_->Take(end - begin, &ordinals);
  RowList list;
  GF_RETURN_IF_ERROR(reader_->plan().Find(ordinals.data(), ordinals.size(), &list));
  list.AppendTo(runs);
  return Status::Ok();
}

absl::Status Pass::Find(int64_t element, Rows* rows, int64_t* count) const {
  rows->Clear();
  const int64_t begin = PlaceOf(element);
  *count = std::min(stages_.batch_size, order_.size() - begin);
  if (order_.contiguous()) {
    RowPlan::Cursor cursor = reader_->plan().Seek(order_.first() + begin);
    return TakeInOrder(*count, &cursor, rows, count);
  }
  std::vector<int64_t> ordinals;
  for (int64_t i = begin; i < begin + *count; ++i) ordinals.push_back(order_.At(i));
  rows->listed = true;
  return ToTf(reader_->plan().Find(ordinals.data(), ordinals.size(), &rows->list));
}

absl::Status ElementStream::Begin(int64_t epoch, uint64_t version, std::shared_ptr<const TableSnapshot> since) {
  std::shared_ptr<const TableReader> reader;
  TF_RETURN_IF_ERROR(TableReader::Open(options_, version, kept_, since.get(), &reader));
  epoch_ = epoch;
  since_ = std::move(since);
  pass_ = std::make_unique<Pass>(std::move(reader), options_.stages,
                                 RandomAt(seed_, options_.stages.vary() ? static_cast<uint64_t>(epoch) : 0));
  empty_ = true;
  return absl::OkStatus();
}

absl::Status Join(std::vector<std::vector<Tensor>> parts, std::vector<Tensor>* out) {
  if (parts.size() == 1) {
    *out = std::move(parts[0]);
    return absl::OkStatus();
  }
  for (size_t i = 0; i < parts[0].size(); ++i) {
    std::vector<Tensor> pieces;
    for (const std::vector<Tensor>& part : parts) pieces.push_back(part[i]);
    out->emplace_back();
    TF_RETURN_IF_ERROR(tensorflow::tensor::Concat(pieces, &out->back()));
  }
  return absl::OkStatus();
}

absl::Status ElementStream::Start() {
  if (options_.follow_ms != 0) TF_RETURN_IF_ERROR(news_.Look());
  TF_RETURN_IF_ERROR(RefreshTable(options_.directory, options_.table));
  seed_ = instance_->epochs->seed.load();
  return Begin(instance_->epochs->next.fetch_add(1), options_.version);
}

ElementStream::State ElementStream::Here() const {
  const uint64_t since = since_ == nullptr ? TableSnapshot::kCurrent : since_->manifest().version;
  return {pass_->reader().version(), since, seed_, epoch_, round_, pass_->place()};
}

absl::Status ElementStream::Restore(const State& state) {
  std::shared_ptr<const TableReader> since;
  if (state.since != TableSnapshot::kCurrent)
    TF_RETURN_IF_ERROR(TableReader::Open(options_, state.since, kept_, nullptr, &since));
  seed_ = state.seed;
  TF_RETURN_IF_ERROR(Begin(state.epoch, state.version, since == nullptr ? nullptr : since->snapshot()));
  round_ = state.round;
  // Who reads this dataset next goes on from here, too.
  instance_->epochs->seed.store(state.seed);
  instance_->epochs->next.store(state.epoch + 1);
  pass_->MoveTo(state.place);
  empty_ = false;
  return absl::OkStatus();
}

absl::Status ElementStream::NextPass(bool* end, bool* wait) {
  if (options_.follow_ms != 0) return Follow(end, wait);
  // A table without rows gives nothing, however often it is read.
  *end = IsLast() || (empty_ && options_.stages.epochs < 0);
  if (*end) return absl::OkStatus();
  TF_RETURN_IF_ERROR(RefreshTable(options_.directory, options_.table));
  TF_RETURN_IF_ERROR(Begin(instance_->epochs->next.load(), options_.version));
  instance_->epochs->next.fetch_add(1);
  ++round_;  // only now: who goes on after an error is not to lose a pass
  return absl::OkStatus();
}

absl::Status ElementStream::Follow(bool* end, bool* wait) {
  *end = finished_ || instance_->stopped.load();
  if (*end) return absl::OkStatus();
  TF_RETURN_IF_ERROR(news_.Look());
  TF_RETURN_IF_ERROR(RefreshTable(options_.directory, options_.table));
  const std::shared_ptr<const TableSnapshot> read = pass_->reader().snapshot();
  TF_RETURN_IF_ERROR(Begin(epoch_, TableSnapshot::kCurrent, read));
  *wait = pass_->rows() == 0;
  if (*wait) news_.Begin();
  return absl::OkStatus();
}

absl::Status ElementStream::Next(const Workers& workers, std::vector<Tensor>* out, bool* end, bool* wait) {
  const Stages& stages = options_.stages;
  *wait = false;
  *end = stages.epochs == 0;
  if (*end) return absl::OkStatus();
  if (parts_.empty()) missing_ = stages.batch_size;
  while (missing_ > 0) {
    const State before = Here();
    int64_t rows;
    TF_RETURN_IF_ERROR(pass_->Take(workers, missing_, &rows_, &rows));
    missing_ -= rows;
    if (rows > 0) {
      empty_ = false;
      news_.End();
      if (parts_.empty() && (missing_ == 0 || !stages.repeats_rows)) return pass_->reader().Read(workers, &rows_, rows, out);
      if (parts_.empty()) before_parts_ = before;
      std::vector<Tensor> part;
      const absl::Status status = pass_->reader().Read(workers, &rows_, rows, &part);
      if (!status.ok()) {  // all of this batch is lost with its bad row; the next one begins behind it
        parts_.clear();
        return status;
      }
      parts_.push_back(std::move(part));
    }
    if (missing_ == 0) break;
    TF_RETURN_IF_ERROR(NextPass(end, wait));
    if (*wait) return absl::OkStatus();
    if (*end) break;
  }
  std::vector<std::vector<Tensor>> parts = std::move(parts_);
  parts_.clear();
  *end = parts.empty() || (missing_ > 0 && stages.drop_remainder);
  return *end ? absl::OkStatus() : Join(std::move(parts), out);
}

int64_t ElementStream::Skip(int64_t count) {
  const int64_t from = pass_->element();
  pass_->MoveToElement(from + std::min(count, pass_->elements() - from));
  return pass_->element() - from;
}

}  // namespace ops
}  // namespace gridflow
