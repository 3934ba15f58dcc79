// CompressedCopy: columns of a segment that lie beside it compressed, for the way over the bus.
#ifndef GRIDFLOW_CUDA_COMPRESSED_H_
#define GRIDFLOW_CUDA_COMPRESSED_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "core/mapping.h"
#include "core/segment.h"
#include "gridflow/compressed_format.h"

namespace gridflow {
namespace cuda {

// A mapped file of gridflow/compressed_format.h. Immutable; any thread may use it.
class CompressedCopy {
 public:
  struct Column {
    const uint64_t* bounds;  // of blocks + 1
    const uint8_t* data;
    uint64_t raw_bytes, blocks, block_bytes;
  };

  // The copy beside a segment; null if there is none, or one that is damaged or another segment's.
  static std::shared_ptr<const CompressedCopy> Open(const Segment& segment);

  // Whether it has that column, whose values take so many bytes, undamaged: all of it is read to see that.
  bool Find(uint32_t column_id, uint64_t raw_bytes, Column* out) const;
  const std::shared_ptr<const Mapping>& mapping() const { return mapping_; }

 private:
  explicit CompressedCopy(std::shared_ptr<const Mapping> mapping) : mapping_(std::move(mapping)) {}
  bool Fits(const Segment& segment) const;
  const gf_compressed_header& header() const {
    return *reinterpret_cast<const gf_compressed_header*>(mapping_->data());
  }
  const gf_compressed_column* columns() const {
    return reinterpret_cast<const gf_compressed_column*>(mapping_->data() + sizeof(gf_compressed_header));
  }

  const std::shared_ptr<const Mapping> mapping_;
};

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_COMPRESSED_H_
