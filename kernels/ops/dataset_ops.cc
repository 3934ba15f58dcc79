// The op of Gridflow's tf.data source: inputs, shapes and what it does. Its kernel: dataset_kernel.cc.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status DatasetShape(InferenceContext* c) {
  ShapeHandle unused;
  for (int scalar : {0, 1, 2, 5, 6}) TF_RETURN_IF_ERROR(c->WithRank(c->input(scalar), 0, &unused));
  for (int vector : {3, 4}) TF_RETURN_IF_ERROR(c->WithRank(c->input(vector), 1, &unused));
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
    .Input("columns: string")
    .Input("partitions: int64")
    .Input("batch_size: int64")
    .Input("drop_remainder: bool")
    .Output("handle: variant")
    .Attr("output_types: list(type) >= 1")
    .Attr("output_shapes: list(shape) >= 1")
    .Attr("metadata: string = ''")
    .SetDoNotOptimize()
    .SetShapeFn(DatasetShape)
    .Doc(R"doc(
Makes a dataset of a Gridflow table's rows, read from the mapped files of the grid.

Every new iterator reads the version of the table that is current then, to its end. Rows come segment by segment, in a
segment partition by partition: in the order of their key hashes, which is a random one. Fixed-width values of a batch
that lie together and begin at a multiple of 64 bytes are a view of the mapping, everything else is one copy.

An iterator's checkpoint is its position and the table's version; it can be restored while that version is current.

directory: the grid's directory.
table_id: the table's number in the grid's catalog.
table: the table's name, for messages.
columns: for every component of an element `<column id>\x1f<column>`, and `\x1f<part>` for each field of a STRUCT and
  for a MAP's `key` or `value` on the way down to a scalar or a tensor. Behind the id may stand what becomes of nulls,
  which else are errors: ` fill=<hex>` for a value as the log encodes it, ` fill` for zero or the empty string, ` empty`
  for an empty list, ` valid` for a bool in each row's place and ` items` for one in each list item's.
partitions: pairs of partitions, begin and end (exclusive); none for all.
batch_size: rows in an element, or 0 for single rows without a batch dimension.
drop_remainder: whether a last batch that is not full is left out.
output_types: of the components. Numbers, booleans and tensors have their own type, DATE is int32 days, TIME int64
  microseconds, TIMESTAMP int64 units since 1970; STRING and BINARY, UUID (16 bytes) and DECIMAL (its text) are strings.
  A LIST or MAP adds a dimension; with more than one dimension of varying size it is a variant that holds a ragged
  tensor.
)doc");
