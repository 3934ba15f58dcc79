// Searching and counting in bitmaps: validity and deletions (bit i % 8 of byte i / 8).
#ifndef GRIDFLOW_OPS_BITS_H_
#define GRIDFLOW_OPS_BITS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace gridflow {
namespace ops {

inline uint64_t LoadWord(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// The first bit of [begin, end) that is `value`; `end` if there is none. Reads no byte outside that range.
inline int64_t FindBit(const uint8_t* bits, int64_t begin, int64_t end, bool value) {
  const uint64_t flip = value ? 0 : ~uint64_t{0};
  int64_t i = begin;
  while (i < end) {
    if (i % 8 == 0) {
      for (; end - i >= 64; i += 64) {
        const uint64_t word = LoadWord(bits + i / 8) ^ flip;
        if (word != 0) return i + __builtin_ctzll(word);
      }
      if (i == end) return end;
    }
    const unsigned byte = static_cast<unsigned>((bits[i / 8] ^ flip) & 0xFF) >> (i % 8);
    if (byte != 0) return std::min<int64_t>(end, i + __builtin_ctz(byte));
    i += 8 - i % 8;
  }
  return end;
}

// How many bits of [begin, end) are 1.
inline int64_t CountBits(const uint8_t* bits, int64_t begin, int64_t end) {
  int64_t count = 0;
  int64_t i = begin;
  while (i < end) {
    if (i % 8 == 0 && end - i >= 64) {
      count += __builtin_popcountll(LoadWord(bits + i / 8));
      i += 64;
      continue;
    }
    const int64_t stop = std::min<int64_t>(end, i + 8 - i % 8);
    const unsigned mask = (1u << (stop - i)) - 1;
    count += __builtin_popcount((static_cast<unsigned>(bits[i / 8]) >> (i % 8)) & mask);
    i = stop;
  }
  return count;
}

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_BITS_H_
