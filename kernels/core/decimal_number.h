// DecimalNumber: the float or double nearest to a decimal number.
#ifndef GRIDFLOW_CORE_DECIMAL_NUMBER_H_
#define GRIDFLOW_CORE_DECIMAL_NUMBER_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace gridflow {
namespace decimal_internal {

constexpr int kMostFraction = 27;  // 10^27 is the highest power of ten whose odd part, 5^27, has 64 bits

// 2^bits / 10^k, rounded down to 64 significant bits, the first of them set.
struct Reciprocal {
  uint64_t digits;
  int bits;
};

constexpr std::array<Reciprocal, kMostFraction + 1> Reciprocals() {
  std::array<Reciprocal, kMostFraction + 1> all = {};
  all[0] = {uint64_t{1} << 63, 63};
  uint64_t five = 1;  // 5^k
  for (int k = 1; k <= kMostFraction; ++k) {
    five *= 5;
    // The quotient of a power of two and 5^k, bit by bit until 64 of them are significant.
    uint64_t quotient = 0;
    unsigned __int128 rest = 1;
    int bits = 0;
    while (quotient >> 63 == 0) {
      rest <<= 1;
      ++bits;
      quotient <<= 1;
      if (rest >= five) {
        rest -= five;
        quotient |= 1;
      }
    }
    all[static_cast<size_t>(k)] = {quotient, bits + k};
  }
  return all;
}

inline constexpr std::array<Reciprocal, kMostFraction + 1> kReciprocals = Reciprocals();

}  // namespace decimal_internal

// The Number nearest to digits / 10^fraction; false, and nothing happens, where it takes more than 64 bits to tell which
// of two that is, which is so for about one in a hundred doubles, or `fraction` is above 27. What a division would have to be
// exact for is a product with a reciprocal of 64 bits: too small by less than two units of the product's upper half.
template <typename Number>
inline bool NearestTo(uint64_t digits, int fraction, Number* out) {
  using Bits = std::conditional_t<sizeof(Number) == 8, uint64_t, uint32_t>;
  constexpr int kMantissa = std::numeric_limits<Number>::digits;  // with the bit that is not stored
  constexpr int kBias = std::numeric_limits<Number>::max_exponent - 1;
  if (fraction < 0 || fraction > decimal_internal::kMostFraction) return false;
  if (digits == 0) {
    *out = 0;
    return true;
  }
  const int zeros = __builtin_clzll(digits);
  const decimal_internal::Reciprocal& by = decimal_internal::kReciprocals[static_cast<size_t>(fraction)];
  const auto product = static_cast<unsigned __int128>(digits << zeros) * by.digits;
  auto high = static_cast<uint64_t>(product >> 64);
  // The number is at least high * 2^exponent, and less than (high + 2) * 2^exponent.
  int exponent = 64 - zeros - by.bits;
  if (high >> 63 == 0) {
    if (high >= (uint64_t{1} << 63) - 2) return false;
    high = high << 1 | (static_cast<uint64_t>(product >> 63) & 1);
    --exponent;
  }
  constexpr int kDropped = 64 - kMantissa;
  constexpr uint64_t kHalf = uint64_t{1} << (kDropped - 1);
  const uint64_t dropped = high & ((uint64_t{1} << kDropped) - 1);
  if (dropped + 4 >= kHalf && dropped <= kHalf) return false;
  uint64_t mantissa = high >> kDropped;
  exponent += kDropped + kMantissa - 1;
  if (dropped > kHalf && ++mantissa == uint64_t{1} << kMantissa) {
    mantissa >>= 1;
    ++exponent;
  }
  const auto bits = static_cast<Bits>(static_cast<uint64_t>(exponent + kBias) << (kMantissa - 1) |
                                      (mantissa & ((uint64_t{1} << (kMantissa - 1)) - 1)));
  std::memcpy(out, &bits, sizeof(bits));
  return true;
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_DECIMAL_NUMBER_H_
