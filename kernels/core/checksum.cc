#include "core/checksum.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
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

// x^n modulo the polynomial, bits reflected, shifted as a product without carries of reflected numbers wants it.
constexpr uint64_t PowerOfX(int n) {
  uint32_t power = 0x80000000u;
  while (n--) power = (power >> 1) ^ ((power & 1) ? 0x82F63B78u : 0u);
  return uint64_t{power} << 1;
}

// The data is a polynomial, and its first part may be replaced by anything with the same remainder: folding multiplies
// 128 bits by what brings them so many bits further on, and adds them to those that stand there. After V. Gopal and
// others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009.
#define GF_FOLDS __attribute__((target("sse4.2,pclmul,avx2,vpclmulqdq")))

template <int kBits>
GF_FOLDS inline __m256i Fold(__m256i part, __m256i onto) {
  constexpr auto kLow = static_cast<int64_t>(PowerOfX(kBits + 32)), kHigh = static_cast<int64_t>(PowerOfX(kBits - 32));
  const __m256i by = _mm256_setr_epi64x(kLow, kHigh, kLow, kHigh);
  const __m256i moved = _mm256_xor_si256(_mm256_clmulepi64_epi128(part, by, 0x00), _mm256_clmulepi64_epi128(part, by, 0x11));
  return _mm256_xor_si256(moved, onto);
}

GF_FOLDS inline __m256i Load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// As HardwareCrc, several times as fast where there is much. Eight folds go on side by side, for one takes its time.
GF_FOLDS uint32_t FoldingCrc(uint32_t crc, const uint8_t* p, size_t n) {
  constexpr int kFolds = 8;
  constexpr size_t kStep = kFolds * sizeof(__m256i);
  if (n < 2 * kStep) return HardwareCrc(crc, p, n);
  __m256i part[kFolds];
  for (int i = 0; i < kFolds; ++i) part[i] = Load(p + i * sizeof(__m256i));
  part[0] = _mm256_xor_si256(part[0], _mm256_zextsi128_si256(_mm_cvtsi32_si128(static_cast<int>(crc))));
  for (p += kStep, n -= kStep; n >= kStep; p += kStep, n -= kStep) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kStep; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i + 4096), _MM_HINT_T0);
#pragma GCC unroll 8
    for (int i = 0; i < kFolds; ++i) part[i] = Fold<8 * kStep>(part[i], Load(p + i * sizeof(__m256i)));
  }
  for (int i = 1; i < kFolds; ++i) part[i] = Fold<256>(part[i - 1], part[i]);
  const __m256i last = part[kFolds - 1];
  const __m256i moved = Fold<128>(last, _mm256_permute2x128_si256(last, last, 0x01));
  const __m128i rest = _mm256_castsi256_si128(moved);  // the first half, moved onto the second
  uint64_t state = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(rest)));
  state = _mm_crc32_u64(state, static_cast<uint64_t>(_mm_extract_epi64(rest, 1)));
  return HardwareCrc(static_cast<uint32_t>(state), p, n);
}

const bool kFolding = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq");

__attribute__((target("sse4.2"))) void HardwareStripes(const uint8_t* p, size_t stripe, uint32_t* crc) {
  if (kFolding && stripe >= 1024) {
    for (int s = 0; s < kStripes; ++s) crc[s] = ~FoldingCrc(~0u, p + s * stripe, stripe);
    return;
  }
  uint64_t c[kStripes];
  for (auto& x : c) x = ~0u;
  for (size_t i = 0; i < stripe; i += 8) {
#pragma GCC unroll 8
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
