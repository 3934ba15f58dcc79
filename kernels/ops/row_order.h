// RowOrder: in which order the rows of a plan are read, and how they make elements.
#ifndef GRIDFLOW_OPS_ROW_ORDER_H_
#define GRIDFLOW_OPS_ROW_ORDER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "core/permutation.h"

namespace gridflow {
namespace ops {

// What was called on a dataset, as the op's input `stages` lists it: three numbers each, a kind and its arguments.
enum StageKind : int64_t {
  kSkip = 0,     // count
  kTake = 1,     // count
  kShard = 2,    // shards, index
  kShuffle = 3,  // rows in the buffer (negative: all), whether each epoch has an order of its own
  kRepeat = 4,   // epochs (negative: without an end)
  kBatch = 5,    // rows, whether a last batch that is not full is left out
  kSample = 6,   // draws (negative: as many as there are rows), by weight and with replacement; it comes first
  kFill = 7,     // rows: exactly so many, the first ones, or all and then again from the first; not behind a window
};

struct Stage {
  StageKind kind;
  int64_t a, b;
};

// The stages of a dataset, in order: sample; any number of skip, take, shard and fill, with one shuffle among them;
// batch; skip, take and shard of batches. One repeat may stand at the end, or before the batch, which then fills up from
// the next epoch.
struct Stages {
  std::vector<Stage> rows, elements;
  bool batched = false;
  int64_t batch_size = 1;
  bool drop_remainder = false;
  int64_t epochs = 1;  // negative: without an end
  bool repeats_rows = false;  // and not elements

  // InvalidArgument: numbers that are no stages, or stages in an order that is not said above.
  static absl::Status Parse(const std::vector<int64_t>& numbers, Stages* out);
  // The first row stage of that kind; null if there is none.
  const Stage* Find(StageKind kind) const;
  // Whether each epoch has an order of its own.
  bool vary() const { return Find(kSample) != nullptr || (Find(kShuffle) != nullptr && Find(kShuffle)->b != 0); }
};

// What remains of a sequence of `size` places: every stride-th from start on.
struct Slice {
  int64_t start = 0, stride = 1, size = 0;

  // After a skip, take or shard.
  Slice Of(const Stage& stage) const;
};

// To draw by weight: one slot of all is as likely as another, and stands for its own row with probability `own`, else
// for row `other`.
struct AliasSlot {
  double own = 1;
  int64_t other = 0;
};

// Slots for rows with these weights, none of which is negative and whose sum is finite and above 0, in linear time.
// Algorithm: M. D. Vose, "A linear algorithm for generating random numbers with a given distribution".
std::vector<AliasSlot> MakeSlots(const double* weights, int64_t count);

// Rows of a plan that were asked for by SQL: which, in which order, with which weights.
struct Selection {
  std::vector<int64_t> ordinals;
  int64_t least = 0, most = -1;  // of the ordinals
  std::vector<AliasSlot> slots;  // one for each, from MakeSlots(); empty unless rows are drawn by weight
};

// The sequence of a plan's ordinals that an epoch reads. Immutable; any thread may use it.
class RowOrder {
 public:
  class Cursor;

  // `rows` are the plan's. `selection` may be null: all of them, as they come. Seeds of different epochs must differ
  // where they are to have different orders.
  RowOrder(const std::vector<Stage>& stages, int64_t rows, std::shared_ptr<const Selection> selection, uint64_t seed);

  int64_t size() const { return size_; }
  // Whether ordinals rise by 1 from first() on.
  bool contiguous() const { return contiguous_; }
  int64_t first() const { return contiguous_ && size_ > 0 ? At(0) : 0; }
  // Whether any place can be asked for; else there is a window, whose output only a Cursor knows, which goes forward.
  bool random_access() const { return window_ == 0; }
  // The ordinal at place i, 0 <= i < size(); where there is a window, of its input.
  int64_t At(int64_t i) const;

 private:
  // Turns a place after a stage into one before it.
  struct Step {
    int64_t start = 0, stride = 1;
    std::shared_ptr<const Permutation> permutation;  // null: start + i * stride
    int64_t period = 0;                              // of places that begin again; 0: none do
  };

  void AddSlice(const Slice& slice);

  std::shared_ptr<const Selection> selection_;
  bool sampled_ = false;
  uint64_t seed_;
  std::vector<Step> steps_;  // before the window, the last one first
  int64_t inner_size_;       // places that steps_ have
  int64_t window_ = 0;       // rows of a shuffle's buffer; 0: there is none
  int64_t start_ = 0, stride_ = 1;  // after the window
  int64_t size_;
  bool contiguous_;
};

// A place in an order. Not thread-safe; must not outlive the order.
class RowOrder::Cursor {
 public:
  explicit Cursor(const RowOrder* order) : order_(order) {}

  int64_t place() const { return place_; }
  // Goes on to that place, not before place() unless there is random access; at most to the end.
  void MoveTo(int64_t place);
  // Appends up to `count` ordinals and goes on behind them. Returns how many there were.
  int64_t Take(int64_t count, std::vector<int64_t>* ordinals);

 private:
  int64_t Draw();

  const RowOrder* order_;
  int64_t place_ = 0;
  // As tf.data's shuffle: a buffer from which a row is drawn at random, whose slot then takes the next one.
  std::vector<int64_t> buffer_;
  int64_t read_ = 0, drawn_ = 0;  // of the window's input and output
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_ROW_ORDER_H_
