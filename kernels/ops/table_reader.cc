#include "ops/table_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ops/python.h"
#include "ops/status.h"
#include "tsl/profiler/lib/traceme.h"

namespace gridflow {
namespace ops {
namespace {

// A batch of so many runs is worth a second thread.
constexpr size_t kManyRuns = 16384;
// How often a selection is asked for where grids are opened and closed all the time.
constexpr int kTries = 20;

// What the graph promises about a component must be what the table holds.
absl::Status CheckComponent(const Component& component, const ReaderOptions& options, size_t index) {
  const tensorflow::PartialTensorShape shape = component.shape(options.stages.batched);
  const tensorflow::DataType dtype = component.dtype(options.stages.batched);
  if (options.dtypes[index] == dtype && options.shapes[index].IsCompatibleWith(shape)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("column ", component.name(), " of table ", options.table, " is now ",
                   tensorflow::DataTypeString(dtype), shape.DebugString(), " and was ",
                   tensorflow::DataTypeString(options.dtypes[index]), options.shapes[index].DebugString(),
                   ": make the dataset again"));
}

}  // namespace

absl::Status TableReader::OpenSnapshot(const ReaderOptions& options, uint64_t version, KeptSnapshot* kept,
                                       std::shared_ptr<const TableSnapshot>* out) {
  const Status status = kept->Open(version, out);
  if (status.code == Code::kGone)
    return absl::FailedPreconditionError(absl::StrCat("version ", version, " of table ", options.table,
                                                      " is gone: a tag, or keep_versions, keeps one (", status.message,
                                                      ")"));
  if (status.code == Code::kNotFound)
    return absl::NotFoundError(absl::StrCat("no table ", options.table, " in the grid ", options.directory,
                                            ": it was dropped after the dataset was made, or the grid is gone (",
                                            status.message, ")"));
  return ToTf(status);
}

absl::Status TableReader::Open(const ReaderOptions& options, uint64_t version, KeptSnapshot* kept,
                               const TableSnapshot* since, std::shared_ptr<const TableReader>* out) {
  std::shared_ptr<TableReader> reader(new TableReader);
  reader->batched_ = options.stages.batched;
  absl::Status selected;
  int tries = 0;
  do {
    TF_RETURN_IF_ERROR(OpenSnapshot(options, version, kept, &reader->snapshot_));
    TF_RETURN_IF_ERROR(ToTf(kept->Plan(reader->snapshot_, options.partitions, &reader->plan_)));
    if (!options.selection.empty())
      selected = SelectRows(options.directory, options.table, reader->snapshot_, options.selection, &reader->plan_,
                            &reader->selection_);
  } while (absl::IsAborted(selected) && ++tries < kTries);
  TF_RETURN_IF_ERROR(selected);
  if (since != nullptr) TF_RETURN_IF_ERROR(reader->KeepNewRows(*since));
  int64_t rows = 1, bytes = 1;
  for (const SegmentRef& ref : reader->snapshot_->segments()) {
    rows += ref.segment->rows();
    bytes += static_cast<int64_t>(ref.segment->bytes());
    reader->in_memory_ = reader->in_memory_ && ref.segment->mapping()->in_memory();
  }
  reader->row_bytes_ = bytes / rows + 1;
  reader->components_.resize(options.columns.size());
  for (size_t i = 0; i < options.columns.size(); ++i) {
    TF_RETURN_IF_ERROR(Component::Make(options.columns[i], options.table, *reader->snapshot_, options.counters,
                                       options.gpu, &reader->components_[i]));
    TF_RETURN_IF_ERROR(CheckComponent(*reader->components_[i], options, i));
  }
  bytes = 0;
  for (const auto& component : reader->components_) bytes += component->bytes();
  reader->read_bytes_ = bytes / rows + 1;
  *out = std::move(reader);
  return absl::OkStatus();
}

bool TableReader::partial() const {
  const std::vector<SegmentRef>& segments = snapshot_->segments();
  return std::any_of(segments.begin(), segments.end(), [](const SegmentRef& ref) { return ref.segment->partial(); });
}

void TableReader::AskFor(const std::vector<Run>& runs) const {
  for (const auto& component : components_) component->AskFor(runs);
}

absl::Status TableReader::KeepNewRows(const TableSnapshot& since) {
  if (selection_ != nullptr) return absl::InvalidArgumentError("rows that are ordered or drawn by SQL cannot be followed");
  std::vector<RowRange> rows;
  TF_RETURN_IF_ERROR(ToTf(NewRows(since, *snapshot_, &rows)));
  return ToTf(plan_->Among(rows, &plan_));
}

bool TableReader::gains_from_read_ahead() const {
  constexpr int64_t kLargeRow = 4096;  // bytes: to ask for less costs as much as to read it, where it is there
  return (!in_memory_ && row_bytes_ >= kLargeRow) || !checked();
}

bool TableReader::checked() const {
  return std::all_of(components_.begin(), components_.end(), [](const auto& component) { return component->checked(); });
}

void TableReader::ReadAhead(const std::vector<Run>& runs) const {
  if (!in_memory_)
    for (const auto& component : components_) component->WillNeed(runs);
  for (const auto& component : components_) component->ReadAhead(runs);
}

absl::Status TableReader::Read(const Workers& workers, Rows* rows, int64_t count,
                               std::vector<tensorflow::Tensor>* out) const {
  out->resize(components_.size());
  const tsl::profiler::TraceMe trace([&] {
    return absl::StrCat("Gridflow::Read#rows=", count, ",runs=", rows->listed ? count : rows->runs.size(),
                        ",tensors=", components_.size(), "#");
  });
  if (!batched_) {
    const Run run = rows->AsRuns().front();
    for (size_t i = 0; i < components_.size(); ++i) TF_RETURN_IF_ERROR(components_[i]->Row(workers, run, &(*out)[i]));
    return absl::OkStatus();
  }
  std::vector<bool> listed(components_.size(), rows->listed);
  bool need_runs = !rows->listed;
  for (size_t i = 0; i < components_.size(); ++i) {
    listed[i] = listed[i] && components_[i]->reads_lists();
    need_runs = need_runs || !listed[i];
  }
  if (need_runs) (void)rows->AsRuns();
  std::vector<absl::Status> statuses(components_.size());
  const auto read = [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    statuses[i] = listed[i] ? components_[i]->List(workers, rows->list, &(*out)[i])
                            : components_[i]->Batch(workers, rows->runs, count, &(*out)[i]);
  };
  // Few runs are views, or copies that share their work among threads themselves.
  if (static_cast<size_t>(rows->listed ? count : 0) + rows->runs.size() >= kManyRuns && workers.threads > 1) {
    ParallelFor(workers, static_cast<int64_t>(components_.size()), read);
  } else {
    for (size_t i = 0; i < components_.size(); ++i) {
      read(static_cast<int64_t>(i));
      if (!statuses[i].ok()) break;
    }
  }
  for (const absl::Status& status : statuses) TF_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow
