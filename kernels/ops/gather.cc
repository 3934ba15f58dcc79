#include "ops/gather.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace gridflow {
namespace ops {
namespace {

// Copies of more than twice this are shared among threads, in pieces of this size.
constexpr int64_t kPieceBytes = 512 * 1024;
// Of each run that is fetched ahead; how it goes on, the processor sees by itself.
constexpr int64_t kBytesAhead = 256;
// Of rows that are read one by one so many are fetched ahead. The processor has about as many instructions under way, but
// each segment is a page of its own, and what waits for a page's address waits in line.
constexpr size_t kRowsAhead = 32;

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

// `at` says where the i-th row is.
template <int kWidth, typename At>
void CopyRows(size_t count, const At& at, char* out) {
  const size_t ahead = std::min(count, kRowsAhead);
  for (size_t i = 0; i < count - ahead; ++i) {
    __builtin_prefetch(at(i + ahead));
    std::memcpy(out + i * kWidth, at(i), kWidth);
  }
  for (size_t i = count - ahead; i < count; ++i) std::memcpy(out + i * kWidth, at(i), kWidth);
}

template <int kWidth>
void GatherRows(const RowList& list, const std::vector<const uint8_t*>& bases, char* out) {
  const uint32_t* rows = list.rows.data();
  const size_t count = list.rows.size();
  if (list.segment >= 0) {
    const uint8_t* base = bases[static_cast<size_t>(list.segment)];
    const auto at = [=](size_t i) { return base + static_cast<size_t>(rows[i]) * kWidth; };
    return CopyRows<kWidth>(count, at, out);
  }
  const int32_t* segments = list.segments.data();
  const uint8_t* const* of = bases.data();  // for all that the compiler knows, `out` could be part of the vector
  const auto at = [=](size_t i) { return of[segments[i]] + static_cast<size_t>(rows[i]) * kWidth; };
  CopyRows<kWidth>(count, at, out);
}

}  // namespace

void GatherList(const RowList& list, const std::vector<const uint8_t*>& bases, int64_t width, char* out) {
  switch (width) {
    case 1:
      return GatherRows<1>(list, bases, out);
    case 2:
      return GatherRows<2>(list, bases, out);
    case 4:
      return GatherRows<4>(list, bases, out);
    case 8:
      return GatherRows<8>(list, bases, out);
    default:
      GF_DCHECK(width == 16);
      return GatherRows<16>(list, bases, out);
  }
}

void GatherFixed(const Workers& workers, Runs runs, const std::vector<const uint8_t*>& bases, int64_t width, char* out) {
  int64_t bytes = 0;
  for (const Run& run : runs) bytes += run.count * width;
  if (workers.threads >= 2 && bytes >= 2 * kPieceBytes)
    return GatherInPieces(workers, runs, bases, width, bytes, out);
  GatherRuns(runs, bases, width, out);
}

}  // namespace ops
}  // namespace gridflow
