// CRC-32C (Castagnoli), and the block checksum of the persistent formats built of it.
#ifndef GRIDFLOW_CORE_CHECKSUM_H_
#define GRIDFLOW_CORE_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

namespace gridflow {

// CRC-32C of `bytes` bytes, continuing `crc` (0 to begin). Uses the SSE4.2 or ARMv8 instruction where there is one.
uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes);

// The checksum of a block or frame: the data is cut into eight stripes of floor(bytes / 64) * 8 bytes and a rest,
// and the result is the CRC-32C of the eight stripes' CRC-32Cs (little endian) followed by the rest. The stripes
// run side by side, which is several times as fast as one CRC over the whole. DO NOT CHANGE: persistent format.
uint32_t BlockChecksum(const void* data, size_t bytes);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_CHECKSUM_H_
