// Searching, counting and spreading bitmaps: validity, deletions, booleans (bit i % 8 of byte i / 8); and bytes.
#ifndef GRIDFLOW_CORE_BITS_H_
#define GRIDFLOW_CORE_BITS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace gridflow {

inline uint64_t LoadWord(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// How many of the bytes are that one: as fast where there are many as where there are few.
inline size_t CountByte(const uint8_t* bytes, size_t size, uint8_t byte) {
  constexpr size_t kStep = 255;  // what one byte can count, so that the compiler adds up many bytes at a time
  size_t count = 0;
  for (size_t at = 0; at < size;) {
    uint8_t some = 0;
    for (const size_t stop = std::min(at + kStep, size); at < stop; ++at) some += bytes[at] == byte;
    count += some;
  }
  return count;
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

// Writes the bits of [begin, end) as bytes, 0 or 1. Reads no byte outside that range.
inline void SpreadBits(const uint8_t* bits, int64_t begin, int64_t end, uint8_t* out) {
  int64_t i = begin;
  while (i < end) {
    if (i % 8 == 0 && end - i >= 8) {
      // Eight copies of the byte, of each its own bit, moved to the lowest one by a carry.
      const uint64_t own = (bits[i / 8] * 0x0101010101010101u) & 0x8040201008040201u;
      const uint64_t bytes = ((own + 0x7F7F7F7F7F7F7F7Fu) >> 7) & 0x0101010101010101u;
      std::memcpy(out, &bytes, sizeof(bytes));
      i += 8, out += 8;
    } else {
      *out++ = (bits[i / 8] >> (i % 8)) & 1;
      ++i;
    }
  }
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_BITS_H_
