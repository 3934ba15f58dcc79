#include "ops/buffer.h"

#include <utility>

#include "tensorflow/core/framework/allocation_description.pb.h"

namespace gridflow {
namespace ops {
namespace {

using tensorflow::AllocatorMemoryType;

class BorrowedBuffer final : public tensorflow::TensorBuffer {
 public:
  BorrowedBuffer(std::shared_ptr<const void> owner, AllocatorMemoryType memory, const void* data, size_t bytes)
      : TensorBuffer(const_cast<void*>(data)), owner_(std::move(owner)), memory_(memory), bytes_(bytes) {}

  size_t size() const override { return bytes_; }
  tensorflow::TensorBuffer* root_buffer() override { return this; }
  // Without this, `x + 1` would be computed in place: in the file, or rather in a page that cannot be written.
  bool OwnsMemory() const override { return false; }
  // Of pinned memory TensorFlow's copies to a GPU are begun at once, and wait for nobody.
  AllocatorMemoryType GetMemoryType() const override { return memory_; }
  // tf.data asks for every element; the inherited method would build a message to answer.
  bool GetAllocatedBytes(size_t* out) const override {
    *out = bytes_;
    return true;
  }
  void FillAllocationDescription(tensorflow::AllocationDescription* proto) const override {
    proto->set_requested_bytes(static_cast<int64_t>(bytes_));
    proto->set_allocator_name("gridflow");
  }

 private:
  const std::shared_ptr<const void> owner_;
  const AllocatorMemoryType memory_;
  const size_t bytes_;
};

}  // namespace

tensorflow::Tensor ViewOf(std::shared_ptr<const void> owner, AllocatorMemoryType memory, const void* data, size_t bytes,
                          tensorflow::DataType dtype, const tensorflow::TensorShape& shape) {
  tensorflow::core::RefCountPtr<tensorflow::TensorBuffer> buffer(
      new BorrowedBuffer(std::move(owner), memory, data, bytes));
  return tensorflow::Tensor(dtype, shape, std::move(buffer));
}

}  // namespace ops
}  // namespace gridflow
