// Kernels of the ops of gridflow.tf.DeviceTable, for CPUs and GPUs: they call the library of kernels/cuda in the stream
// of the op's device.

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ops/buffer.h"
#include "ops/cuda_library.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_base.h"
#include "tensorflow/core/framework/resource_handle.h"
#include "xla/stream_executor/stream.h"

namespace gridflow {
namespace ops {
namespace {

using tensorflow::AllocatorMemoryType;
using tensorflow::DataType;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// A holder of an open table, which closes it when the last handle and the last view are gone.
class DeviceTable : public tensorflow::ResourceBase {
 public:
  // Retains the table.
  static absl::Status Hold(const CudaLibrary* cuda, gf_cuda_table* table, DeviceTable** out) {
    gf_cuda_error error;
    TF_RETURN_IF_ERROR(CudaStatus(cuda->retain(table, &error), error));
    *out = new DeviceTable(cuda, table);
    return absl::OkStatus();
  }
  ~DeviceTable() override { cuda->close(table); }
  std::string DebugString() const override { return "a table on a device"; }

  const CudaLibrary* const cuda;
  gf_cuda_table* const table;
  std::mutex checked;  // held from a gather to its check, which else might answer for another gather

 private:
  DeviceTable(const CudaLibrary* cuda, gf_cuda_table* table) : cuda(cuda), table(table) {}
};

// As gridflow/cuda_api.h has devices.
int32_t DeviceOf(OpKernelContext* ctx) {
  const auto* info = ctx->device()->tensorflow_accelerator_device_info();
  return info == nullptr ? GF_CUDA_CPU : info->gpu_id;
}

void* StreamOf(OpKernelContext* ctx) {
  const tensorflow::DeviceContext* device = ctx->op_device_context();
  return device == nullptr ? nullptr : device->stream()->platform_specific_handle().stream;
}

class DeviceTableOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const CudaLibrary* cuda;
    OP_REQUIRES_OK(ctx, CudaLibrary::Get(&cuda));
    OP_REQUIRES(ctx, tensorflow::TensorShapeUtils::IsScalar(ctx->input(0).shape()),
                absl::InvalidArgumentError("table is one number"));
    DeviceTable* made;
    OP_REQUIRES_OK(ctx, DeviceTable::Hold(cuda, reinterpret_cast<gf_cuda_table*>(ctx->input(0).scalar<int64_t>()()), &made));
    const ResourceHandle handle = ResourceHandle::MakeRefCountingHandle(made, ctx->device()->name());
    const int32_t open = cuda->device_of(made->table), here = DeviceOf(ctx);
    OP_REQUIRES(ctx, open == here,
                absl::InvalidArgumentError(absl::StrCat("the table is open on device ", open, ", and ",
                                                        ctx->device()->name(), " is device ", here)));
    Tensor* out;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &out));
    out->scalar<ResourceHandle>()() = handle;
  }
};

// What ops that read rows have in common: what becomes of the numbers.
class ReadOp : public OpKernel {
 public:
  explicit ReadOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    std::vector<int32_t> image, crop;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("dtype", &dtype_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("shape", &shape_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("column", &column_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("convert", &converts_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("channels", &convert_.channels));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("scale", &scale_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("offset", &offset_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("image", &image));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("crop", &crop));
    bool channels_first;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("channels_first", &channels_first));
    convert_.channels_first = channels_first;
    convert_.dtype = dtype_ == tensorflow::DT_FLOAT      ? GF_CUDA_FLOAT32
                     : dtype_ == tensorflow::DT_HALF     ? GF_CUDA_FLOAT16
                     : dtype_ == tensorflow::DT_BFLOAT16 ? GF_CUDA_BFLOAT16
                                                         : 0;
    OP_REQUIRES(ctx, !converts_ || convert_.dtype != 0,
                absl::InvalidArgumentError("numbers are converted to float, half or bfloat16"));
    for (const auto& [name, numbers] : {std::pair{"scale", &scale_}, {"offset", &offset_}})
      OP_REQUIRES(ctx, numbers->empty() || static_cast<int64_t>(numbers->size()) == convert_.channels,
                  absl::InvalidArgumentError(absl::StrCat(name, " has ", numbers->size(), " numbers for ",
                                                          convert_.channels, " channels")));
    OP_REQUIRES(ctx, (image.empty() || image.size() == 2) && (crop.empty() || (crop.size() == 2 && image.size() == 2)),
                absl::InvalidArgumentError("image and crop are a height and a width each, or empty"));
    if (!scale_.empty()) convert_.scale = scale_.data();
    if (!offset_.empty()) convert_.offset = offset_.data();
    if (!image.empty()) convert_.height = image[0], convert_.width = image[1];
    if (!crop.empty()) convert_.crop_height = crop[0], convert_.crop_width = crop[1];
  }

 protected:
  // The table, if it and the attributes fit each other.
  absl::Status Find(OpKernelContext* ctx, DeviceTable** out) const {
    if (!tensorflow::TensorShapeUtils::IsScalar(ctx->input(0).shape()))
      return absl::InvalidArgumentError("handle is one resource");
    const ResourceHandle& handle = ctx->input(0).scalar<ResourceHandle>()();
    if (!handle.IsRefCounting()) return absl::InvalidArgumentError("that handle is no table's");
    TF_ASSIGN_OR_RETURN(*out, handle.GetResource<DeviceTable>());
    const CudaLibrary& cuda = *(*out)->cuda;
    const int32_t open = cuda.device_of((*out)->table), here = DeviceOf(ctx);
    if (open != here)
      return absl::InvalidArgumentError(absl::StrCat("the table is open on device ", open, ", and the op runs on ", here));
    int64_t bytes;
    gf_cuda_error error;
    const int code = cuda.result_bytes((*out)->table, column_, converts_ ? &convert_ : nullptr, &bytes, &error);
    if (code != 0) return CudaStatus(code, error);
    if (bytes == shape_.num_elements() * tensorflow::DataTypeSize(dtype_)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("a row of column ", column_, " has ", bytes, " bytes, not those of ",
                                                   tensorflow::DataTypeString(dtype_), shape_.DebugString()));
  }

  // The conversion with this call's places, the input of that number; null: none.
  absl::Status Conversion(OpKernelContext* ctx, int input, int64_t rows, gf_cuda_convert* out,
                          const gf_cuda_convert** convert) const {
    const Tensor& places = ctx->input(input);
    *out = convert_;
    *convert = converts_ ? out : nullptr;
    if (!tensorflow::TensorShapeUtils::IsMatrix(places.shape()) || places.dim_size(1) != 3 ||
        (places.dim_size(0) != 0 && places.dim_size(0) != rows))
      return absl::InvalidArgumentError(
          absl::StrCat("places has shape ", places.shape().DebugString(), ", not [", rows, ",3]"));
    if (places.dim_size(0) != 0) out->places = places.flat<int32_t>().data();
    return absl::OkStatus();
  }

  TensorShape Shape(int64_t rows) const {
    TensorShape shape({rows});
    shape.AppendShape(shape_);
    return shape;
  }

  DataType dtype_;
  TensorShape shape_;  // of a row
  int32_t column_;
  bool converts_;

 private:
  gf_cuda_convert convert_{};
  std::vector<float> scale_, offset_;
};

class GatherOp : public ReadOp {
 public:
  explicit GatherOp(OpKernelConstruction* ctx) : ReadOp(ctx) { OP_REQUIRES_OK(ctx, ctx->GetAttr("check", &check_)); }

  void Compute(OpKernelContext* ctx) override {
    DeviceTable* table;
    OP_REQUIRES_OK(ctx, Find(ctx, &table));
    const Tensor& rows = ctx->input(1);
    OP_REQUIRES(ctx, tensorflow::TensorShapeUtils::IsVector(rows.shape()),
                absl::InvalidArgumentError(absl::StrCat("rows has shape ", rows.shape().DebugString(), ", not [n]")));
    const int64_t count = rows.NumElements();
    gf_cuda_convert room;
    const gf_cuda_convert* convert;
    OP_REQUIRES_OK(ctx, Conversion(ctx, 2, count, &room, &convert));
    Tensor* out;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, Shape(count), &out));
    if (count == 0) return;
    const CudaLibrary& cuda = *table->cuda;
    void* stream = StreamOf(ctx);
    gf_cuda_error error;
    std::unique_lock<std::mutex> lock(table->checked, std::defer_lock);
    if (check_) lock.lock();
    int code = cuda.gather(table->table, column_, rows.flat<int64_t>().data(), 1, count, convert, out->data(), stream,
                           &error);
    if (code == 0 && check_) code = cuda.check(table->table, stream, &error);
    OP_REQUIRES_OK(ctx, CudaStatus(code, error));
  }

 private:
  bool check_;
};

class BatchOp : public ReadOp {
 public:
  using ReadOp::ReadOp;

  void Compute(OpKernelContext* ctx) override {
    DeviceTable* table;
    OP_REQUIRES_OK(ctx, Find(ctx, &table));
    for (int input : {1, 2})
      OP_REQUIRES(ctx, tensorflow::TensorShapeUtils::IsScalar(ctx->input(input).shape()),
                  absl::InvalidArgumentError("start and count are a number each"));
    const int64_t start = ctx->input(1).scalar<int64_t>()(), count = ctx->input(2).scalar<int64_t>()();
    const CudaLibrary& cuda = *table->cuda;
    const int64_t rows = cuda.rows(table->table);
    OP_REQUIRES(ctx, start >= 0 && count >= 0 && start <= rows && count <= rows - start,
                absl::InvalidArgumentError(absl::StrCat("no rows ", start, " to ", start, " + ", count,
                                                        ": there are ", rows)));
    gf_cuda_convert room;
    const gf_cuda_convert* convert;
    OP_REQUIRES_OK(ctx, Conversion(ctx, 3, count, &room, &convert));
    gf_cuda_error error;
    const int64_t bytes = count * shape_.num_elements() * tensorflow::DataTypeSize(dtype_);
    if (!converts_ && bytes > 0) {
      const void* data;
      gf_cuda_memory* holder;
      OP_REQUIRES_OK(ctx, CudaStatus(cuda.view(table->table, column_, start, count, &data, &holder, &error), error));
      std::shared_ptr<const void> owner(holder, cuda.release);
      if (data != nullptr && IsAligned(data)) {
        const auto memory = DeviceOf(ctx) == GF_CUDA_CPU ? AllocatorMemoryType::kHostPageable : AllocatorMemoryType::kDevice;
        ctx->set_output(0, ViewOf(std::move(owner), memory, data, static_cast<size_t>(bytes), dtype_, Shape(count)));
        return;
      }
    }
    Tensor* out;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, Shape(count), &out));
    if (bytes == 0) return;
    const int code =
        cuda.batch(table->table, column_, start, count, convert, out->data(), StreamOf(ctx), &error);
    OP_REQUIRES_OK(ctx, CudaStatus(code, error));
  }
};

REGISTER_KERNEL_BUILDER(Name("GridflowDeviceTable").Device(tensorflow::DEVICE_CPU), DeviceTableOp);
REGISTER_KERNEL_BUILDER(Name("GridflowDeviceTableGather").Device(tensorflow::DEVICE_CPU), GatherOp);
REGISTER_KERNEL_BUILDER(Name("GridflowDeviceTableBatch").Device(tensorflow::DEVICE_CPU), BatchOp);
REGISTER_KERNEL_BUILDER(
    Name("GridflowDeviceTable").Device(tensorflow::DEVICE_GPU).HostMemory("table").HostMemory("handle"), DeviceTableOp);
REGISTER_KERNEL_BUILDER(Name("GridflowDeviceTableGather").Device(tensorflow::DEVICE_GPU).HostMemory("handle"), GatherOp);
REGISTER_KERNEL_BUILDER(Name("GridflowDeviceTableBatch")
                            .Device(tensorflow::DEVICE_GPU)
                            .HostMemory("handle")
                            .HostMemory("start")
                            .HostMemory("count"),
                        BatchOp);

}  // namespace
}  // namespace ops
}  // namespace gridflow
