// The kernel of GridflowDataset: a dataset of a table, and its iterators.

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ops/kept_snapshot.h"
#include "ops/refresh.h"
#include "ops/table_reader.h"
#include "tensorflow/core/data/global_shuffle_utils.h"
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
constexpr char kPositionKey[] = "position";

Workers WorkersOf(data::AnyContext context) {
  return {context.allocator, context.runner, context.runner_threadpool_size};
}

class GridflowDataset : public data::DatasetBase {
 public:
  GridflowDataset(OpKernelContext* ctx, ReaderOptions options)
      : DatasetBase(data::DatasetContext(ctx)),
        options_(std::move(options)),
        kept_(KeptSnapshot::Of(options_.directory, options_.table_id)) {}

  const tensorflow::DataTypeVector& output_dtypes() const override { return options_.dtypes; }
  const std::vector<PartialTensorShape>& output_shapes() const override { return options_.shapes; }
  std::string DebugString() const override { return absl::StrCat("GridflowDataset(", options_.table, ")"); }
  absl::Status InputDatasets(std::vector<const DatasetBase*>*) const override { return absl::OkStatus(); }
  absl::Status CheckExternalState() const override { return absl::OkStatus(); }

  // Of the version that is current now; an iterator may find a newer one.
  int64_t CardinalityInternal(data::CardinalityOptions) const override {
    int64_t elements;
    return TableReader::Count(options_, kept_.get(), &elements).ok() ? elements : data::kUnknownCardinality;
  }

  absl::Status RandomIndexingCompatible() const override { return absl::OkStatus(); }

  using DatasetBase::Get;
  absl::Status Get(OpKernelContext* ctx, int64_t index, std::vector<Tensor>* out) const override {
    return Get(data::AnyContext(ctx), index, out);
  }
  absl::Status Get(data::AnyContext ctx, int64_t index, std::vector<Tensor>* out) const override {
    std::shared_ptr<const TableReader> reader;
    TF_RETURN_IF_ERROR(PinnedReader(&reader));
    if (index < 0 || index >= reader->elements())
      return absl::OutOfRangeError(absl::StrCat("no element ", index, " of ", reader->elements()));
    TableReader::Cursor cursor = reader->Seek(index);
    std::vector<Run> runs;
    bool end;
    return reader->Read(WorkersOf(ctx), &cursor, &runs, out, &end);
  }

  // The version that random access reads from its first use on, so that an index keeps its meaning.
  absl::Status PinnedReader(std::shared_ptr<const TableReader>* out) const {
    std::lock_guard<std::mutex> lock(mutex_);
    if (pinned_ == nullptr) TF_RETURN_IF_ERROR(TableReader::Open(options_, kept_.get(), &pinned_));
    *out = pinned_;
    return absl::OkStatus();
  }

  std::unique_ptr<data::IteratorBase> MakeIteratorInternal(const std::string& prefix) const override;

 protected:
  absl::Status AsGraphDefInternal(data::SerializationContext*, DatasetGraphDefBuilder* b,
                                  tensorflow::Node** node) const override {
    tensorflow::Node *directory, *table_id, *table, *columns, *partitions, *batch_size, *drop_remainder;
    TF_RETURN_IF_ERROR(b->AddScalar<tensorflow::tstring>(options_.directory, &directory));
    TF_RETURN_IF_ERROR(b->AddScalar(options_.table_id, &table_id));
    TF_RETURN_IF_ERROR(b->AddScalar<tensorflow::tstring>(options_.table, &table));
    TF_RETURN_IF_ERROR(b->AddVector(options_.columns, &columns));
    TF_RETURN_IF_ERROR(b->AddVector(options_.partitions, &partitions));
    TF_RETURN_IF_ERROR(b->AddScalar(options_.batch_size, &batch_size));
    TF_RETURN_IF_ERROR(b->AddScalar(options_.drop_remainder, &drop_remainder));
    return b->AddDataset(this, {directory, table_id, table, columns, partitions, batch_size, drop_remainder}, node);
  }

 private:
  class Iterator;

  const ReaderOptions options_;
  const std::shared_ptr<KeptSnapshot> kept_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const TableReader> pinned_;  // guarded by mutex_
};

class GridflowDataset::Iterator : public data::DatasetIterator<GridflowDataset> {
 public:
  explicit Iterator(const Params& params)
      : data::DatasetIterator<GridflowDataset>(params), shuffled_(params.dataset) {}

  bool SymbolicCheckpointCompatible() const override { return true; }

  absl::Status Initialize(data::IteratorContext* ctx) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ctx->index_mapper() != nullptr) return dataset()->PinnedReader(&reader_);
    const ReaderOptions& options = dataset()->options_;
    // A restored iterator needs the version it was saved in, not a newer one.
    if (!ctx->is_restoring()) TF_RETURN_IF_ERROR(RefreshTable(options.directory, options.table));
    return TableReader::Open(options, dataset()->kept_.get(), &reader_);
  }

 protected:
  absl::Status GetNextInternal(data::IteratorContext* ctx, std::vector<Tensor>* out, bool* end) override {
    if (ctx->index_mapper() != nullptr) return shuffled_.GetNext(ctx, out, end);
    std::lock_guard<std::mutex> lock(mutex_);
    return reader_->Read(WorkersOf(data::AnyContext(ctx)), &cursor_, &runs_, out, end);
  }

  absl::Status SkipInternal(data::IteratorContext* ctx, int count, bool* end, int* skipped) override {
    if (ctx->index_mapper() != nullptr)
      return data::DatasetIterator<GridflowDataset>::SkipInternal(ctx, count, end, skipped);
    std::lock_guard<std::mutex> lock(mutex_);
    const int64_t at = reader_->ElementAt(cursor_);
    *skipped = static_cast<int>(std::min<int64_t>(count, reader_->elements() - at));
    *end = *skipped < count;
    cursor_ = reader_->Seek(at + *skipped);
    return absl::OkStatus();
  }

  std::shared_ptr<tensorflow::data::model::Node> CreateNode(
      data::IteratorContext*, tensorflow::data::model::Node::Args args) const override {
    return tensorflow::data::model::MakeSourceNode(std::move(args));
  }

  absl::Status SaveInternal(data::SerializationContext* ctx, data::IteratorStateWriter* writer) override {
    TF_RETURN_IF_ERROR(shuffled_.Save(prefix(), ctx, writer));
    std::lock_guard<std::mutex> lock(mutex_);
    TF_RETURN_IF_ERROR(writer->WriteScalar(prefix(), kVersionKey, static_cast<int64_t>(reader_->version())));
    return writer->WriteScalar(prefix(), kPositionKey, cursor_.ordinal);
  }

  absl::Status RestoreInternal(data::IteratorContext* ctx, data::IteratorStateReader* reader) override {
    int64_t version, ordinal;
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kVersionKey, &version));
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kPositionKey, &ordinal));
    std::lock_guard<std::mutex> lock(mutex_);
    if (static_cast<uint64_t>(version) != reader_->version())
      return absl::FailedPreconditionError(
          absl::StrCat("the iterator was saved in version ", version, " of table ", dataset()->options_.table,
                       ", which is gone: the table is now at version ", reader_->version(),
                       ". Begin a new epoch, or save again"));
    if (ctx->restored_element_count().has_value()) return shuffled_.Restore(prefix(), ctx, reader);
    cursor_ = reader_->SeekRow(ordinal);
    return absl::OkStatus();
  }

 private:
  std::mutex mutex_;  // guards what follows, but for shuffled_, which has its own
  std::shared_ptr<const TableReader> reader_;  // set by Initialize, never null afterwards
  TableReader::Cursor cursor_;
  std::vector<Run> runs_;                 // scratch
  data::GlobalShuffleIterator shuffled_;  // does the counting where elements are shuffled globally
};

std::unique_ptr<data::IteratorBase> GridflowDataset::MakeIteratorInternal(const std::string& prefix) const {
  return std::make_unique<Iterator>(Iterator::Params{this, absl::StrCat(prefix, "::Gridflow")});
}

class GridflowDatasetOp : public data::DatasetOpKernel {
 public:
  explicit GridflowDatasetOp(OpKernelConstruction* ctx) : DatasetOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("output_types", &dtypes_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("output_shapes", &shapes_));
  }

 protected:
  void MakeDataset(OpKernelContext* ctx, data::DatasetBase** output) override {
    ReaderOptions options;
    tensorflow::tstring directory, table;
    std::vector<tensorflow::tstring> columns;
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "directory", &directory));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "table_id", &options.table_id));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "table", &table));
    OP_REQUIRES_OK(ctx, data::ParseVectorArgument(ctx, "columns", &columns));
    OP_REQUIRES_OK(ctx, data::ParseVectorArgument(ctx, "partitions", &options.partitions));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "batch_size", &options.batch_size));
    OP_REQUIRES_OK(ctx, data::ParseScalarArgument(ctx, "drop_remainder", &options.drop_remainder));
    OP_REQUIRES(ctx, options.batch_size >= 0,
                absl::InvalidArgumentError(absl::StrCat("batch_size is ", options.batch_size, ", not 0 or more")));
    OP_REQUIRES(ctx, columns.size() == dtypes_.size() && columns.size() == shapes_.size(),
                absl::InvalidArgumentError(absl::StrCat(columns.size(), " columns, but ", dtypes_.size(),
                                                        " output_types and ", shapes_.size(), " output_shapes")));
    options.directory = directory;
    options.table = table;
    options.columns.assign(columns.begin(), columns.end());
    options.dtypes = dtypes_;
    options.shapes = shapes_;
    *output = new GridflowDataset(ctx, std::move(options));
  }

 private:
  tensorflow::DataTypeVector dtypes_;
  std::vector<PartialTensorShape> shapes_;
};

REGISTER_KERNEL_BUILDER(Name("GridflowDataset").Device(tensorflow::DEVICE_CPU), GridflowDatasetOp);

}  // namespace
}  // namespace ops
}  // namespace gridflow
