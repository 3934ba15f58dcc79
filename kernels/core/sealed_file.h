// What names the content of a sealed file.
#ifndef GRIDFLOW_CORE_SEALED_FILE_H_
#define GRIDFLOW_CORE_SEALED_FILE_H_

#include <cstdint>
#include <string>

#include "core/status.h"
#include "gridflow/segment_format.h"

namespace gridflow {

// Of a segment: the checksum of its header, which covers schema and directory, and the checksum of its checksums. Two
// segments that have the same one, and as many bytes, have the same bytes.
inline uint64_t SegmentFingerprint(const gf_segment_header& header, uint32_t last_checksum) {
  return uint64_t{header.header_crc} << 32 | last_checksum;
}

// Of a deletion bitmap or a list: the checksum of its header, which covers that of its body, and that.
inline uint64_t DeletionsFingerprint(const gf_deletions_header& header) {
  return uint64_t{header.header_crc} << 32 | header.body_crc;
}

// How many bytes a segment, a bitmap or a list of deleted rows has, and its fingerprint. It reads a few bytes and believes
// them. Corrupt: it is none of these.
Status ReadFingerprint(const std::string& path, uint64_t* bytes, uint64_t* fingerprint);

// Whether the bytes of a deletion bitmap or a list of deleted rows are those that the fingerprint tells.
bool AreWholeDeletions(const uint8_t* data, uint64_t bytes, uint64_t fingerprint);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEALED_FILE_H_
