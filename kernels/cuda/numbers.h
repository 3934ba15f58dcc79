// Numbers as conversions read and make them, with the same bits on the processor and on the GPU. Every NaN that is made is
// the same one.
#ifndef GRIDFLOW_CUDA_NUMBERS_H_
#define GRIDFLOW_CUDA_NUMBERS_H_

#include "cuda/both.h"

namespace gridflow {
namespace cuda {

// IEEE 754's binary16.
struct Half {
  unsigned short bits;
};
// The upper half of a float.
struct BFloat {
  unsigned short bits;
};

#ifdef __CUDA_ARCH__

GF_BOTH float FromBits(unsigned int bits) { return __uint_as_float(bits); }
GF_BOTH unsigned int BitsOf(float value) { return __float_as_uint(value); }
GF_BOTH float ToFloat(Half number) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(number.bits));
  return value;
}
GF_BOTH void Round(float value, Half* out) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  out->bits = value == value ? bits : 0x7E00;
}

#else

GF_BOTH float FromBits(unsigned int bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}
GF_BOTH unsigned int BitsOf(float value) {
  unsigned int bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}
GF_BOTH float ToFloat(Half number) {
  const unsigned int sign = static_cast<unsigned int>(number.bits & 0x8000u) << 16;
  const unsigned int exponent = (number.bits >> 10) & 0x1Fu, fraction = number.bits & 0x3FFu;
  if (exponent == 0x1F) return FromBits(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return FromBits(sign | (exponent + 112) << 23 | fraction << 13);
  const float value = static_cast<float>(fraction) * 0x1p-24f;  // exact
  return sign != 0 ? -value : value;
}
GF_BOTH void Round(float value, Half* out) {
  const unsigned int bits = BitsOf(value), sign = (bits >> 16) & 0x8000u, size = bits & 0x7FFFFFFFu;
  unsigned int half;
  if (size > 0x7F800000u) {
    out->bits = 0x7E00;
    return;
  }
  if (size >= 0x477FF000u) {  // rounds to more than the largest
    half = 0x7C00;
  } else if (size >= 0x38800000u) {
    half = (size - 0x38000000u + 0xFFFu + ((size >> 13) & 1u)) >> 13;
  } else if (size < 0x33000000u) {
    half = 0;
  } else {  // becomes a denormal: units of 2^-24
    const unsigned int shift = 126 - (size >> 23), fraction = (size & 0x7FFFFFu) | 0x800000u;
    half = fraction >> shift;
    const unsigned int rest = fraction & ((1u << shift) - 1), middle = 1u << (shift - 1);
    if (rest > middle || (rest == middle && (half & 1u))) ++half;
  }
  out->bits = static_cast<unsigned short>(sign | half);
}

#endif

template <typename In>
GF_BOTH float ToFloat(In number) {
  return static_cast<float>(number);
}

GF_BOTH void Round(float value, float* out) { *out = value == value ? value : FromBits(0x7FC00000u); }
GF_BOTH void Round(float value, BFloat* out) {
  const unsigned int bits = BitsOf(value);
  out->bits = value == value ? static_cast<unsigned short>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16) : 0x7FC0;
}

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_NUMBERS_H_
