// TableReader: elements of one version of a table.
#ifndef GRIDFLOW_OPS_TABLE_READER_H_
#define GRIDFLOW_OPS_TABLE_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/snapshot.h"
#include "ops/component.h"
#include "ops/kept_snapshot.h"
#include "ops/row_plan.h"
#include "ops/workers.h"
#include "tensorflow/core/framework/tensor.h"

namespace gridflow {
namespace ops {

// What the op was asked for.
struct ReaderOptions {
  std::string directory;  // of the grid
  int64_t table_id = 0;
  std::string table;                 // its name, for messages
  std::vector<std::string> columns;  // as Leaf::Parse reads them, one for each component of an element
  std::vector<int64_t> partitions;   // pairs of begin and end; none for all
  int64_t batch_size = 0;            // 0: single rows without a batch dimension
  bool drop_remainder = false;
  Counters* counters = nullptr;  // counts what is read, unless it is null; must outlive the reader
  tensorflow::DataTypeVector dtypes;
  std::vector<tensorflow::PartialTensorShape> shapes;
};

// Holds the snapshot that was current when it was opened. Immutable; any thread may read it.
class TableReader {
 public:
  using Cursor = RowPlan::Cursor;

  // `kept` is the one of the table. NotFound: there is no such table, or no such column. InvalidArgument: columns and
  // dtypes do not fit each other.
  static absl::Status Open(const ReaderOptions& options, KeptSnapshot* kept, std::shared_ptr<const TableReader>* out);
  // How many elements a reader opened now would have.
  static absl::Status Count(const ReaderOptions& options, KeptSnapshot* kept, int64_t* out);

  uint64_t version() const { return snapshot_->manifest().version; }
  int64_t elements() const { return ElementsOf(options_, plan_.rows()); }

  // The cursor at that element, or at the end.
  Cursor Seek(int64_t element) const;
  // The element that is read next at that cursor; elements() at the end.
  int64_t ElementAt(const Cursor& cursor) const;
  // The cursor at that row, which another reader of this version had reached (Cursor::ordinal).
  Cursor SeekRow(int64_t ordinal) const { return plan_.Seek(ordinal); }
  // Appends the next element's components to `out` and moves on; *end if there is none. `runs` is scratch.
  absl::Status Read(const Workers& workers, Cursor* cursor, std::vector<Run>* runs,
                    std::vector<tensorflow::Tensor>* out, bool* end) const;

 private:
  TableReader() = default;
  static int64_t ElementsOf(const ReaderOptions& options, int64_t rows);

  ReaderOptions options_;
  std::shared_ptr<const TableSnapshot> snapshot_;
  RowPlan plan_;
  std::vector<std::unique_ptr<Component>> components_;
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_TABLE_READER_H_
