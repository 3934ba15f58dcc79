// The checksum of a ring's record: what both ends compute alike.
#ifndef GRIDFLOW_CORE_RING_CHECKSUM_H_
#define GRIDFLOW_CORE_RING_CHECKSUM_H_

#include <cstddef>

#include "core/checksum.h"
#include "gridflow/ring_format.h"

namespace gridflow {

inline uint32_t RingChecksum(const gf_ring_record& record, const void* request) {
  const uint32_t crc = Crc32c(0, &record.room, offsetof(gf_ring_record, crc) - offsetof(gf_ring_record, room));
  return record.bytes == 0 ? crc : Crc32c(crc, request, record.bytes);
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_RING_CHECKSUM_H_
