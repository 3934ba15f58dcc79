// The kernel of GridflowDataset: a dataset of a table, and its iterators.

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/mutex.h"
#include "ops/element_stream.h"
#include "ops/splits.h"
#include "tensorflow/core/data/global_shuffle_utils.h"
#include "tensorflow/core/data/split_utils.h"
#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/dataset.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/public/version.h"

namespace gridflow {
namespace ops {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::PartialTensorShape;
using tensorflow::Tensor;
namespace data = tensorflow::data;

// For gridflow/tf/ops.py, which looks for it in the file, as loading a library that was built for another TensorFlow
// may end the process. The number differs between any two releases but those that differ in the patch only; TensorFlow
// has it as tf.version.GRAPH_DEF_VERSION.
#define GF_TEXT_OF(number) #number
#define GF_TEXT(number) GF_TEXT_OF(number)
__attribute__((used)) const char kBuiltFor[] = "gridflow ops built for TensorFlow graph version " GF_TEXT(
    TF_GRAPH_DEF_VERSION) ".";

constexpr char kVersionKey[] = "version";
constexpr char kSinceKey[] = "since";
constexpr char kSeedKey[] = "seed";
constexpr char kEpochKey[] = "epoch";
constexpr char kRoundKey[] = "round";
constexpr char kPlaceKey[] = "place";

Workers WorkersOf(data::AnyContext context) {
  return {context.allocator, context.runner, context.runner_threadpool_size};
}

// The same; what is copied for a GPU comes into pinned memory of TensorFlow's, where there is some.
Workers WorkersOf(data::IteratorContext* ctx, const ReaderOptions& options) {
  Workers workers = WorkersOf(data::AnyContext(ctx));
  if (options.gpu < 0) return workers;
  tensorflow::AllocatorAttributes pinned;
  pinned.set_gpu_compatible(true);
  workers.allocator = ctx->allocator(pinned);
  return workers;
}

class GridflowDataset : public data::DatasetBase {
 public:
  // Inputs that are kept as they came, for the graph.
  struct Numbers {
    std::vector<int64_t> stages, seeds;
  };

  GridflowDataset(OpKernelContext* ctx, ReaderOptions options, Numbers numbers, std::shared_ptr<Instance> instance)
      : DatasetBase(data::DatasetContext(ctx)),
        options_(std::move(options)),
        numbers_(std::move(numbers)),
        kept_(KeptSnapshot::Of(options_.directory, options_.table_id)),
        instance_(std::move(instance)) {
    options_.counters = &instance_->counters;
  }

  const tensorflow::DataTypeVector& output_dtypes() const override { return options_.dtypes; }
  const std::vector<PartialTensorShape>& output_shapes() const override { return options_.shapes; }
  std::string DebugString() const override { return absl::StrCat("GridflowDataset(", options_.table, ")"); }
  absl::Status InputDatasets(std::vector<const DatasetBase*>*) const override { return absl::OkStatus(); }
  absl::Status CheckExternalState() const override { return absl::OkStatus(); }

  // Of the version that is current now; an iterator may find a newer one.
  int64_t CardinalityInternal(data::CardinalityOptions) const override {
    const Stages& stages = options_.stages;
    std::unique_ptr<Pass> pass;
    if (options_.follow_ms != 0 || !MakePass(&pass).ok()) return data::kUnknownCardinality;
    if (stages.epochs == 1) {
      announced_.store(pass->elements());
      return pass->elements();
    }
    if (stages.epochs < 0)
      return (stages.repeats_rows ? pass->rows() : pass->elements()) > 0 ? data::kInfiniteCardinality : 0;
    if (!stages.repeats_rows) return stages.epochs * pass->elements();
    const int64_t rows = stages.epochs * pass->rows(), batch = stages.batch_size;
    return rows / batch + (rows % batch != 0 && !stages.drop_remainder ? 1 : 0);
  }

  absl::Status RandomIndexingCompatible() const override {
    const Stages& stages = options_.stages;
    if (stages.epochs != 1 || options_.follow_ms != 0)
      return absl::FailedPreconditionError(absl::StrCat(DebugString(), " has no last element"));
    // Which element has an index would depend on a seed, which a checkpoint of a global shuffle does not hold.
    if (stages.Find(kShuffle) != nullptr || stages.Find(kSample) != nullptr)
      return absl::FailedPreconditionError(absl::StrCat(DebugString(), " is in random order already"));
    return absl::OkStatus();
  }

  using DatasetBase::Get;
  absl::Status Get(OpKernelContext* ctx, int64_t index, std::vector<Tensor>* out) const override {
    return Get(data::AnyContext(ctx), index, out);
  }
  absl::Status Get(data::AnyContext ctx, int64_t index, std::vector<Tensor>* out) const override {
    TF_RETURN_IF_ERROR(RandomIndexingCompatible());
    TF_RETURN_IF_ERROR(Pin());
    if (index >= pinned_->elements() && index < announced_.load())  // OutOfRange would silently end a global shuffle
      return absl::FailedPreconditionError(absl::StrCat("table ", options_.table, " lost rows between counting them and ",
                                                        "reading element ", index, ": give snapshot= a tag"));
    if (index < 0 || index >= pinned_->elements())
      return absl::OutOfRangeError(absl::StrCat("no element ", index, " of ", pinned_->elements()));
    Rows rows;
    int64_t count;
    TF_RETURN_IF_ERROR(pinned_->Find(index, &rows, &count));
    return pinned_->reader().Read(WorkersOf(ctx), &rows, count, out);
  }

  // Opens the version that random access reads from its first use on, so that an index keeps its meaning. If one is
  // asked for it must be that: FailedPrecondition.
  absl::Status Pin(uint64_t version = TableSnapshot::kCurrent) const {
    MutexLock lock(&mutex_);
    if (pinned_ == nullptr) TF_RETURN_IF_ERROR(MakePass(&pinned_));
    if (version == TableSnapshot::kCurrent || version == pinned_->reader().version()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("the iterator was saved in version ", version, " of table ",
                                                      options_.table, "; this one is of version ",
                                                      pinned_->reader().version(), ": give snapshot=", version));
  }

  absl::Status MakeSplitProviders(std::vector<std::unique_ptr<data::SplitProvider>>* out) const override {
    TF_RETURN_IF_ERROR(Splits::Check(options_));
    Splits splits;
    TF_RETURN_IF_ERROR(Splits::Make(options_, kept_.get(), &splits));
    out->push_back(std::make_unique<data::IndexSplitProvider>(splits.size()));
    return absl::OkStatus();
  }

  std::unique_ptr<data::IteratorBase> MakeIteratorInternal(const std::string& prefix) const override;

 protected:
  absl::Status AsGraphDefInternal(data::SerializationContext*, DatasetGraphDefBuilder* b,
                                  tensorflow::Node** node) const override {
    tensorflow::Node *directory, *table_id, *table, *version, *columns, *partitions, *selection, *stages, *seeds,
        *instance, *epochs, *follow_ms;
    TF_RETURN_IF_ERROR(b->AddScalar<tensorflow::tstring>(options_.directory, &directory));
    TF_RETURN_IF_ERROR(b->AddScalar(options_.table_id, &table_id));
    TF_RETURN_IF_ERROR(b->AddScalar<tensorflow::tstring>(options_.table, &table));
    TF_RETURN_IF_ERROR(b->AddScalar(static_cast<int64_t>(options_.version), &version));
    TF_RETURN_IF_ERROR(b->AddVector(options_.columns, &columns));
    TF_RETURN_IF_ERROR(b->AddVector(options_.partitions, &partitions));
    TF_RETURN_IF_ERROR(b->AddScalar<tensorflow::tstring>(options_.selection, &selection));
    TF_RETURN_IF_ERROR(b->AddVector(numbers_.stages, &stages));
    TF_RETURN_IF_ERROR(b->AddVector(numbers_.seeds, &seeds));
    TF_RETURN_IF_ERROR(b->AddScalar(instance_->number, &instance));
    TF_RETURN_IF_ERROR(b->AddScalar(instance_->epochs->number, &epochs));
    TF_RETURN_IF_ERROR(b->AddScalar(options_.follow_ms, &follow_ms));
    tensorflow::AttrValue default_grid, default_table, default_partitions, gpu;
    b->BuildAttrValue(options_.default_grid, &default_grid);
    b->BuildAttrValue(options_.default_table, &default_table);
    b->BuildAttrValue(options_.default_partitions, &default_partitions);
    b->BuildAttrValue(options_.gpu, &gpu);
    return b->AddDataset(
        this,
        {directory, table_id, table, version, columns, partitions, selection, stages, seeds, instance, epochs, follow_ms},
        {{"default_grid", default_grid},
         {"default_table", default_table},
         {"default_partitions", default_partitions},
         {"gpu", gpu}},
        node);
  }

 private:
  class Iterator;

  // A pass over the version that is current now.
  absl::Status MakePass(std::unique_ptr<Pass>* out) const {
    std::shared_ptr<const TableReader> reader;
    TF_RETURN_IF_ERROR(TableReader::Open(options_, options_.version, kept_.get(), nullptr, &reader));
    *out = std::make_unique<Pass>(std::move(reader), options_.stages, RandomAt(instance_->epochs->seed.load(), 0));
    return absl::OkStatus();
  }

  ReaderOptions options_;  // not changed after the constructor
  const Numbers numbers_;
  const std::shared_ptr<KeptSnapshot> kept_;
  const std::shared_ptr<Instance> instance_;
  mutable Mutex mutex_;
  mutable std::unique_ptr<Pass> pinned_;  // made with mutex_, and never changed again
  mutable std::atomic<int64_t> announced_{0};  // the last cardinality that was told
};

class GridflowDataset::Iterator : public data::DatasetIterator<GridflowDataset> {
 public:
  explicit Iterator(const Params& params)
      : data::DatasetIterator<GridflowDataset>(params),
        stream_(dataset()->options_, dataset()->kept_.get(), dataset()->instance_.get()),
        shuffled_(params.dataset) {}

  bool SymbolicCheckpointCompatible() const override { return true; }

  absl::Status Initialize(data::IteratorContext* ctx) override {
    MutexLock lock(&mutex_);
    indexed_ = ctx->index_mapper() != nullptr;
    if (indexed_) return dataset()->Pin();
    if (!ctx->split_providers().empty()) {
      TF_ASSIGN_OR_RETURN(std::shared_ptr<data::SplitProvider> provider, data::GetSingleSplitProvider(ctx, dataset()));
      split_ = std::make_unique<SplitStream>(dataset()->options_, dataset()->kept_.get(), dataset()->instance_.get(),
                                             std::move(provider));
      return absl::OkStatus();
    }
    return ctx->is_restoring() ? absl::OkStatus() : stream_.Start();  // what was saved says which version
  }

 protected:
  absl::Status GetNextInternal(data::IteratorContext* ctx, std::vector<Tensor>* out, bool* end) override {
    if (ctx->index_mapper() != nullptr) {
      {
        MutexLock lock(&mutex_);
        indexed_ = true;  // tf.data says so only now
      }
      return shuffled_.GetNext(ctx, out, end);
    }
    while (true) {
      News news;
      {
        MutexLock lock(&mutex_);
        if (split_ != nullptr) return split_->Next(WorkersOf(ctx, dataset()->options_), out, end);
        if (!stream_.begun()) TF_RETURN_IF_ERROR(stream_.Start());
        bool wait;
        TF_RETURN_IF_ERROR(stream_.Next(WorkersOf(ctx, dataset()->options_), out, end, &wait));
        if (!wait) return absl::OkStatus();
        news = stream_.news();
      }
      // Without the mutex, so that a checkpoint can be saved meanwhile.
      const auto cancelled = [&] {
        return dataset()->instance_->stopped.load() ||
               (ctx->cancellation_manager() != nullptr && ctx->cancellation_manager()->IsCancelled());
      };
      if (news.Wait(cancelled)) continue;
      if (ctx->cancellation_manager() != nullptr && ctx->cancellation_manager()->IsCancelled())
        return absl::CancelledError(absl::StrCat(dataset()->DebugString(), " was waiting for rows"));
      MutexLock lock(&mutex_);
      stream_.Finish();
    }
  }

  absl::Status SkipInternal(data::IteratorContext* ctx, int count, bool* end, int* skipped) override {
    const ReaderOptions& options = dataset()->options_;
    if (ctx->index_mapper() != nullptr || split_ != nullptr || options.stages.epochs != 1 || options.follow_ms != 0)
      return data::DatasetIterator<GridflowDataset>::SkipInternal(ctx, count, end, skipped);
    MutexLock lock(&mutex_);
    if (!stream_.begun()) TF_RETURN_IF_ERROR(stream_.Start());
    *skipped = static_cast<int>(stream_.Skip(count));
    *end = *skipped < count;
    return absl::OkStatus();
  }

  std::shared_ptr<tensorflow::data::model::Node> CreateNode(
      data::IteratorContext*, tensorflow::data::model::Node::Args args) const override {
    return tensorflow::data::model::MakeSourceNode(std::move(args));
  }

  data::TraceMeMetadata GetTraceMeMetadata() const override {
    const ReaderOptions& options = dataset()->options_;
    return {{"table", options.table},
            {"columns", absl::StrCat(options.columns.size())},
            {"batch_size", absl::StrCat(options.stages.batched ? options.stages.batch_size : 1)}};
  }

  absl::Status SaveInternal(data::SerializationContext* ctx, data::IteratorStateWriter* writer) override {
    TF_RETURN_IF_ERROR(shuffled_.Save(prefix(), ctx, writer));
    MutexLock lock(&mutex_);
    if (indexed_) {
      TF_RETURN_IF_ERROR(dataset()->Pin());
      const auto version = static_cast<int64_t>(dataset()->pinned_->reader().version());
      return writer->WriteScalar(prefix(), kVersionKey, version);
    }
    if (split_ != nullptr)
      return absl::UnimplementedError(absl::StrCat(dataset()->DebugString(), " is read in splits: it cannot be saved"));
    if (!stream_.begun()) return absl::OkStatus();  // tf.data saves what it is about to restore
    const ElementStream::State state = stream_.state();
    const auto write = [&](const char* key, int64_t value) { return writer->WriteScalar(prefix(), key, value); };
    TF_RETURN_IF_ERROR(write(kVersionKey, static_cast<int64_t>(state.version)));
    TF_RETURN_IF_ERROR(write(kSinceKey, static_cast<int64_t>(state.since)));
    TF_RETURN_IF_ERROR(write(kSeedKey, static_cast<int64_t>(state.seed)));
    TF_RETURN_IF_ERROR(write(kEpochKey, state.epoch));
    TF_RETURN_IF_ERROR(write(kRoundKey, state.round));
    return write(kPlaceKey, state.place);
  }

  absl::Status RestoreInternal(data::IteratorContext* ctx, data::IteratorStateReader* reader) override {
    if (!reader->Contains(prefix(), kVersionKey)) return absl::OkStatus();
    ElementStream::State state;
    int64_t version, since, seed;
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kVersionKey, &version));
    if (ctx->restored_element_count().has_value()) {
      TF_RETURN_IF_ERROR(dataset()->Pin(static_cast<uint64_t>(version)));
      return shuffled_.Restore(prefix(), ctx, reader);
    }
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kSinceKey, &since));
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kSeedKey, &seed));
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kEpochKey, &state.epoch));
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kRoundKey, &state.round));
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kPlaceKey, &state.place));
    state.version = static_cast<uint64_t>(version);
    state.since = static_cast<uint64_t>(since);
    state.seed = static_cast<uint64_t>(seed);
    MutexLock lock(&mutex_);
    return stream_.Restore(state);
  }

 private:
  Mutex mutex_;
  bool indexed_ GF_GUARDED_BY(mutex_) = false;  // whether elements are shuffled globally
  ElementStream stream_ GF_GUARDED_BY(mutex_);
  std::unique_ptr<SplitStream> split_;  // instead of stream_ where tf.data service says what to read; set by Initialize
  data::GlobalShuffleIterator shuffled_;  // does the counting if indexed_; it has a mutex of its own
};

std::unique_ptr<data::IteratorBase> GridflowDataset::MakeIteratorInternal(const std::string& prefix) const {
  return std::make_unique<Iterator>(Iterator::Params{this, absl::StrCat(prefix, "::Gridflow")});
}

class GridflowDatasetOp : public data::DatasetOpKernel {
 public:
  explicit GridflowDatasetOp(OpKernelConstruction* ctx) : DatasetOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("output_types", &dtypes_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("output_shapes", &shapes_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("default_grid", &default_grid_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("default_table", &default_table_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("default_partitions", &default_partitions_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("gpu", &gpu_));
  }

 protected:
  void MakeDataset(OpKernelContext* ctx, data::DatasetBase** output) override {
    ReaderOptions options;
    GridflowDataset::Numbers numbers;
    int64_t version = 0, instance = 0, epochs = 0;
    tensorflow::tstring directory, table, selection;
    std::vector<tensorflow::tstring> columns;
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "directory", &directory));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "table_id", &options.table_id));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "table", &table));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "version", &version));
    OP_REQUIRES_OK(ctx, data::ParseVectorArgument(ctx, "columns", &columns));
    OP_REQUIRES_OK(ctx, data::ParseVectorArgument(ctx, "partitions", &options.partitions));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "selection", &selection));
    OP_REQUIRES_OK(ctx, data::ParseVectorArgument(ctx, "stages", &numbers.stages));
    OP_REQUIRES_OK(ctx, data::ParseVectorArgument(ctx, "seeds", &numbers.seeds));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "instance", &instance));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "epochs", &epochs));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "follow_ms", &options.follow_ms));
    OP_REQUIRES_OK(ctx, Stages::Parse(numbers.stages, &options.stages));
    OP_REQUIRES(ctx, numbers.seeds.size() == 2, absl::InvalidArgumentError("seeds must be two numbers"));
    OP_REQUIRES(ctx, columns.size() == dtypes_.size() && columns.size() == shapes_.size(),
                absl::InvalidArgumentError(absl::StrCat(columns.size(), " columns, but ", dtypes_.size(),
                                                        " output_types and ", shapes_.size(), " output_shapes")));
    // Only ragged tensors are variants, and two of different versions cannot be put together.
    const bool ragged = std::find(dtypes_.begin(), dtypes_.end(), tensorflow::DT_VARIANT) != dtypes_.end();
    OP_REQUIRES(ctx, !options.stages.repeats_rows || !options.stages.batched || !ragged,
                absl::InvalidArgumentError("a batch of lists cannot go on in the next epoch: repeat after it"));
    if (options.follow_ms != 0) {
      const Stages& stages = options.stages;
      OP_REQUIRES(ctx, stages.rows.empty() && stages.elements.empty() && stages.epochs == 1,
                  absl::InvalidArgumentError("only batches may be called on a dataset that follows its table"));
      OP_REQUIRES(ctx, !ragged || !stages.drop_remainder,
                  absl::InvalidArgumentError("a batch of lists ends with its version: drop_remainder would lose rows"));
      options.stages.repeats_rows = !ragged;  // a batch fills up with what comes
    }
    options.directory = directory;
    options.default_grid = default_grid_;
    options.default_table = default_table_;
    options.default_partitions = default_partitions_;
    options.gpu = gpu_;
    options.table = table;
    options.version = static_cast<uint64_t>(version);
    options.selection = selection;
    options.columns.assign(columns.begin(), columns.end());
    options.dtypes = dtypes_;
    options.shapes = shapes_;
    const uint64_t seed = Mix64(static_cast<uint64_t>(numbers.seeds[0])) ^ static_cast<uint64_t>(numbers.seeds[1]);
    std::shared_ptr<Instance> shared = Instance::Of(instance, Epochs::Of(epochs, seed));
    OP_REQUIRES_OK(ctx, shared->environment.Apply(&options));
    *output = new GridflowDataset(ctx, std::move(options), std::move(numbers), std::move(shared));
  }

 private:
  tensorflow::DataTypeVector dtypes_;
  std::vector<PartialTensorShape> shapes_;
  bool default_grid_, default_table_, default_partitions_;
  int32_t gpu_;
};

REGISTER_KERNEL_BUILDER(Name("GridflowDataset").Device(tensorflow::DEVICE_CPU), GridflowDatasetOp);

}  // namespace
}  // namespace ops
}  // namespace gridflow
