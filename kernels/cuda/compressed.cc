#include "cuda/compressed.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "core/checksum.h"

namespace gridflow {
namespace cuda {
namespace {

constexpr uint64_t kMostBlockBytes = 1 << 20;  // as DecodeLz4Block() takes them

}  // namespace

std::shared_ptr<const CompressedCopy> CompressedCopy::Open(const Segment& segment) {
  std::string path = segment.path();
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return nullptr;
  path.replace(dot, std::string::npos, ".lz4");
  std::shared_ptr<const Mapping> mapping;
  // Where the storage cannot give all of it, whoever read it unasked would be ended by a signal.
  if (!Mapping::Open(path, &mapping).ok() || !mapping->Populate(0, mapping->size()).ok()) return nullptr;
  std::shared_ptr<const CompressedCopy> copy(new CompressedCopy(std::move(mapping)));
  return copy->Fits(segment) ? copy : nullptr;
}

bool CompressedCopy::Fits(const Segment& segment) const {
  if (mapping_->size() < sizeof(gf_compressed_header)) return false;
  const gf_compressed_header& it = header();
  if (it.magic != GF_COMPRESSED_MAGIC || it.version != GF_COMPRESSED_VERSION || it.file_bytes != mapping_->size() ||
      it.segment_id != segment.id() || it.table_id != segment.table_id() ||
      it.rows != static_cast<uint64_t>(segment.rows()) || it.block_bytes == 0 || it.block_bytes > kMostBlockBytes)
    return false;
  const uint64_t room = (mapping_->size() - sizeof(gf_compressed_header)) / sizeof(gf_compressed_column);
  if (it.column_count > room) return false;
  std::vector<uint8_t> head(mapping_->data(), reinterpret_cast<const uint8_t*>(columns() + it.column_count));
  std::memset(head.data() + offsetof(gf_compressed_header, header_crc), 0, sizeof(it.header_crc));
  return BlockChecksum(head.data(), head.size()) == it.header_crc;
}

bool CompressedCopy::Find(uint32_t column_id, uint64_t raw_bytes, Column* out) const {
  const gf_compressed_header& it = header();
  const gf_compressed_column* end = columns() + it.column_count;
  const gf_compressed_column* found =
      std::find_if(columns(), end, [&](const gf_compressed_column& column) { return column.column_id == column_id; });
  if (found == end || found->raw_bytes != raw_bytes) return false;
  const uint64_t blocks = (raw_bytes + it.block_bytes - 1) / it.block_bytes, size = mapping_->size();
  const uint64_t bounds_bytes = (blocks + 1) * sizeof(uint64_t);
  if (found->offset % GF_COMPRESSED_ALIGNMENT != 0 || found->offset > size || bounds_bytes > size - found->offset ||
      found->data_bytes > size - found->offset - bounds_bytes)
    return false;
  const uint8_t* begin = mapping_->data() + found->offset;
  if (BlockChecksum(begin, bounds_bytes + found->data_bytes) != found->checksum) return false;
  *out = {reinterpret_cast<const uint64_t*>(begin), begin + bounds_bytes, raw_bytes, blocks, it.block_bytes};
  if (out->bounds[0] != 0 || out->bounds[blocks] != found->data_bytes) return false;
  for (uint64_t i = 0; i < blocks; ++i) {
    if (out->bounds[i] > out->bounds[i + 1] || out->bounds[i + 1] - out->bounds[i] > it.block_bytes) return false;
  }
  return true;
}

}  // namespace cuda
}  // namespace gridflow
