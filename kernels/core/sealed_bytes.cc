#include "core/sealed_bytes.h"

#include <algorithm>
#include <cstring>

#include "core/checksum.h"
#include "gridflow/segment_format.h"

namespace gridflow {
namespace {

template <typename Header>
uint32_t HeaderChecksum(Header header, const uint8_t* rest, size_t bytes) {
  header.header_crc = 0;
  const uint32_t crc = Crc32c(0, &header, sizeof(header));
  return Crc32c(crc, rest, bytes);
}

Status ReadSegment(const std::string& name, const uint8_t* data, size_t bytes, SealedHead* out) {
  gf_segment_header header;
  if (bytes < sizeof(header)) return Status::Corrupt(name, static_cast<int64_t>(bytes), "the header is cut off");
  std::memcpy(&header, data, sizeof(header));
  if (header.version != GF_SEGMENT_VERSION) return Status::Version(name, header.version, GF_SEGMENT_VERSION);
  if (header.header_bytes < sizeof(header) || header.header_bytes > header.checksum_offset ||
      header.checksum_offset > header.file_bytes || header.rows == 0 || header.rows > GF_MAX_SEGMENT_ROWS)
    return Status::Corrupt(name, 16, "impossible sizes");
  const uint64_t blocks = (header.checksum_offset - header.header_bytes + GF_BLOCK_BYTES - 1) / GF_BLOCK_BYTES;
  if (header.file_bytes - header.checksum_offset != 4 * (blocks + 1))
    return Status::Corrupt(name, 80, "the checksums lie outside the file");
  if (bytes >= header.header_bytes &&
      HeaderChecksum(header, data + sizeof(header), header.header_bytes - sizeof(header)) != header.header_crc)
    return Status::Corrupt(name, 12, "the header's checksum does not match");
  out->is_segment = true;
  out->head_bytes = header.header_bytes;
  out->file_bytes = header.file_bytes;
  out->rows = header.rows;
  out->table_id = header.table_id;
  out->segment_id = header.segment_id;
  out->header_crc = header.header_crc;
  return Status::Ok();
}

Status ReadDeletions(const std::string& name, const uint8_t* data, size_t bytes, SealedHead* out) {
  gf_deletions_header header;
  if (bytes < sizeof(header)) return Status::Corrupt(name, static_cast<int64_t>(bytes), "the header is cut off");
  std::memcpy(&header, data, sizeof(header));
  if (header.version != GF_DELETIONS_VERSION) return Status::Version(name, header.version, GF_DELETIONS_VERSION);
  if (HeaderChecksum(header, nullptr, 0) != header.header_crc)
    return Status::Corrupt(name, 12, "the header's checksum does not match");
  if (header.rows > GF_MAX_SEGMENT_ROWS || header.deleted > header.rows)
    return Status::Corrupt(name, 16, "impossible number of rows");
  out->head_bytes = sizeof(header);
  out->rows = header.rows;
  out->deleted = header.deleted;
  out->segment_id = header.segment_id;
  out->header_crc = header.header_crc;
  out->bitmap_id = header.bitmap_id;
  out->body_crc = header.body_crc;
  return Status::Ok();
}

}  // namespace

Status SealedHead::Read(const std::string& name, const uint8_t* data, size_t bytes, SealedHead* out) {
  uint64_t magic = 0;
  if (bytes >= sizeof(magic)) std::memcpy(&magic, data, sizeof(magic));
  *out = SealedHead();
  if (magic == GF_SEGMENT_MAGIC) return ReadSegment(name, data, bytes, out);
  if (magic == GF_DELETIONS_MAGIC || magic == GF_DELETED_ROWS_MAGIC) return ReadDeletions(name, data, bytes, out);
  return Status::Corrupt(name, 0, "this is neither a segment nor a file of deleted rows");
}

Status Renumber(const std::string& name, uint32_t table_id, uint64_t segment_id, uint64_t bitmap_id,
                std::string* head) {
  SealedHead read;
  const auto* data = reinterpret_cast<const uint8_t*>(head->data());
  GF_RETURN_IF_ERROR(SealedHead::Read(name, data, head->size(), &read));
  if (head->size() < read.head_bytes)
    return Status::Corrupt(name, static_cast<int64_t>(head->size()), "the header is cut off");
  if (read.is_segment) {
    gf_segment_header header;
    std::memcpy(&header, data, sizeof(header));
    header.table_id = table_id;
    header.segment_id = segment_id;
    header.header_crc = HeaderChecksum(header, data + sizeof(header), header.header_bytes - sizeof(header));
    std::memcpy(&(*head)[0], &header, sizeof(header));
  } else {
    gf_deletions_header header;
    std::memcpy(&header, data, sizeof(header));
    header.segment_id = segment_id;
    header.bitmap_id = bitmap_id;
    header.header_crc = HeaderChecksum(header, nullptr, 0);
    std::memcpy(&(*head)[0], &header, sizeof(header));
  }
  return Status::Ok();
}

Status CheckSealed(const std::string& name, const uint8_t* data, size_t bytes) {
  SealedHead head;
  GF_RETURN_IF_ERROR(SealedHead::Read(name, data, bytes, &head));
  if (!head.is_segment) {
    if (BlockChecksum(data + head.head_bytes, bytes - head.head_bytes) != head.body_crc)
      return Status::Corrupt(name, static_cast<int64_t>(head.head_bytes), "the checksum of the deleted rows does not match");
    return Status::Ok();
  }
  if (bytes != head.file_bytes)
    return Status::Corrupt(name, static_cast<int64_t>(bytes),
                           bytes < head.file_bytes ? "the file is cut off" : "there are bytes after the end");
  gf_segment_header header;
  std::memcpy(&header, data, sizeof(header));
  const uint8_t* sums = data + header.checksum_offset;
  const uint64_t blocks = (header.checksum_offset - header.header_bytes + GF_BLOCK_BYTES - 1) / GF_BLOCK_BYTES;
  uint32_t expected;
  std::memcpy(&expected, sums + 4 * blocks, 4);
  if (Crc32c(0, sums, 4 * blocks) != expected)
    return Status::Corrupt(name, static_cast<int64_t>(header.checksum_offset),
                           "the checksum of the checksums does not match");
  for (uint64_t block = 0; block < blocks; ++block) {
    const uint64_t from = header.header_bytes + block * GF_BLOCK_BYTES;
    const uint64_t size = std::min<uint64_t>(GF_BLOCK_BYTES, header.checksum_offset - from);
    std::memcpy(&expected, sums + 4 * block, 4);
    if (BlockChecksum(data + from, size) != expected)
      return Status::Corrupt(name, static_cast<int64_t>(from),
                             "block " + std::to_string(block) + ": the checksum of the " + std::to_string(size) +
                                 " bytes from there does not match");
  }
  return Status::Ok();
}

}  // namespace gridflow
