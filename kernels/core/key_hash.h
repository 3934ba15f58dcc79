// The key hash: XXH64 with seed 0 of a key's encoded bytes (log_format.h).
//
// DO NOT CHANGE: this is part of the persistent format.
// Algorithm: "XXH64", Y. Collet, xxHash fast digest algorithm, specification 0.1.1.
#ifndef GRIDFLOW_CORE_KEY_HASH_H_
#define GRIDFLOW_CORE_KEY_HASH_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/check.h"

namespace gridflow {
namespace hash_internal {

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87ull;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Full;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9ull;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63ull;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5ull;

inline uint64_t Rotate(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }
inline uint64_t Round(uint64_t lane, uint64_t input) { return Rotate(lane + input * kPrime2, 31) * kPrime1; }
template <typename T>
inline T Load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

}  // namespace hash_internal

inline uint64_t KeyHash(const void* key, size_t bytes) {
  using namespace hash_internal;
  const auto* p = static_cast<const uint8_t*>(key);
  const uint8_t* end = p + bytes;
  uint64_t h;
  if (bytes >= 32) {
    uint64_t lane[4] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
    for (; end - p >= 32; p += 32)
      for (int i = 0; i < 4; ++i) lane[i] = Round(lane[i], Load<uint64_t>(p + 8 * i));
    h = Rotate(lane[0], 1) + Rotate(lane[1], 7) + Rotate(lane[2], 12) + Rotate(lane[3], 18);
    for (uint64_t l : lane) h = (h ^ Round(0, l)) * kPrime1 + kPrime4;
  } else {
    h = kPrime5;
  }
  h += bytes;
  for (; end - p >= 8; p += 8) h = Rotate(h ^ Round(0, Load<uint64_t>(p)), 27) * kPrime1 + kPrime4;
  if (end - p >= 4) {
    h = Rotate(h ^ (Load<uint32_t>(p) * kPrime1), 23) * kPrime2 + kPrime3;
    p += 4;
  }
  for (; p < end; ++p) h = Rotate(h ^ (*p * kPrime5), 11) * kPrime1;
  h = (h ^ (h >> 33)) * kPrime2;
  h = (h ^ (h >> 29)) * kPrime3;
  return h ^ (h >> 32);
}

// The partition of a key hash, of `partitions` in all.
inline uint32_t PartitionOf(uint64_t hash, uint32_t partitions) {
  GF_DCHECK(partitions > 0);
  return static_cast<uint32_t>((static_cast<unsigned __int128>(hash) * partitions) >> 64);
}

// The smallest key hash of a partition; `partition` may equal `partitions` (then the result means "past the end",
// and *past_end is set, as 2^64 does not fit).
inline uint64_t PartitionStart(uint32_t partition, uint32_t partitions, bool* past_end) {
  *past_end = partition >= partitions;
  if (*past_end) return ~0ull;
  const unsigned __int128 scaled = static_cast<unsigned __int128>(partition) << 64;
  return static_cast<uint64_t>((scaled + partitions - 1) / partitions);
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_KEY_HASH_H_
