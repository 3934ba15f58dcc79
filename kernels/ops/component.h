// Component: turns runs of rows into one tensor of an element.
#ifndef GRIDFLOW_OPS_COMPONENT_H_
#define GRIDFLOW_OPS_COMPONENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/snapshot.h"
#include "ops/leaf.h"
#include "ops/row_plan.h"
#include "ops/workers.h"
#include "tensorflow/core/framework/tensor.h"

namespace gridflow {
namespace ops {

// One leaf of every row of a snapshot. Immutable once made, and any thread may use it; must not outlive the snapshot.
//
// Values of fixed width that lie in one run and begin at an aligned address are handed out where they lie, without a
// copy. Strings are views too. Everything else is copied once.
class Component {
 public:
  // Finds the leaf in every segment. NotFound: the table has no such column any more.
  static absl::Status Make(const std::string& leaf, const std::string& table, const TableSnapshot& snapshot,
                           std::unique_ptr<Component>* out);

  const std::string& name() const { return leaf_.name; }
  const Format& format() const { return format_; }

  // The tensor [rows, ...] of all rows of `runs`; of lists a scalar variant that holds a ragged tensor.
  absl::Status Batch(const Workers& workers, const std::vector<Run>& runs, int64_t rows,
                     tensorflow::Tensor* out) const;
  // The tensor of the first row of `run`, without a batch dimension.
  absl::Status Row(const Workers& workers, const Run& run, tensorflow::Tensor* out) const;

 private:
  Component() = default;

  absl::Status CheckNulls(const Run& run) const;
  absl::Status NullError(const Binding& binding, int64_t row, const char* what) const;
  absl::Status OffsetsError(const Binding& binding, const ColumnView& view, int64_t row) const;
  // The items of a run's lists, and the end of each list counted from `base` (unless `ends` is null).
  absl::Status Items(const Run& run, int64_t base, int64_t* ends, Run* items) const;
  // The values of `runs`, which count items if the leaf is a list, as a tensor of that shape.
  absl::Status Gather(const Workers& workers, const Run* runs, size_t count, int64_t values,
                      const tensorflow::TensorShape& shape, tensorflow::Tensor* out) const;
  void CopyFixed(const Workers& workers, const Run* runs, size_t count, int64_t bytes, char* out) const;
  absl::Status CopyStrings(const Run& run, tensorflow::tstring* out) const;
  tensorflow::TensorShape ShapeOf(int64_t values) const;

  Leaf leaf_;
  Format format_;
  int scale_ = 0;  // of a decimal
  std::string table_;
  std::vector<Binding> bindings_;  // one for each segment
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_COMPONENT_H_
