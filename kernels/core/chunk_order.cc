#include "core/chunk_order.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/bits.h"
#include "core/row_codec.h"

namespace gridflow {
namespace {

bool IsAbsent(const OrderPart& part, int64_t row) {
  return part.absent != nullptr && ((part.absent[row >> 3] >> (row & 7)) & 1) != 0;
}

struct Entry {
  uint64_t hash;
  uint32_t part, number;
};

// Compares rows whose hashes are the same, by their keys: it happens by chance once in a table of billions of rows.
class Keys {
 public:
  explicit Keys(const Schema& schema, const std::vector<OrderPart>& parts) : schema_(schema), parts_(parts) {}

  bool Before(size_t part, int64_t row, size_t other_part, int64_t other_row) {
    key_.clear();
    other_key_.clear();
    Encode(part, row, &key_);
    Encode(other_part, other_row, &other_key_);
    return key_ < other_key_;
  }
  bool Before(const Entry& a, const Entry& b) { return Before(a.part, RowOf(a), b.part, RowOf(b)); }
  int64_t RowOf(const Entry& entry) const {
    return parts_[entry.part].begin + (entry.number - parts_[entry.part].number);
  }
  const Status& status() const { return status_; }

 private:
  void Encode(size_t part, int64_t row, std::string* key) {
    if (!status_.ok()) return;
    const std::vector<ColumnView>& columns = *parts_[part].columns;
    for (const uint32_t position : schema_.key) {
      status_ = parts_[part].segment->CheckRows(columns[position], row, row + 1);
      if (!status_.ok()) return;
    }
    status_ = EncodeKey(schema_, columns, row, key);
  }

  const Schema& schema_;
  const std::vector<OrderPart>& parts_;
  std::string key_, other_key_;  // scratch
  Status status_;
};

// The rows of all parts but one, in order.
std::vector<Entry> MergeOthers(const std::vector<OrderPart>& parts, size_t base, Keys* keys) {
  std::vector<Entry> entries, merged;
  std::vector<size_t> ends;  // of lists that are sorted, in `entries`
  for (size_t p = 0; p < parts.size(); ++p) {
    if (p == base) continue;
    const OrderPart& part = parts[p];
    const uint64_t* hashes = part.segment->hashes();
    for (int64_t row = part.begin; row < part.end; ++row) {
      if (part.absent != nullptr) row = FindBit(part.absent, row, part.end, false);
      if (row < part.end)
        entries.push_back({hashes[row], static_cast<uint32_t>(p), part.number + static_cast<uint32_t>(row - part.begin)});
    }
    if (entries.size() > (ends.empty() ? 0 : ends.back())) ends.push_back(entries.size());
  }
  const auto before = [keys](const Entry& a, const Entry& b) {
    return a.hash < b.hash || (a.hash == b.hash && keys->Before(a, b));
  };
  while (ends.size() > 1) {  // each two neighbours become one
    merged.resize(entries.size());
    std::vector<size_t> merged_ends;
    size_t begin = 0;
    for (size_t i = 0; i < ends.size(); i += 2) {
      const size_t middle = ends[i], end = i + 1 < ends.size() ? ends[i + 1] : middle;
      const auto at = [&](size_t place) { return entries.begin() + static_cast<std::ptrdiff_t>(place); };
      std::merge(at(begin), at(middle), at(middle), at(end), merged.begin() + static_cast<std::ptrdiff_t>(begin), before);
      merged_ends.push_back(end);
      begin = end;
    }
    entries.swap(merged);
    ends.swap(merged_ends);
  }
  return entries;
}

// Writes the numbers of rows of a part, in their order.
template <typename Number>
Number* WriteNumbers(const OrderPart& part, int64_t begin, int64_t end, Number* out) {
  const auto number = [&](int64_t row) { return static_cast<Number>(part.number + static_cast<uint32_t>(row - part.begin)); };
  const auto write = [&](int64_t row, int64_t stop) {
    const uint32_t first = part.number + static_cast<uint32_t>(row - part.begin);
    for (int64_t i = 0; i < stop - row; ++i) out[i] = static_cast<Number>(first + static_cast<uint32_t>(i));
    out += stop - row;
  };
  if (part.absent == nullptr) {
    write(begin, end);
    return out;
  }
  int64_t row = begin;
  while (row < end) {
    if (row % 8 != 0 || end - row < 64) {
      if (!IsAbsent(part, row)) *out++ = number(row);
      ++row;
      continue;
    }
    uint64_t present = ~LoadWord(part.absent + row / 8);
    if (present == ~uint64_t{0}) {
      write(row, row + 64);
    } else {
      for (; present != 0; present &= present - 1) *out++ = number(row + __builtin_ctzll(present));
    }
    row += 64;
  }
  return out;
}

}  // namespace

template <typename Number>
Status OrderRows(const Schema& schema, const std::vector<OrderPart>& parts, size_t base, Number* out) {
  Keys keys(schema, parts);
  const OrderPart& most = parts[base];
  const uint64_t* hashes = most.segment->hashes();
  int64_t at = most.begin;
  for (const Entry& entry : MergeOthers(parts, base, &keys)) {
    // Nearest rows first, as the next place is mostly close: strides that double, then a bisection.
    int64_t place = at, stride = 1;
    while (stride <= most.end - place && hashes[place + stride - 1] < entry.hash) place += stride, stride *= 2;
    place = std::lower_bound(hashes + place, hashes + std::min(place + stride, most.end), entry.hash) - hashes;
    for (; place < most.end && hashes[place] == entry.hash; ++place)
      if (!IsAbsent(most, place) && keys.Before(entry.part, keys.RowOf(entry), base, place)) break;
    out = WriteNumbers(most, at, place, out);
    at = place;
    *out++ = static_cast<Number>(entry.number);
  }
  WriteNumbers(most, at, most.end, out);
  return keys.status();
}

template Status OrderRows(const Schema&, const std::vector<OrderPart>&, size_t, uint16_t*);
template Status OrderRows(const Schema&, const std::vector<OrderPart>&, size_t, uint32_t*);

}  // namespace gridflow
