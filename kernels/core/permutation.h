// Permutation: the numbers 0 to n - 1 in a random order, any place of which can be asked for, in constant memory.
#ifndef GRIDFLOW_CORE_PERMUTATION_H_
#define GRIDFLOW_CORE_PERMUTATION_H_

#include <cstdint>
#include <vector>

#include "core/check.h"

namespace gridflow {

// Mixes all bits of x: the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
inline uint64_t Mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// The i-th number of the random sequence of a seed.
inline uint64_t RandomAt(uint64_t seed, uint64_t i) { return Mix64(seed + (i + 1) * 0x9E3779B97F4A7C15ull); }

// As good as uniform among 0 to n - 1, of a random number.
inline uint64_t Below(uint64_t n, uint64_t random) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(random) * n) >> 64);
}

// Up to kListed numbers are shuffled and listed (4 MiB), so that every order is possible. More go through a Feistel network over
// the next power of two; what falls outside of 0 to n - 1 goes through it again until it falls inside (cycle walking,
// Black and Rogaway: "Ciphers with arbitrary finite domains"), less than twice on average. Immutable.
class Permutation {
 public:
  static constexpr uint64_t kListed = 1 << 20;

  Permutation(uint64_t n, uint64_t seed) : n_(n) {
    if (n <= kListed) {
      listed_.resize(n);
      for (uint64_t i = 0; i < n; ++i) {
        const uint64_t other = Below(i + 1, RandomAt(seed, i));
        listed_[i] = listed_[other];
        listed_[other] = static_cast<uint32_t>(i);
      }
      return;
    }
    int bits = 1;
    while (bits < 64 && (uint64_t{1} << bits) < n) ++bits;
    low_bits_ = bits / 2;
    low_mask_ = (uint64_t{1} << low_bits_) - 1;
    high_mask_ = (uint64_t{1} << (bits - low_bits_)) - 1;
    for (int round = 0; round < kRounds; ++round) keys_[round] = RandomAt(seed, static_cast<uint64_t>(round));
  }

  // `i` must be below n; so is what comes out.
  uint64_t operator()(uint64_t i) const {
    GF_DCHECK(i < n_);
    if (n_ <= kListed) return listed_[i];
    do {
      uint64_t low = i & low_mask_, high = i >> low_bits_;
      for (int round = 0; round < kRounds; round += 2) {
        low ^= Fold(high ^ keys_[round]) & low_mask_;
        high ^= Fold(low ^ keys_[round + 1]) & high_mask_;
      }
      i = high << low_bits_ | low;
    } while (i >= n_);
    return i;
  }

 private:
  static constexpr int kRounds = 6;

  // Both halves of a product, folded: mixes well enough for a round, in one multiplication.
  static uint64_t Fold(uint64_t x) {
    const auto product = static_cast<unsigned __int128>(x) * 0xA0761D6478BD642Full;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  uint64_t n_;
  int low_bits_ = 0;
  uint64_t low_mask_ = 0, high_mask_ = 0;
  uint64_t keys_[kRounds] = {};
  std::vector<uint32_t> listed_;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_PERMUTATION_H_
