// The text of a decimal.
#ifndef GRIDFLOW_OPS_DECIMAL_H_
#define GRIDFLOW_OPS_DECIMAL_H_

#include <cstdint>
#include <cstring>

namespace gridflow {
namespace ops {

// Enough for a sign, 39 digits of 128 bits, a point, and zeros up to any scale.
constexpr int kDecimalChars = 320;

// Writes the decimal whose 16 bytes (little endian, two's complement) stand at `value` with exactly `scale` digits
// after the point: 12.30, -0.05, 7. Returns how many characters that were.
inline size_t FormatDecimal(const uint8_t* value, int scale, char* out) {
  __int128 number;
  std::memcpy(&number, value, sizeof(number));
  // Negating as unsigned is right for the smallest number, too.
  unsigned __int128 rest = static_cast<unsigned __int128>(number);
  if (number < 0) rest = 0 - rest;
  char reversed[kDecimalChars];
  int size = 0;
  for (int digit = 0; rest != 0 || digit <= scale; ++digit) {
    if (digit == scale && scale > 0) reversed[size++] = '.';
    reversed[size++] = static_cast<char>('0' + static_cast<int>(rest % 10));
    rest /= 10;
  }
  if (number < 0) reversed[size++] = '-';
  for (int i = 0; i < size; ++i) out[i] = reversed[size - 1 - i];
  return static_cast<size_t>(size);
}

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_DECIMAL_H_
