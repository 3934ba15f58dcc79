#include "ops/gather.h"

#include <algorithm>
#include <cstring>

namespace gridflow {
namespace ops {
namespace {

// Copies of more than twice this are shared among threads, in pieces of this size.
constexpr int64_t kPieceBytes = 512 * 1024;
// Of each run that is fetched ahead; how it goes on, the processor sees by itself.
constexpr int64_t kBytesAhead = 256;

// `kWidth` is the width where it is known when this is compiled, else 0: a single number is then moved by one
// instruction instead of a call.
template <int kWidth>
void GatherOnOneThread(Runs runs, const std::vector<const uint8_t*>& bases, int64_t any_width, char* out) {
  const int64_t width = kWidth > 0 ? kWidth : any_width;
  const int64_t ahead = std::min(kBytesAhead, width);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i + kRunsAhead < runs.size()) {
      const Run& later = runs[i + kRunsAhead];
      const uint8_t* base = bases[later.segment];
      for (int64_t at = 0; base != nullptr && at < ahead; at += 64)
        __builtin_prefetch(base + later.begin * width + at);
    }
    const Run& run = runs[i];
    const uint8_t* base = bases[run.segment];
    if (base == nullptr) {
      out += run.count * width;
    } else if (kWidth > 0 && run.count == 1) {
      std::memcpy(out, base + run.begin * kWidth, kWidth);
      out += kWidth;
    } else {
      const int64_t size = run.count * width;
      std::memcpy(out, base + run.begin * width, static_cast<size_t>(size));
      out += size;
    }
  }
}

void GatherRuns(Runs runs, const std::vector<const uint8_t*>& bases, int64_t width, char* out) {
  switch (width) {
    case 1:
      return GatherOnOneThread<1>(runs, bases, width, out);
    case 2:
      return GatherOnOneThread<2>(runs, bases, width, out);
    case 4:
      return GatherOnOneThread<4>(runs, bases, width, out);
    case 8:
      return GatherOnOneThread<8>(runs, bases, width, out);
    default:
      return GatherOnOneThread<0>(runs, bases, width, out);
  }
}

// Pieces are cut where runs end, if these are short, else anywhere.
void GatherInPieces(const Workers& workers, Runs runs, const std::vector<const uint8_t*>& bases, int64_t width,
                    int64_t bytes, char* out) {
  // starts[i] is the first output byte of run i.
  std::vector<int64_t> starts(runs.size() + 1, 0);
  int64_t longest = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    starts[i + 1] = starts[i] + runs[i].count * width;
    longest = std::max(longest, runs[i].count * width);
  }
  ParallelFor(workers, (bytes + kPieceBytes - 1) / kPieceBytes, [&](int64_t piece) {
    int64_t at = piece * kPieceBytes;
    const int64_t stop = std::min(bytes, at + kPieceBytes);
    if (longest < kPieceBytes) {  // pieces end with runs
      const auto first = std::lower_bound(starts.begin(), starts.end() - 1, at) - starts.begin();
      const auto last = std::lower_bound(starts.begin(), starts.end() - 1, stop) - starts.begin();
      return GatherRuns(runs.subspan(first, last - first), bases, width, out + starts[first]);
    }
    size_t i = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), at) - starts.begin()) - 1;
    for (; at < stop; ++i) {
      const int64_t size = std::min(stop, starts[i + 1]) - at;
      const uint8_t* base = bases[runs[i].segment];
      if (base != nullptr && size > 0)
        std::memcpy(out + at, base + runs[i].begin * width + (at - starts[i]), static_cast<size_t>(size));
      at += size;
    }
  });
}

template <int kWidth>
void GatherList(const RowList& list, const std::vector<const uint8_t*>& bases, char* out) {
  const uint32_t* row = list.rows.data();
  for (const RowList::Part& part : list.parts) {
    if (const uint8_t* base = bases[part.segment])
      for (size_t i = 0; i < part.count; ++i)
        std::memcpy(out + i * kWidth, base + static_cast<size_t>(row[i]) * kWidth, kWidth);
    row += part.count;
    out += part.count * kWidth;
  }
}

// Returns whether it is a width for which a list is worth while.
bool GatherList(const RowList& list, const std::vector<const uint8_t*>& bases, int64_t width, char* out) {
  switch (width) {
    case 1:
      return GatherList<1>(list, bases, out), true;
    case 2:
      return GatherList<2>(list, bases, out), true;
    case 4:
      return GatherList<4>(list, bases, out), true;
    case 8:
      return GatherList<8>(list, bases, out), true;
    case 16:
      return GatherList<16>(list, bases, out), true;
    default:
      return false;
  }
}

}  // namespace

bool RowList::Set(Runs runs, int64_t count) {
  constexpr size_t kFewest = 64;
  if (runs.size() < kFewest || count > 4 * static_cast<int64_t>(runs.size())) return false;
  parts.clear();
  rows.resize(static_cast<size_t>(count));
  uint32_t* out = rows.data();
  for (const Run& run : runs) {
    if (parts.empty() || parts.back().segment != run.segment) parts.push_back({run.segment, 0});
    parts.back().count += static_cast<size_t>(run.count);
    for (int64_t i = 0; i < run.count; ++i) *out++ = static_cast<uint32_t>(run.begin + i);
  }
  return true;
}

void GatherFixed(const Workers& workers, Runs runs, const RowList* list, const std::vector<const uint8_t*>& bases,
                 int64_t width, char* out) {
  if (list != nullptr && GatherList(*list, bases, width, out)) return;
  int64_t bytes = 0;
  for (const Run& run : runs) bytes += run.count * width;
  if (workers.threads >= 2 && bytes >= 2 * kPieceBytes)
    return GatherInPieces(workers, runs, bases, width, bytes, out);
  GatherRuns(runs, bases, width, out);
}

}  // namespace ops
}  // namespace gridflow
