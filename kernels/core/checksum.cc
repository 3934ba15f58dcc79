#include "core/checksum.h"

#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace gridflow {
namespace {

constexpr int kStripes = 8;

struct Table {
  uint32_t entry[8][256];
  Table() {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0u);
      entry[0][i] = crc;
    }
    for (int t = 1; t < 8; ++t)
      for (uint32_t i = 0; i < 256; ++i)
        entry[t][i] = (entry[t - 1][i] >> 8) ^ entry[0][entry[t - 1][i] & 0xFF];
  }
};

// Eight table look-ups for eight bytes ("slicing by 8"), where there is no instruction.
uint32_t SoftwareCrc(uint32_t crc, const uint8_t* p, size_t n) {
  static const Table table;
  const auto& t = table.entry;
  while (n >= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    word ^= crc;
    crc = t[7][word & 0xFF] ^ t[6][(word >> 8) & 0xFF] ^ t[5][(word >> 16) & 0xFF] ^ t[4][(word >> 24) & 0xFF] ^
          t[3][(word >> 32) & 0xFF] ^ t[2][(word >> 40) & 0xFF] ^ t[1][(word >> 48) & 0xFF] ^ t[0][word >> 56];
    p += 8;
    n -= 8;
  }
  while (n--) crc = (crc >> 8) ^ t[0][(crc ^ *p++) & 0xFF];
  return crc;
}

void SoftwareStripes(const uint8_t* p, size_t stripe, uint32_t* crc) {
  for (int s = 0; s < kStripes; ++s) crc[s] = ~SoftwareCrc(~0u, p + s * stripe, stripe);
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t HardwareCrc(uint32_t crc, const uint8_t* p, size_t n) {
  uint64_t state = crc;
  while (n >= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    state = _mm_crc32_u64(state, word);
    p += 8;
    n -= 8;
  }
  crc = static_cast<uint32_t>(state);
  while (n--) crc = _mm_crc32_u8(crc, *p++);
  return crc;
}

__attribute__((target("sse4.2"))) void HardwareStripes(const uint8_t* p, size_t stripe, uint32_t* crc) {
  uint64_t c[kStripes];
  for (auto& x : c) x = ~0u;
  for (size_t i = 0; i < stripe; i += 8) {
    for (int s = 0; s < kStripes; ++s) {
      uint64_t word;
      std::memcpy(&word, p + s * stripe + i, 8);
      c[s] = _mm_crc32_u64(c[s], word);
    }
  }
  for (int s = 0; s < kStripes; ++s) crc[s] = ~static_cast<uint32_t>(c[s]);
}

const bool kHardware = __builtin_cpu_supports("sse4.2");
#elif defined(__ARM_FEATURE_CRC32)
uint32_t HardwareCrc(uint32_t crc, const uint8_t* p, size_t n) {
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    crc = __crc32cd(crc, word);
  }
  while (n--) crc = __crc32cb(crc, *p++);
  return crc;
}
void HardwareStripes(const uint8_t* p, size_t stripe, uint32_t* crc) {
  for (int s = 0; s < kStripes; ++s) crc[s] = ~HardwareCrc(~0u, p + s * stripe, stripe);
}
const bool kHardware = true;
#else
uint32_t HardwareCrc(uint32_t crc, const uint8_t* p, size_t n) { return SoftwareCrc(crc, p, n); }
void HardwareStripes(const uint8_t* p, size_t stripe, uint32_t* crc) { SoftwareStripes(p, stripe, crc); }
const bool kHardware = false;
#endif

}  // namespace

uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes) {
  const auto* p = static_cast<const uint8_t*>(data);
  return ~(kHardware ? HardwareCrc(~crc, p, bytes) : SoftwareCrc(~crc, p, bytes));
}

uint32_t BlockChecksum(const void* data, size_t bytes) {
  const auto* p = static_cast<const uint8_t*>(data);
  const size_t stripe = bytes / 64 * 8;
  uint32_t crc[kStripes];
  (kHardware ? HardwareStripes : SoftwareStripes)(p, stripe, crc);
  uint32_t total = Crc32c(0, crc, sizeof(crc));
  return Crc32c(total, p + kStripes * stripe, bytes - kStripes * stripe);
}

}  // namespace gridflow
