// A field of CSV text as a value: one function for each kind, of the spelling that programs write (csv_block.h).
#ifndef GRIDFLOW_CORE_CSV_FIELDS_H_
#define GRIDFLOW_CORE_CSV_FIELDS_H_

#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/decimal_number.h"
#include "gridflow/schema_format.h"

namespace gridflow {

// Each function reads from *at, which is before `end`, and leaves *at behind what it has read; false: something else
// stands there. What follows is for the caller to look at.

constexpr int kMostWordDigits = 19;  // which 64 bits hold

inline bool IsDigit(uint8_t c) { return static_cast<uint8_t>(c - '0') < 10; }

// The number that eight digits are, the first of them in the lowest byte.
inline uint32_t EightDigits(uint64_t digits) {
  // Neighbours are joined: of eight digits four numbers of two, of these two of four, of these one.
  constexpr uint64_t kPairs = 0x000000FF000000FFull;
  digits = digits * 10 + (digits >> 8);
  return static_cast<uint32_t>(
      ((digits & kPairs) * 0x000F424000000064ull + ((digits >> 16) & kPairs) * 0x0000271000000001ull) >> 32);
}

// Digits, after those of *value; *count is how many there are.
inline void ReadDigits(const uint8_t** at, const uint8_t* end, uint64_t* value, int* count) {
  static constexpr uint32_t kPowers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
  const uint8_t* p = *at;
  uint64_t sum = *value;
  // Eight bytes at a time, and without a branch that depends on where among them the digits end.
  while (end - p >= 8) {
    uint64_t eight;
    std::memcpy(&eight, p, 8);
    const uint64_t digits = eight - 0x3030303030303030ull;
    const uint64_t others = (digits | (eight + 0x4646464646464646ull)) & 0x8080808080808080ull;
    const int here = others == 0 ? 8 : __builtin_ctzll(others) / 8;
    if (here == 0) break;
    sum = sum * kPowers[here] + EightDigits(digits << (8 - here) * 8);
    p += here;
    if (here < 8) break;
  }
  if (end - p < 8)
    for (; p < end && IsDigit(*p); ++p) sum = sum * 10 + (*p - '0');
  *count = static_cast<int>(p - *at);
  *value = sum;
  *at = p;
}

template <typename Number>
inline bool ReadInteger(const uint8_t** at, const uint8_t* end, Number* out) {
  const bool negative = std::is_signed_v<Number> && **at == '-';
  *at += negative;
  uint64_t value = 0;
  int count;
  ReadDigits(at, end, &value, &count);
  if (count == 0 || count > kMostWordDigits) return false;
  const uint64_t most = static_cast<uint64_t>(std::numeric_limits<Number>::max()) + (negative ? 1 : 0);
  if (value > most) return false;
  *out = static_cast<Number>(negative ? 0 - value : value);
  return true;
}

template <typename Number>
inline bool ReadFloat(const uint8_t** at, const uint8_t* end, Number* out) {
  constexpr int kMostPlaces = sizeof(Number) == 8 ? 250 : 30;  // far from what is infinite, or has fewer bits
  const uint8_t* const begin = *at;
  const bool negative = *begin == '-';
  *at += negative;
  uint64_t digits = 0;
  int whole, part = 0, exponent = 0;
  ReadDigits(at, end, &digits, &whole);
  if (whole == 0) return false;
  if (*at < end && **at == '.') {
    ++*at;
    ReadDigits(at, end, &digits, &part);
    if (part == 0) return false;
  }
  if (*at < end && (**at | 0x20) == 'e') {
    ++*at;
    if (*at == end) return false;
    const bool below = **at == '-';
    *at += below || **at == '+';
    uint64_t power = 0;
    int count;
    ReadDigits(at, end, &power, &count);
    if (count == 0 || count > 3) return false;
    exponent = below ? -static_cast<int>(power) : static_cast<int>(power);
  }
  if (whole + part <= kMostWordDigits && NearestTo(digits, part - exponent, out)) {
    if (negative) *out = -*out;
    return true;
  }
  if (whole > kMostWordDigits || whole + exponent > kMostPlaces || part - exponent > kMostPlaces) return false;
  const auto* text = reinterpret_cast<const char*>(begin);
  const auto result = std::from_chars(text, reinterpret_cast<const char*>(*at), *out);
  return result.ec == std::errc() && result.ptr == reinterpret_cast<const char*>(*at);
}

// A number of exactly `count` digits.
inline bool ReadExactly(const uint8_t** at, const uint8_t* end, int count, int* out) {
  if (end - *at < count) return false;
  int value = 0;
  for (int i = 0; i < count; ++i, ++*at) {
    if (!IsDigit(**at)) return false;
    value = value * 10 + (**at - '0');
  }
  *out = value;
  return true;
}

inline bool ReadMark(const uint8_t** at, const uint8_t* end, uint8_t mark) {
  if (*at == end || **at != mark) return false;
  ++*at;
  return true;
}

// Days since 1970 of a day that there is, of the years 1 to 9999.
inline bool ReadDate(const uint8_t** at, const uint8_t* end, int32_t* out) {
  int year, month, day;
  if (!ReadExactly(at, end, 4, &year) || !ReadMark(at, end, '-') || !ReadExactly(at, end, 2, &month) ||
      !ReadMark(at, end, '-') || !ReadExactly(at, end, 2, &day))
    return false;
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > kDays[month - 1] + (month == 2 && leap ? 1 : 0)) return false;
  // Years begin in March, so that a leap day is a year's last; an era has 400 of them. (H. Hinnant, chrono-compatible
  // low-level date algorithms.)
  const int shifted = year - (month <= 2 ? 1 : 0), era = shifted / 400, of_era = shifted % 400;
  const int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  *out = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
  return true;
}

// Units since 1970; of nanoseconds only of the years in which there is one for every moment.
inline bool ReadTimestamp(const uint8_t** at, const uint8_t* end, gf_unit unit, int64_t* out) {
  static constexpr int kFraction[] = {0, 3, 6, 9};  // by gf_unit
  static constexpr int32_t kFirst = -106751, kLast = 106750;
  int32_t day;
  int hour, minute, second;
  if (!ReadDate(at, end, &day) || (unit == GF_NANOSECOND && (day < kFirst || day > kLast))) return false;
  if (*at == end || (**at != ' ' && **at != 'T')) return false;
  ++*at;
  if (!ReadExactly(at, end, 2, &hour) || !ReadMark(at, end, ':') || !ReadExactly(at, end, 2, &minute) ||
      !ReadMark(at, end, ':') || !ReadExactly(at, end, 2, &second) || hour > 23 || minute > 59 || second > 59)
    return false;
  int64_t value = int64_t{day} * 86400 + hour * 3600 + minute * 60 + second;
  uint64_t fraction = 0;
  int digits = 0;
  if (*at < end && **at == '.') {
    ++*at;
    ReadDigits(at, end, &fraction, &digits);
    if (digits == 0 || digits > kFraction[unit]) return false;
  }
  for (int i = 0; i < kFraction[unit]; ++i) value *= 10;
  for (; digits < kFraction[unit]; ++digits) fraction *= 10;
  *out = value + static_cast<int64_t>(fraction);
  return true;
}

// One of the words that COPY takes for a BOOLEAN (csv_columns.py).
inline bool ReadBool(const uint8_t** at, const uint8_t* end, bool* out) {
  static constexpr const char* kWords[] = {"1", "0", "true", "false", "t", "f", "TRUE", "FALSE", "True", "False"};
  const uint8_t* p = *at;
  while (p < end && (IsDigit(*p) || static_cast<uint8_t>((*p | 0x20) - 'a') < 26)) ++p;
  const auto bytes = static_cast<size_t>(p - *at);
  for (size_t i = 0; i < sizeof(kWords) / sizeof(kWords[0]); ++i) {
    if (std::strlen(kWords[i]) != bytes || std::memcmp(kWords[i], *at, bytes) != 0) continue;
    *out = i % 2 == 0;
    *at = p;
    return true;
  }
  return false;
}

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_CSV_FIELDS_H_
