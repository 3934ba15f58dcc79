// Which small segments a new one takes over, so that a table has few of them however often it is written.
#ifndef GRIDFLOW_CORE_SMALL_SEGMENTS_H_
#define GRIDFLOW_CORE_SMALL_SEGMENTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gridflow {

// A file of fewer bytes is a small segment, unless the process says otherwise.
constexpr uint64_t kSmallBytes = 1 << 20;
// No edit leaves more small segments than that, if it adds one and there is room to move their rows.
constexpr size_t kMostSmall = 8;
// A new segment takes over those that have at most so many times its bytes, its own and what it has taken over already.
constexpr uint64_t kTakenOver = 2;

struct SmallSegment {
  uint64_t file_bytes;
  uint64_t live_bytes;  // of rows that are not deleted: what it costs to take it over
};

// The invariant: at most kMostSmall of a table's segments are files of fewer than `small` bytes. A merge in the background
// may leave one more, if what stays of a larger segment is small and others came in meanwhile: the next edit folds it.
bool FewAreSmall(const std::vector<SmallSegment>& segments, uint64_t small);

// The positions of the segments that a new one of `fresh` bytes takes over: the smallest first, as long as each is
// worth it or too many would stay. If there were at most kMostSmall, then sizes of those that stay are such that a row
// is moved about log2(small / fresh) times before its segment is not small any more.
std::vector<size_t> TakenOver(const std::vector<SmallSegment>& segments, uint64_t fresh, uint64_t small);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SMALL_SEGMENTS_H_
