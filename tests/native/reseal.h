// Computes the checksums of a file anew, so that what was changed in it is met by the deeper checks.
#ifndef GRIDFLOW_TESTS_NATIVE_RESEAL_H_
#define GRIDFLOW_TESTS_NATIVE_RESEAL_H_

#include <algorithm>
#include <string>

#include "core/checksum.h"
#include "gridflow/log_format.h"
#include "gridflow/manifest_format.h"
#include "gridflow/segment_format.h"
#include "native/files.h"

namespace test {

// The CRC of bytes [0, bytes) with the four at 12, where every header has its own, as 0.
inline void ResealHeader(std::string* file, uint64_t bytes) {
  bytes = std::min<uint64_t>(bytes, file->size());
  StoreAt<uint32_t>(file, 12, 0);
  StoreAt<uint32_t>(file, 12, gridflow::Crc32c(0, file->data(), bytes));
}

// Does what can be done if the header itself makes no sense.
inline void ResealSegment(std::string* file) {
  const auto header = LoadAt<gf_segment_header>(*file, 0);
  const uint64_t begin = header.header_bytes, end = header.checksum_offset;
  if (begin <= end && end <= file->size()) {
    const uint64_t blocks = (end - begin + GF_BLOCK_BYTES - 1) / GF_BLOCK_BYTES;
    for (uint64_t i = 0; i < blocks; ++i) {
      const uint64_t from = begin + i * GF_BLOCK_BYTES, to = std::min<uint64_t>(from + GF_BLOCK_BYTES, end);
      StoreAt(file, end + 4 * i, gridflow::BlockChecksum(file->data() + from, to - from));
    }
    if (end + 4 * blocks + 4 <= file->size())
      StoreAt(file, end + 4 * blocks, gridflow::Crc32c(0, file->data() + end, 4 * blocks));
  }
  ResealHeader(file, header.header_bytes);
}

inline void ResealDeletions(std::string* file) {
  const size_t header = sizeof(gf_deletions_header);
  if (file->size() >= header)
    StoreAt(file, offsetof(gf_deletions_header, body_crc),
            gridflow::BlockChecksum(file->data() + header, file->size() - header));
  ResealHeader(file, header);
}

// A manifest or a catalog.
inline void ResealFrame(std::string* file) {
  const size_t header = sizeof(gf_frame_header);
  if (file->size() >= header) {
    StoreAt(file, offsetof(gf_frame_header, body_bytes), uint64_t{file->size() - header});
    StoreAt(file, offsetof(gf_frame_header, body_crc),
            gridflow::Crc32c(0, file->data() + header, file->size() - header));
  }
  ResealHeader(file, header);
}

inline void ResealRecord(std::string* file, size_t at) {
  auto record = LoadAt<gf_log_record>(*file, at);
  if (at + sizeof(record) > file->size() || record.bytes > file->size() - at - sizeof(record)) return;
  record.payload_crc = gridflow::Crc32c(0, file->data() + at + sizeof(record), record.bytes);
  StoreAt(file, at, record);
  const uint64_t place[2] = {LoadAt<uint64_t>(*file, offsetof(gf_log_header, seed)), at};
  const uint32_t crc = gridflow::Crc32c(0, file->data() + at, offsetof(gf_log_record, header_crc));
  StoreAt(file, at + offsetof(gf_log_record, header_crc), gridflow::Crc32c(crc, place, sizeof(place)));
}

inline size_t RecordEnd(const std::string& file, size_t at) {
  return at + sizeof(gf_log_record) + (LoadAt<gf_log_record>(file, at).bytes + 7) / 8 * 8;
}

inline void ResealLog(std::string* file) {
  ResealHeader(file, sizeof(gf_log_header));
  for (size_t at = sizeof(gf_log_header); at + sizeof(gf_log_record) <= file->size();) {
    const auto record = LoadAt<gf_log_record>(*file, at);
    if (record.lsn == 0 || record.bytes > file->size()) return;
    ResealRecord(file, at);
    at = RecordEnd(*file, at);
  }
}

}  // namespace test

#endif  // GRIDFLOW_TESTS_NATIVE_RESEAL_H_
