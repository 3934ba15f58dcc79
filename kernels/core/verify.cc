// Segment's checks of what rows say: every byte of it, or just the offsets of a column.
#include <algorithm>
#include <string>

#include "core/checksum.h"
#include "core/key_hash.h"
#include "core/row_codec.h"
#include "core/segment.h"

namespace gridflow {
namespace {

// Offsets must rise from 0 to the limit; nested columns likewise.
bool OffsetsRise(const ColumnView& column) {
  if (column.offsets != nullptr) {
    int64_t start, end;
    for (int64_t row = 0; row < column.length; ++row)
      if (!CheckedRange(column, row, &start, &end)) return false;
  }
  return std::all_of(column.children.begin(), column.children.end(), OffsetsRise);
}

}  // namespace

Status Segment::CheckOffsets(int position) const {
  if (offsets_checked_[position].load(std::memory_order_relaxed)) return Status::Ok();
  if (!OffsetsRise(columns_[position]))
    return Status::Corrupt(path(), -1, "column " + schema_.columns[position].type.name + " has impossible offsets");
  offsets_checked_[position].store(true, std::memory_order_relaxed);
  return Status::Ok();
}

Status Segment::Verify() const {
  const uint8_t* file = mapping_->data();
  const uint64_t begin = header_.header_bytes, end = header_.checksum_offset;
  const uint64_t blocks = (end - begin + GF_BLOCK_BYTES - 1) / GF_BLOCK_BYTES;
  const uint8_t* sums = file + end;
  uint32_t expected;
  std::memcpy(&expected, sums + 4 * blocks, 4);
  if (Crc32c(0, sums, 4 * blocks) != expected)
    return Status::Corrupt(path(), static_cast<int64_t>(end), "the checksum of the checksums does not match");
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t from = begin + i * GF_BLOCK_BYTES, to = std::min<uint64_t>(from + GF_BLOCK_BYTES, end);
    std::memcpy(&expected, sums + 4 * i, 4);
    if (BlockChecksum(file + from, to - from) != expected)
      return Status::Corrupt(path(), static_cast<int64_t>(from),
                             "the checksum of the " + std::to_string(to - from) + " bytes from there does not match");
  }
  for (size_t i = 0; i < columns_.size(); ++i) GF_RETURN_IF_ERROR(CheckOffsets(static_cast<int>(i)));
  std::string key;
  for (int64_t row = 0; row < rows(); ++row) {
    key.clear();
    GF_RETURN_IF_ERROR(EncodeKey(schema_, columns_, row, &key));
    if (KeyHash(key.data(), key.size()) != hashes_[row])
      return Status::Corrupt(path(), static_cast<int64_t>(buffers_[0].offset + 8 * row),
                             "a hash that is not its key's");
    if (row > 0 && hashes_[row] < hashes_[row - 1])
      return Status::Corrupt(path(), static_cast<int64_t>(buffers_[0].offset + 8 * row), "key hashes out of order");
  }
  return Status::Ok();
}

}  // namespace gridflow
