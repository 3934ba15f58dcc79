// Component: turns runs of rows into one tensor of an element.
#ifndef GRIDFLOW_OPS_COMPONENT_H_
#define GRIDFLOW_OPS_COMPONENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/row_plan.h"
#include "core/snapshot.h"
#include "ops/counters.h"
#include "ops/gather.h"
#include "ops/leaf.h"
#include "ops/workers.h"
#include "tensorflow/core/framework/tensor.h"

namespace gridflow {
namespace ops {

// One leaf of every row of a snapshot, or which of them are null. Immutable once made, and any thread may use it; must
// not outlive the snapshot.
//
// Lists are walked level by level: the runs of rows become runs of items, those runs of the items' items, and so on
// down to the values; each level gives the row splits of one ragged dimension, and each offset is checked before it is
// used. Values of fixed width that lie in one run and begin at an aligned address are handed out where they lie,
// without a copy. Strings are views too. Everything else is copied once.
class Component {
 public:
  // Finds the leaf in every segment. What is read is counted in `counters`, unless that is null; it must outlive the
  // component. `gpu`: number of the GPU that tensors are for, so that files with views are pinned; negative for none. NotFound: the table has no such column any more.
  static absl::Status Make(const std::string& leaf, const std::string& table, const TableSnapshot& snapshot,
                           Counters* counters, int32_t gpu, std::unique_ptr<Component>* out);

  const std::string& name() const { return leaf_.name; }
  // What Batch(), or else Row(), gives. A ragged tensor is a scalar variant.
  tensorflow::DataType dtype(bool batch) const { return Ragged(batch) ? tensorflow::DT_VARIANT : format_.dtype; }
  tensorflow::PartialTensorShape shape(bool batch) const;
  // Whether List() reads it now: each row has one value of few bytes, no row is null, and all is checked.
  bool reads_lists() const;
  // Whether all files are checked as far as the leaf lies in them down to the first list, as far as is known.
  bool checked() const;

  // What the leaf has in files, in bytes.
  int64_t bytes() const;
  // Has blocks come that are missing, of what these rows' values lie in: of segments in a mirror.
  void AskFor(const std::vector<Run>& runs) const;
  // Has storage begin to read what the leaf of these rows lies in, down to the first list.
  void WillNeed(const std::vector<Run>& runs) const;
  // Checks what the leaf of these rows lies in, down to the first list, against its checksums: a later Batch() or Row()
  // finds it checked, and what is wrong it finds again.
  void ReadAhead(const std::vector<Run>& runs) const;

  // The tensor [rows, ...] of all rows of `runs`, or of a list.
  absl::Status Batch(const Workers& workers, const std::vector<Run>& runs, int64_t rows, tensorflow::Tensor* out) const;
  absl::Status List(const Workers& workers, const RowList& list, tensorflow::Tensor* out) const;
  // The tensor of the first row of `run`, without a batch dimension.
  absl::Status Row(const Workers& workers, const Run& run, tensorflow::Tensor* out) const;

 private:
  using Places = std::vector<int64_t>;  // rising, counted over all runs of a level

  Component() = default;
  void Bind(const std::vector<size_t>& way, const TableSnapshot& snapshot);
  bool Ragged(bool batch) const { return lists_ + (batch ? 1 : 0) > 1; }
  tensorflow::TensorShape ShapeOf(int64_t values) const;

  bool NeedsCheck(size_t segment, size_t level) const;
  void NoteChecked(size_t level) const;
  // Checks the blocks of the files that the last of `levels` is read from. DataLoss: one is damaged.
  absl::Status CheckBlocks(absl::Span<const Runs> levels) const;
  Status CheckBlocks(size_t level, const Run& run) const;
  absl::Status BlockError(absl::Span<const Runs> levels, const Run& run) const;
  // The row, or the item, in which an item of the last of `levels` lies, up to the row.
  Run RowOf(absl::Span<const Runs> levels, Run item) const;
  // What is null of the runs of a level; an error where that may not be. The last of `levels` is that level's, the
  // others are those of the levels above.
  absl::Status FindNulls(absl::Span<const Runs> levels, Places* nulls) const;
  static void AppendNulls(const Binding::Level& level, const Run& run, int64_t place, Places* nulls);
  absl::Status NullError(absl::Span<const Runs> levels, int64_t place) const;
  absl::Status OffsetsError(const Binding& binding, const ColumnView& view, int64_t row) const;
  absl::Status ReadLists(const Workers& workers, Runs rows, bool batch, tensorflow::Tensor* out) const;
  // The items of a level's lists, how many there are, and (unless `ends` is null) at which each list ends.
  absl::Status Items(size_t level, Runs runs, const Places& nulls, int64_t* ends, std::vector<Run>* items,
                     int64_t* count) const;
  // The leaf's values, or of which places there are some, as a tensor of that shape.
  absl::Status Values(const Workers& workers, Runs runs, const Places& nulls, int64_t values,
                      const tensorflow::TensorShape& shape, tensorflow::Tensor* out) const;
  void CopyBools(Runs runs, bool* out) const;
  absl::Status CopyStrings(Runs runs, tensorflow::tstring* out) const;
  void CopyTexts(Runs runs, tensorflow::tstring* out) const;
  void Fill(const Places& nulls, tensorflow::Tensor* out) const;
  void Count(int64_t viewed, int64_t copied, bool pinned = false) const {
    if (counters_ != nullptr) counters_->Add(viewed, copied, pinned);
  }

  Leaf leaf_;
  Format format_;      // of what the component gives
  size_t lists_ = 0;   // how many lists lie in each other, of what the component gives
  std::string fill_;   // of Nulls::kFill: the value as it is in a tensor
  std::string table_;
  Counters* counters_ = nullptr;
  int32_t gpu_ = -1;
  std::vector<Binding> bindings_;          // of each segment
  std::vector<const ColumnView*> values_;  // of each segment; null: it lacks the column
  std::vector<const uint8_t*> bases_;      // the same of values of fixed width, as GatherFixed() takes them
  std::vector<bool> nullable_;             // for each level, whether any segment has nulls there
  // For each segment and level whether all that the leaf has there is checked; only ever set.
  std::unique_ptr<std::atomic<bool>[]> checked_;
};

// A tensor that is not filled in yet.
absl::Status AllocateTensor(const Workers& workers, tensorflow::DataType dtype, const tensorflow::TensorShape& shape,
                            tensorflow::Tensor* out);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_COMPONENT_H_
