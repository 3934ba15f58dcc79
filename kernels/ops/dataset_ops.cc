// The op of Gridflow's tf.data source: inputs, shapes and what it does. Its kernel: dataset_kernel.cc.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status DatasetShape(InferenceContext* c) {
  ShapeHandle unused;
  for (int scalar : {0, 1, 2, 3, 6, 9, 10}) TF_RETURN_IF_ERROR(c->WithRank(c->input(scalar), 0, &unused));
  for (int vector : {4, 5, 7, 8}) TF_RETURN_IF_ERROR(c->WithRank(c->input(vector), 1, &unused));
  c->set_output(0, c->Scalar());
  return absl::OkStatus();
}

}  // namespace

// Marked as not to be optimized: grappler would else fold a source without inputs that change into a constant, which
// a dataset cannot be.
REGISTER_OP("GridflowDataset")
    .Input("directory: string")
    .Input("table_id: int64")
    .Input("table: string")
    .Input("version: int64")
    .Input("columns: string")
    .Input("partitions: int64")
    .Input("selection: string")
    .Input("stages: int64")
    .Input("seeds: int64")
    .Input("instance: int64")
    .Input("epochs: int64")
    .Input("follow_ms: int64")
    .Output("handle: variant")
    .Attr("output_types: list(type) >= 1")
    .Attr("output_shapes: list(shape) >= 1")
    .Attr("default_grid: bool = false")
    .Attr("default_table: bool = false")
    .Attr("default_partitions: bool = false")
    .Attr("gpu: int = -1")
    .Attr("metadata: string = ''")
    .SetDoNotOptimize()
    .SetShapeFn(DatasetShape)
    .Doc(R"doc(
Makes a dataset of a Gridflow table's rows, read from the mapped files of the grid.

Every new iterator, and every repetition, reads the version of the table that is current then, to its end. Rows come
segment by segment, in a segment partition by partition: in the order of their key hashes, which is a random one, unless
`selection` or a shuffle gives another. Fixed-width values of a batch
that lie together and begin at a multiple of 64 bytes are a view of the mapping, everything else is one copy.

An iterator's checkpoint is its position, the seed and the table's version; it can be restored while that version is
current or kept.

The environment of the process that executes the op fills in what the dataset does not say: see environment.h.

directory: the grid's directory.
table_id: the table's number in the grid's catalog.
table: the table's name, for messages.
version: the number of a version that is kept; 0 for the current one.
columns: for every component of an element `<column id>\x1f<column>`, and `\x1f<part>` for each field of a STRUCT and
  for a MAP's `key` or `value` on the way down to a scalar or a tensor. Behind the id may stand what becomes of nulls,
  which else are errors: ` fill=<hex>` for a value as the log encodes it, ` fill` for zero or the empty string, ` empty`
  for an empty list, ` valid` for a bool in each row's place and ` items` for one in each list item's.
partitions: pairs of partitions, begin and end (exclusive); none for all.
selection: which rows are read, in which order or with which weights: JSON that gridflow/tf/selection.py writes and
  reads; empty for all.
stages: what was called on the dataset, three numbers each: see StageKind in row_order.h.
seeds: two, of the shuffle and of weighted draws.
instance: a number by which copies of this dataset in one process count together, and can be stopped.
epochs: a number by which datasets in one process share their seed and the count of their epochs: those that were made of
  a shuffled one, and it.
follow_ms: not 0 to go on with rows as they are written or changed, until none comes for so many milliseconds, or,
  negative, until the iterator is stopped. Only batches may be called on such a dataset.
output_types: of the components. Numbers, booleans and tensors have their own type, DATE is int32 days, TIME int64
  microseconds, TIMESTAMP int64 units since 1970; STRING and BINARY, UUID (16 bytes) and DECIMAL (its text) are strings.
  A LIST or MAP adds a dimension; with more than one dimension of varying size it is a variant that holds a ragged
  tensor.
default_grid: whether `directory` is only the default grid's, so that the environment may name another one.
default_table, default_partitions: whether the environment may name another table, or other partitions.
gpu: number of the GPU that tensors are for, of those that CUDA shows the process: files are registered with its driver
  when a tensor is first a view of them, and what is copied is copied into pinned memory. -1: none.
)doc");
