#include "core/small_segments.h"

#include <algorithm>

namespace gridflow {
namespace {

std::vector<size_t> Small(const std::vector<SmallSegment>& segments, uint64_t small) {
  std::vector<size_t> positions;
  for (size_t i = 0; i < segments.size(); ++i)
    if (segments[i].file_bytes < small) positions.push_back(i);
  return positions;
}

}  // namespace

bool FewAreSmall(const std::vector<SmallSegment>& segments, uint64_t small) {
  return Small(segments, small).size() <= kMostSmall;
}

std::vector<size_t> TakenOver(const std::vector<SmallSegment>& segments, uint64_t fresh, uint64_t small) {
  if (fresh >= small) return {};
  std::vector<size_t> positions = Small(segments, small);
  std::sort(positions.begin(), positions.end(), [&](size_t a, size_t b) {
    return segments[a].live_bytes != segments[b].live_bytes ? segments[a].live_bytes < segments[b].live_bytes : a < b;
  });
  size_t taken = 0;
  for (uint64_t bytes = fresh; taken < positions.size(); ++taken) {
    const uint64_t next = segments[positions[taken]].live_bytes;
    const bool too_many = positions.size() - taken + 1 > kMostSmall;  // the new one counts, too
    if (next > kTakenOver * bytes && !too_many) break;
    bytes += next;
  }
  positions.resize(taken);
  return positions;
}

}  // namespace gridflow
