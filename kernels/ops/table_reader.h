// TableReader: elements of one version of a table.
#ifndef GRIDFLOW_OPS_TABLE_READER_H_
#define GRIDFLOW_OPS_TABLE_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/row_plan.h"
#include "core/snapshot.h"
#include "ops/component.h"
#include "ops/gather.h"
#include "ops/kept_snapshot.h"
#include "ops/row_order.h"
#include "ops/workers.h"
#include "tensorflow/core/framework/tensor.h"

namespace gridflow {
namespace ops {

// What the op was asked for.
struct ReaderOptions {
  std::string directory;  // of the grid
  bool default_grid = false;  // whether that is only the default one of who made the dataset: see Environment
  int64_t table_id = 0;
  std::string table;                 // its name, for messages
  bool default_table = false;        // whether the environment may name another one
  uint64_t version = 0;              // a kept one; TableSnapshot::kCurrent
  std::vector<std::string> columns;  // as Leaf::Parse reads them, one for each component of an element
  std::vector<int64_t> partitions;   // pairs of begin and end; none for all
  bool default_partitions = false;   // whether the environment may name others
  std::string selection;             // which rows, in SQL: see SelectRows(); empty: all
  Stages stages;
  int64_t follow_ms = 0;  // not 0: go on with what is written later, until nothing comes for so long; negative: for ever
  int32_t gpu = -1;      // number of the GPU that tensors are for; negative: none
  Counters* counters = nullptr;  // counts what is read, unless it is null; must outlive the reader
  tensorflow::DataTypeVector dtypes;
  std::vector<tensorflow::PartialTensorShape> shapes;
};

// Holds one snapshot. Immutable; any thread may read it.
class TableReader {
 public:
  // `kept` is the one of the table, `version` a number or TableSnapshot::kCurrent. NotFound: there is no such table, or
  // no such column. FailedPrecondition: the version is not kept. InvalidArgument: columns and dtypes do not fit each
  // other, or the selection makes no sense.
  // `since`: only rows that are new or changed since an earlier version; null for all.
  static absl::Status Open(const ReaderOptions& options, uint64_t version, KeptSnapshot* kept,
                           const TableSnapshot* since, std::shared_ptr<const TableReader>* out);

  // The same for a version alone.
  static absl::Status OpenSnapshot(const ReaderOptions& options, uint64_t version, KeptSnapshot* kept,
                                   std::shared_ptr<const TableSnapshot>* out);

  const std::shared_ptr<const TableSnapshot>& snapshot() const { return snapshot_; }
  uint64_t version() const { return snapshot_->manifest().version; }
  int64_t rows() const { return plan_->rows(); }
  const RowPlan& plan() const { return *plan_; }
  // Which rows of the plan are read, and in which order; null: all, as they come.
  const std::shared_ptr<const Selection>& selection() const { return selection_; }
  // What a row takes in the files, about, in bytes.
  int64_t row_bytes() const { return row_bytes_; }
  // What is read of a row takes in the files, about, in bytes.
  int64_t read_bytes() const { return read_bytes_; }
  // Whether blocks may be missing that have to come from elsewhere: of segments in a mirror.
  bool partial() const;
  // Has those come that these rows lie in.
  void AskFor(const std::vector<Run>& runs) const;
  // Whether ReadAhead() has something to do: rows may have to come from storage, or to be checked.
  bool gains_from_read_ahead() const;
  // Has what these rows lie in read from storage, and checks it, as Read() would. What is wrong, Read() will say.
  void ReadAhead(const std::vector<Run>& runs) const;
  // Appends the components of an element of these rows to `out`, `count` of them.
  absl::Status Read(const Workers& workers, Rows* rows, int64_t count, std::vector<tensorflow::Tensor>* out) const;

 private:
  TableReader() = default;
  bool checked() const;
  // Takes out of the plan what is not new or changed since that version.
  absl::Status KeepNewRows(const TableSnapshot& since);

  bool batched_;
  int64_t row_bytes_ = 1, read_bytes_ = 1;
  bool in_memory_ = true;  // whether all files are
  std::shared_ptr<const TableSnapshot> snapshot_;
  std::shared_ptr<const RowPlan> plan_;  // shared with Python while it is asked
  std::shared_ptr<const Selection> selection_;
  std::vector<std::unique_ptr<Component>> components_;
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_TABLE_READER_H_
