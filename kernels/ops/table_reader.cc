#include "ops/table_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ops/status.h"

namespace gridflow {
namespace ops {
namespace {

absl::Status OpenSnapshot(const ReaderOptions& options, KeptSnapshot* kept,
                          std::shared_ptr<const TableSnapshot>* out) {
  const Status status = kept->Open(out);
  if (status.code == Code::kNotFound)
    return absl::NotFoundError(absl::StrCat("no table ", options.table, " in the grid ", options.directory,
                                            ": it was dropped after the dataset was made, or the grid is gone (",
                                            status.message, ")"));
  return ToTf(status);
}

// What the graph promises about a component must be what the table holds.
absl::Status CheckComponent(const Component& component, const ReaderOptions& options, size_t index) {
  const tensorflow::PartialTensorShape shape = component.shape(options.batch_size > 0);
  const tensorflow::DataType dtype = component.dtype(options.batch_size > 0);
  if (options.dtypes[index] == dtype && options.shapes[index].IsCompatibleWith(shape)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("column ", component.name(), " of table ", options.table, " is now ",
                   tensorflow::DataTypeString(dtype), shape.DebugString(), " and was ",
                   tensorflow::DataTypeString(options.dtypes[index]), options.shapes[index].DebugString(),
                   ": make the dataset again"));
}

}  // namespace

absl::Status TableReader::Open(const ReaderOptions& options, KeptSnapshot* kept,
                               std::shared_ptr<const TableReader>* out) {
  std::shared_ptr<TableReader> reader(new TableReader);
  reader->options_ = options;
  TF_RETURN_IF_ERROR(OpenSnapshot(options, kept, &reader->snapshot_));
  TF_RETURN_IF_ERROR(ToTf(RowPlan::Make(*reader->snapshot_, options.partitions, &reader->plan_)));
  reader->components_.resize(options.columns.size());
  for (size_t i = 0; i < options.columns.size(); ++i) {
    TF_RETURN_IF_ERROR(Component::Make(options.columns[i], options.table, *reader->snapshot_, options.counters,
                                       &reader->components_[i]));
    TF_RETURN_IF_ERROR(CheckComponent(*reader->components_[i], options, i));
  }
  *out = std::move(reader);
  return absl::OkStatus();
}

absl::Status TableReader::Count(const ReaderOptions& options, KeptSnapshot* kept, int64_t* out) {
  std::shared_ptr<const TableSnapshot> snapshot;
  TF_RETURN_IF_ERROR(OpenSnapshot(options, kept, &snapshot));
  RowPlan plan;
  TF_RETURN_IF_ERROR(ToTf(RowPlan::Make(*snapshot, options.partitions, &plan)));
  *out = ElementsOf(options, plan.rows());
  return absl::OkStatus();
}

int64_t TableReader::ElementsOf(const ReaderOptions& options, int64_t rows) {
  const int64_t size = std::max<int64_t>(1, options.batch_size);
  return rows / size + (rows % size != 0 && !options.drop_remainder ? 1 : 0);
}

TableReader::Cursor TableReader::Seek(int64_t element) const {
  if (element >= elements()) return plan_.Seek(plan_.rows());
  return plan_.Seek(element * std::max<int64_t>(1, options_.batch_size));
}

int64_t TableReader::ElementAt(const Cursor& cursor) const {
  const int64_t size = std::max<int64_t>(1, options_.batch_size);
  return std::min(elements(), cursor.ordinal / size + (cursor.ordinal % size != 0 ? 1 : 0));
}

absl::Status TableReader::Read(const Workers& workers, Cursor* cursor, std::vector<Run>* runs,
                               std::vector<tensorflow::Tensor>* out, bool* end) const {
  runs->clear();
  const int64_t wanted = std::max<int64_t>(1, options_.batch_size);
  const int64_t rows = plan_.Take(wanted, cursor, runs);
  *end = rows == 0 || (rows < wanted && options_.drop_remainder);
  if (*end) return absl::OkStatus();
  out->reserve(components_.size());
  for (const auto& component : components_) {
    out->emplace_back();
    TF_RETURN_IF_ERROR(options_.batch_size > 0 ? component->Batch(workers, *runs, rows, &out->back())
                                               : component->Row(workers, runs->front(), &out->back()));
  }
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow
