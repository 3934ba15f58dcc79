// Splits: parts of a dataset that tf.data service hands out, one at a time, to whichever worker asks for the next.
#ifndef GRIDFLOW_OPS_SPLITS_H_
#define GRIDFLOW_OPS_SPLITS_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "ops/element_stream.h"
#include "tensorflow/core/framework/dataset.h"

namespace gridflow {
namespace ops {

// A split is a range of partitions, and not of rows: it means the same to whoever asks, although each worker opens the
// table on its own and may find a version that the others have not seen.
class Splits {
 public:
  // Unimplemented: the dataset has stages that mean nothing for a part of the rows.
  static absl::Status Check(const ReaderOptions& options);
  // Finds out which partitions there are.
  static absl::Status Make(const ReaderOptions& options, KeptSnapshot* kept, Splits* out);

  int64_t size() const;
  // Its partitions, as ReaderOptions has them. `split` is less than size().
  std::vector<int64_t> Partitions(int64_t split) const;

 private:
  std::vector<std::pair<int64_t, int64_t>> ranges_;  // of the dataset, in order
  int64_t partitions_ = 0;                           // in all of them
};

// The elements of the splits that a provider gives. A batch goes on in the next split, but for lists; rows are shuffled
// in their split. Not thread-safe. What it is given must outlive it.
class SplitStream {
 public:
  SplitStream(const ReaderOptions& options, KeptSnapshot* kept, Instance* instance,
              std::shared_ptr<tensorflow::data::SplitProvider> provider);

  // Appends the components of the next element to `out`; *end if there is none.
  absl::Status Next(const Workers& workers, std::vector<tensorflow::Tensor>* out, bool* end);

 private:
  // Whether the dataset has no rows in any split.
  absl::Status NothingThere(bool* nothing) const;
  // Begins with the next split; *end if this epoch has no more.
  absl::Status NextSplit(bool* end);

  ReaderOptions options_;    // of the current split
  const bool repeats_rows_;  // of the dataset, where that of `options_` says whether a batch goes on in the next split
  const std::vector<int64_t> partitions_;  // of the dataset
  KeptSnapshot* const kept_;
  Instance* const instance_;
  const std::shared_ptr<tensorflow::data::SplitProvider> provider_;
  Splits splits_;
  std::unique_ptr<Pass> pass_;  // of the current split; null: the next one is due
  bool begun_ = false;          // whether this epoch has been
  bool empty_ = true;           // whether it has given nothing yet
  int64_t epoch_ = 0;           // of this stream
  int64_t order_ = 0;           // the same as Instance counts them
  Rows rows_;                   // scratch
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_SPLITS_H_
