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
    auto plan = std::make_shared<RowPlan>();
    TF_RETURN_IF_ERROR(ToTf(RowPlan::Make(*reader->snapshot_, options.partitions, plan.get())));
    reader->plan_ = std::move(plan);
    if (!options.selection.empty())
      selected = SelectRows(options.directory, options.table, reader->snapshot_, reader->plan_, options.selection,
                            &reader->selection_);
  } while (absl::IsAborted(selected) && ++tries < kTries);
  TF_RETURN_IF_ERROR(selected);
  if (since != nullptr) TF_RETURN_IF_ERROR(reader->KeepNewRows(*since));
  int64_t rows = 1, bytes = 1;
  for (const SegmentRef& ref : reader->snapshot_->segments()) {
    rows += ref.segment->rows();
    bytes += static_cast<int64_t>(ref.segment->bytes());
  }
  reader->row_bytes_ = bytes / rows + 1;
  reader->components_.resize(options.columns.size());
  for (size_t i = 0; i < options.columns.size(); ++i) {
    TF_RETURN_IF_ERROR(Component::Make(options.columns[i], options.table, *reader->snapshot_, options.counters,
                                       options.gpu, &reader->components_[i]));
    TF_RETURN_IF_ERROR(CheckComponent(*reader->components_[i], options, i));
    reader->numbers_ = reader->numbers_ || reader->components_[i]->is_number();
  }
  *out = std::move(reader);
  return absl::OkStatus();
}

absl::Status TableReader::KeepNewRows(const TableSnapshot& since) {
  std::vector<RowRange> rows;
  TF_RETURN_IF_ERROR(ToTf(NewRows(since, *snapshot_, &rows)));
  if (selection_ == nullptr) {
    plan_ = std::make_shared<RowPlan>(plan_->Among(*snapshot_, rows));
    return absl::OkStatus();
  }
  auto selected = std::make_shared<Selection>();
  for (const int64_t ordinal : selection_->ordinals) {
    std::vector<Run> run;
    plan_->Find({ordinal}, &run);
    const auto after = std::upper_bound(rows.begin(), rows.end(), run[0], [](const Run& at, const RowRange& range) {
      return std::make_pair(at.segment, at.begin) < std::make_pair(range.segment, range.begin);
    });
    if (after == rows.begin()) continue;
    const RowRange& range = *(after - 1);
    if (range.segment == run[0].segment && run[0].begin < range.end) selected->ordinals.push_back(ordinal);
  }
  selected->most = plan_->rows() - 1;
  selection_ = std::move(selected);
  return absl::OkStatus();
}

bool TableReader::checked() const {
  const std::vector<SegmentRef>& segments = snapshot_->segments();
  return std::all_of(segments.begin(), segments.end(), [](const SegmentRef& ref) { return ref.segment->checked(); });
}

void TableReader::ReadAhead(const std::vector<Run>& runs) const {
  for (const auto& component : components_) component->ReadAhead(runs);
}

absl::Status TableReader::Read(const Workers& workers, const std::vector<Run>& runs, int64_t rows,
                               std::vector<tensorflow::Tensor>* out) const {
  out->resize(components_.size());
  const tsl::profiler::TraceMe trace([&] {
    return absl::StrCat("Gridflow::Read#rows=", rows, ",runs=", runs.size(), ",tensors=", components_.size(), "#");
  });
  if (!batched_) {
    for (size_t i = 0; i < components_.size(); ++i)
      TF_RETURN_IF_ERROR(components_[i]->Row(workers, runs.front(), &(*out)[i]));
    return absl::OkStatus();
  }
  RowList list;
  const RowList* listed = numbers_ && list.Set(runs, rows) ? &list : nullptr;
  std::vector<absl::Status> statuses(components_.size());
  const auto read = [&](int64_t i) {
    statuses[static_cast<size_t>(i)] =
        components_[static_cast<size_t>(i)]->Batch(workers, runs, listed, rows, &(*out)[static_cast<size_t>(i)]);
  };
  // Few runs are views, or copies that share their work among threads themselves.
  if (runs.size() >= kManyRuns && workers.threads > 1) {
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
