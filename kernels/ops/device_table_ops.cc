// The ops of gridflow.tf.DeviceTable: inputs, shapes and what they do. Their kernels: device_table_kernels.cc.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using tensorflow::PartialTensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// [rows, ...], where the attribute `shape` is that of a row.
absl::Status RowsShape(InferenceContext* c, DimensionHandle rows) {
  PartialTensorShape attr;
  ShapeHandle row, all;
  TF_RETURN_IF_ERROR(c->GetAttr("shape", &attr));
  TF_RETURN_IF_ERROR(c->MakeShapeFromPartialTensorShape(attr, &row));
  TF_RETURN_IF_ERROR(c->Concatenate(c->Vector(rows), row, &all));
  c->set_output(0, all);
  return absl::OkStatus();
}

absl::Status GatherShape(InferenceContext* c) {
  ShapeHandle rows, unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &rows));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &unused));
  return RowsShape(c, c->Dim(rows, 0));
}

absl::Status BatchShape(InferenceContext* c) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 0, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 0, &unused));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 2, &unused));
  DimensionHandle count;
  TF_RETURN_IF_ERROR(c->MakeDimForScalarInput(2, &count));
  return RowsShape(c, count);
}

absl::Status TableShape(InferenceContext* c) {
  ShapeHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 0, &unused));
  c->set_output(0, c->Scalar());
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("GridflowDeviceTable")
    .Input("table: int64")
    .Output("handle: resource")
    .SetIsStateful()
    .SetShapeFn(TableShape)
    .Doc(R"doc(
A table that is open on the op's device, for the ops that read it there.

table: address of a gf_cuda_table of this process; it stays open for as long as the handle is there.
)doc");

#define GF_CONVERSION                             \
  Attr("dtype: {bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, half, bfloat16, float, double}") \
      .Attr("shape: shape")                       \
      .Attr("column: int >= 0")                   \
      .Attr("convert: bool = false")              \
      .Attr("channels: int = 1")                  \
      .Attr("scale: list(float) = []")            \
      .Attr("offset: list(float) = []")           \
      .Attr("image: list(int) = []")              \
      .Attr("crop: list(int) = []")               \
      .Attr("channels_first: bool = false")

#define GF_CONVERSION_DOC                                                                                       \
  "places: for each row where the part of an image that is taken begins, from the top and from the left, and whether it " \
  "is\n  mirrored; int32[rows, 3], or [0, 3] for the middle.\n"                                                 \
  "dtype: of the numbers.\n"                                                                                    \
  "shape: of a row.\n"                                                                                          \
  "column: which one of those that the table was opened with.\n"                                                \
  "convert: whether numbers are converted, as the attributes say that follow; see gf_cuda_convert.\n"

REGISTER_OP("GridflowDeviceTableGather")
    .Input("handle: resource")
    .Input("rows: int64")
    .Input("places: int32")
    .Output("values: dtype")
    .Attr("check: bool = true")
    .GF_CONVERSION.SetShapeFn(GatherShape)
    .Doc(
        "Rows by number, in any order: [rows, ...].\n\n"
        "check: whether to wait until the device has looked at all numbers: a row that is not there is an error then. "
        "Else it\n  gives zeros, and an error in a later op of the table that waits. The CPU always waits.\n" GF_CONVERSION_DOC);

REGISTER_OP("GridflowDeviceTableBatch")
    .Input("handle: resource")
    .Input("start: int64")
    .Input("count: int64")
    .Input("places: int32")
    .Output("values: dtype")
    .GF_CONVERSION.SetShapeFn(BatchShape)
    .Doc(
        "Rows [start, start + count): where they lie, if that is in the device's memory and nothing is converted, else "
        "copied.\n\n" GF_CONVERSION_DOC);
