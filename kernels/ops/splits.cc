#include "ops/splits.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "ops/python.h"
#include "ops/status.h"

namespace gridflow {
namespace ops {
namespace {

using tensorflow::Tensor;

// Enough for many workers to end at about the same time, and few enough for a split to be worth asking for.
constexpr int64_t kMostSplits = 128;

bool HasLists(const ReaderOptions& options) {
  return std::find(options.dtypes.begin(), options.dtypes.end(), tensorflow::DT_VARIANT) != options.dtypes.end();
}

}  // namespace

absl::Status Splits::Check(const ReaderOptions& options) {
  const Stages& stages = options.stages;
  const auto fail = [&](const char* what, const char* instead) {
    return absl::UnimplementedError(
        absl::StrCat("table ", options.table, " cannot be read in splits, as ", what, ": ", instead));
  };
  const bool sliced = std::any_of(stages.rows.begin(), stages.rows.end(),
                                  [](const Stage& stage) { return stage.kind != kShuffle; });
  if (options.follow_ms != 0) return fail("it follows its table", "give each worker partitions= of its own");
  if (stages.Find(kSample) != nullptr)
    return fail("its rows are drawn by weight", "use ShardingPolicy.OFF, where each worker draws its own");
  if (sliced || !stages.elements.empty())
    return fail("skip, take, shard or equal_batches counts its rows", "call it after distribute(), or use where=");
  if (HasLists(options) && stages.drop_remainder)
    return fail("a batch of lists ends with its split", "leave drop_remainder out");
  return absl::OkStatus();
}

absl::Status Splits::Make(const ReaderOptions& options, KeptSnapshot* kept, Splits* out) {
  std::shared_ptr<const TableSnapshot> snapshot;
  TF_RETURN_IF_ERROR(TableReader::OpenSnapshot(options, options.version, kept, &snapshot));
  const int64_t partitions = snapshot->manifest().partitions;
  *out = Splits();
  if (options.partitions.empty())
    out->ranges_ = {{0, partitions}};
  else
    TF_RETURN_IF_ERROR(ToTf(NormalizePartitions(options.partitions, partitions, &out->ranges_)));
  for (const auto& range : out->ranges_) out->partitions_ += range.second - range.first;
  return absl::OkStatus();
}

int64_t Splits::size() const { return std::min(partitions_, kMostSplits); }

std::vector<int64_t> Splits::Partitions(int64_t split) const {
  const int64_t from = partitions_ * split / size(), to = partitions_ * (split + 1) / size();
  std::vector<int64_t> pairs;
  int64_t before = 0;  // partitions of the ranges before this one
  for (const auto& range : ranges_) {
    const int64_t begin = std::max(range.first, range.first + from - before);
    const int64_t end = std::min(range.second, range.first + to - before);
    if (begin < end) pairs.insert(pairs.end(), {begin, end});
    before += range.second - range.first;
  }
  return pairs;
}

SplitStream::SplitStream(const ReaderOptions& options, KeptSnapshot* kept, Instance* instance,
                         std::shared_ptr<tensorflow::data::SplitProvider> provider)
    : options_(options),
      repeats_rows_(options.stages.repeats_rows),
      partitions_(options.partitions),
      kept_(kept),
      instance_(instance),
      provider_(std::move(provider)) {
  options_.stages.repeats_rows = !HasLists(options);
}

absl::Status SplitStream::NextSplit(bool* end) {
  if (!begun_) {
    TF_RETURN_IF_ERROR(RefreshTable(options_.directory, options_.table));
    order_ = instance_->epochs->next.fetch_add(1);
    begun_ = true;
    empty_ = true;
  }
  Tensor split;
  TF_RETURN_IF_ERROR(provider_->GetNext(&split, end));
  if (*end) return absl::OkStatus();
  if (splits_.size() == 0) TF_RETURN_IF_ERROR(Splits::Make(options_, kept_, &splits_));  // it is the first one
  const int64_t number = split.scalar<int64_t>()();
  if (number < 0 || number >= splits_.size())
    return absl::InternalError(
        absl::StrCat("no split ", number, " of table ", options_.table, ": there are ", splits_.size()));
  options_.partitions = splits_.Partitions(number);
  std::shared_ptr<const TableReader> reader;
  TF_RETURN_IF_ERROR(TableReader::Open(options_, options_.version, kept_, nullptr, &reader));
  const uint64_t seed =
      RandomAt(instance_->epochs->seed.load(), options_.stages.vary() ? static_cast<uint64_t>(order_) : 0);
  pass_ = std::make_unique<Pass>(std::move(reader), options_.stages, RandomAt(seed, static_cast<uint64_t>(number)));
  return absl::OkStatus();
}

absl::Status SplitStream::NothingThere(bool* nothing) const {
  ReaderOptions all = options_;
  all.partitions = partitions_;
  std::shared_ptr<const TableReader> reader;
  TF_RETURN_IF_ERROR(TableReader::Open(all, all.version, kept_, nullptr, &reader));
  *nothing = Pass(std::move(reader), options_.stages, 0).rows() == 0;
  return absl::OkStatus();
}

absl::Status SplitStream::Next(const Workers& workers, std::vector<Tensor>* out, bool* end) {
  const Stages& stages = options_.stages;
  std::vector<std::vector<Tensor>> parts;  // of a batch that goes on in the next split
  int64_t missing = stages.batch_size;
  *end = stages.epochs == 0;
  while (missing > 0 && !*end) {
    if (pass_ == nullptr) {
      bool no_split;
      TF_RETURN_IF_ERROR(NextSplit(&no_split));
      if (no_split) {
        *end = stages.epochs > 0 && epoch_ + 1 >= stages.epochs;
        // A worker that was given nothing goes on, unless there is nothing for any.
        if (!*end && empty_ && stages.epochs < 0) TF_RETURN_IF_ERROR(NothingThere(end));
        if (*end) break;
        ++epoch_;
        begun_ = false;
        TF_RETURN_IF_ERROR(provider_->Reset());
        if (repeats_rows_ || parts.empty()) continue;
        if (!stages.drop_remainder) break;
        parts.clear();
        missing = stages.batch_size;
        continue;
      }
    }
    int64_t rows;
    TF_RETURN_IF_ERROR(pass_->Take(workers, missing, &rows_, &rows));
    if (rows == 0) {
      pass_.reset();
      continue;
    }
    missing -= rows;
    empty_ = false;
    parts.emplace_back();
    TF_RETURN_IF_ERROR(pass_->reader().Read(workers, &rows_, rows, &parts.back()));
    if (!stages.repeats_rows) break;
  }
  *end = parts.empty() || (missing > 0 && stages.drop_remainder);
  return *end ? absl::OkStatus() : Join(std::move(parts), out);
}

}  // namespace ops
}  // namespace gridflow
