// ElementStream: the elements of a dataset one after the other, pass after pass.
#ifndef GRIDFLOW_OPS_ELEMENT_STREAM_H_
#define GRIDFLOW_OPS_ELEMENT_STREAM_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "ops/instance.h"
#include "ops/news.h"
#include "ops/read_ahead.h"
#include "ops/row_order.h"
#include "ops/table_reader.h"

namespace gridflow {
namespace ops {

// One pass over a table: a version of it, in one order. Not thread-safe, but for Find().
class Pass {
 public:
  Pass(std::shared_ptr<const TableReader> reader, const Stages& stages, uint64_t seed);

  const TableReader& reader() const { return *reader_; }
  int64_t rows() const { return order_.size(); }
  // How many elements there are, the one that is not full included if it is not left out.
  int64_t elements() const { return slice_.size; }
  // The next row of the order; what a checkpoint keeps.
  int64_t place() const { return cursor_.place(); }
  void MoveTo(int64_t place) { cursor_.MoveTo(place); }
  // Elements before place().
  int64_t element() const;
  void MoveToElement(int64_t element);

  // Puts the next rows of an element into `rows`, `count` at most, and goes on; what comes after them is read ahead by
  // the workers. *taken says how many there are; 0: the end.
  absl::Status Take(const Workers& workers, int64_t count, Rows* rows, int64_t* taken);
  // Puts the rows of any element, 0 <= element < elements(), into `rows`. Needs random access.
  absl::Status Find(int64_t element, Rows* rows, int64_t* count) const;

 private:
  // From the cursor on, in the plan's order.
  absl::Status TakeInOrder(int64_t count, RowPlan::Cursor* cursor, Rows* rows, int64_t* taken) const;
  // Appends the rows at these places of the order.
  Status Ahead(int64_t begin, int64_t end, std::vector<Run>* runs);
  int64_t PlaceOf(int64_t element) const { return (slice_.start + element * slice_.stride) * stages_.batch_size; }

  const std::shared_ptr<const TableReader> reader_;
  const Stages& stages_;
  const RowOrder order_;
  Slice slice_;  // of the elements; where rows are repeated, not counted
  RowOrder::Cursor cursor_;
  RowPlan::Cursor in_plan_;       // where the order is contiguous
  std::unique_ptr<RowOrder::Cursor> ahead_;  // for read_ahead_: its thread alone uses it
  ReadAhead read_ahead_;
  std::vector<int64_t> ordinals_;  // scratch
};

// Makes one batch of parts, each of them its components for some of its rows; there must be a part. Lists cannot be
// joined.
absl::Status Join(std::vector<std::vector<tensorflow::Tensor>> parts, std::vector<tensorflow::Tensor>* out);

// Not thread-safe. What it is given must outlive it.
class ElementStream {
 public:
  // Where a stream is: together with the dataset, all that it takes to go on elsewhere.
  struct State {
    uint64_t version = 0;  // of the table
    uint64_t since = 0;    // only what is new since that version is read; TableSnapshot::kCurrent: all
    uint64_t seed = 0;
    int64_t epoch = 0;  // as Instance counts them
    int64_t round = 0;  // passes before this one, but for those that follow the table
    int64_t place = 0;  // in this pass
  };

  ElementStream(const ReaderOptions& options, KeptSnapshot* kept, Instance* instance)
      : options_(options), kept_(kept), instance_(instance), news_(options.directory, options.follow_ms) {}

  // Begins with the newest version. Call it or Restore() before anything else.
  absl::Status Start();
  bool begun() const { return pass_ != nullptr; }
  // Before the next element, also where a part of it has been read.
  State state() const { return parts_.empty() ? Here() : before_parts_; }
  // FailedPrecondition: the version is neither current nor kept.
  absl::Status Restore(const State& state);

  // Appends the components of the next element to `out`; *end if there is none. *wait: not yet, as a table that is
  // followed has nothing new. Then call news().Wait(), without whatever lock guards this, and Next() again; or Finish()
  // before it, if nothing is to be waited for any more.
  absl::Status Next(const Workers& workers, std::vector<tensorflow::Tensor>* out, bool* end, bool* wait);
  News news() const { return news_; }
  void Finish() { finished_ = true; }
  // Passes over `count` elements, or as many as there are. Only of a dataset of a single pass.
  int64_t Skip(int64_t count);

 private:
  bool IsLast() const { return options_.stages.epochs >= 0 && round_ + 1 >= options_.stages.epochs; }
  State Here() const;
  absl::Status Begin(int64_t epoch, uint64_t version, std::shared_ptr<const TableSnapshot> since = nullptr);
  absl::Status NextPass(bool* end, bool* wait);
  absl::Status Follow(bool* end, bool* wait);

  const ReaderOptions& options_;
  KeptSnapshot* const kept_;
  Instance* const instance_;
  std::unique_ptr<Pass> pass_;
  std::shared_ptr<const TableSnapshot> since_;  // null: the pass reads all
  uint64_t seed_ = 0;
  int64_t epoch_ = 0, round_ = 0;
  bool empty_ = true;  // the pass has given nothing yet
  News news_;
  bool finished_ = false;
  std::vector<std::vector<tensorflow::Tensor>> parts_;  // of a batch that goes on in the next pass
  State before_parts_;
  int64_t missing_ = 0;  // rows of that batch
  Rows rows_;            // scratch
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_ELEMENT_STREAM_H_
