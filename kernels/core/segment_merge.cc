#include "core/segment_merge.h"

#include <unistd.h>

#include <algorithm>

#include "core/check.h"
#include "core/failpoint.h"
#include "core/merge_order.h"
#include "core/yielding.h"

namespace gridflow {

SegmentMerge::SegmentMerge(const std::string& folder, std::shared_ptr<const TableSnapshot> base,
                           const std::vector<int>& segments, bool durable)
    : path_(folder + "/merge.tmp"), base_(std::move(base)), durable_(durable) {
  for (int index : segments) {
    GF_DCHECK(index >= 0 && static_cast<size_t>(index) < base_->segments().size());
    inputs_.push_back({base_->segments()[static_cast<size_t>(index)], index});
  }
}

SegmentMerge::~SegmentMerge() {
  if (written_) ::unlink(path_.c_str());
}

bool SegmentMerge::Merges(uint64_t segment_id) const {
  return std::any_of(inputs_.begin(), inputs_.end(),
                     [&](const Input& input) { return input.ref.segment->id() == segment_id; });
}

Status SegmentMerge::Run(int threads, bool yielding) {
  if (!yielding) return Write(threads);
  Status status;
  Yielding([&] { status = Write(1); });
  return status;
}

Status SegmentMerge::Write(int threads) {
  std::vector<Source> sources;
  std::vector<SortedRun> runs;
  for (const Input& input : inputs_) {
    const Segment& segment = *input.ref.segment;
    GF_RETURN_IF_ERROR(segment.CheckAll());  // else what is damaged got a checksum of its own
    sources.push_back(base_->columns(input.index));
    const Deletions* deletions = input.ref.deletions.get();
    runs.push_back({segment.hashes(), segment.rows(), deletions != nullptr ? deletions->bits() : nullptr, nullptr});
  }
  GF_RETURN_IF_ERROR(MergeRuns(base_->schema(), sources, runs, &cancelled_, &keys_));
  if (keys_.order.empty()) return Status::Ok();
  SegmentSpec spec;
  spec.path = path_;
  spec.table_id = base_->manifest().table_id;
  spec.schema = &base_->schema();
  spec.durable = durable_;
  spec.threads = threads;
  spec.cancelled = &cancelled_;
  GF_RETURN_IF_ERROR(WriteUnsealed(spec, sources, keys_.order, keys_.hashes.data()));
  written_ = true;
  GF_FAILPOINT("merge.written");
  return Status::Ok();
}

bool SegmentMerge::CatchUp(const TableSnapshot& version) {
  for (uint32_t i = 0; i < inputs_.size(); ++i) {
    SegmentRef& known = inputs_[i].ref;
    const auto there = std::find_if(version.segments().begin(), version.segments().end(), [&](const SegmentRef& ref) {
      return ref.segment->id() == known.segment->id();
    });
    if (there == version.segments().end()) return false;
    if (there->deletions == known.deletions) continue;
    size_t at = 0;
    for (int64_t byte = 0; byte * 8 < known.segment->rows(); ++byte) {
      const uint8_t before = known.deletions != nullptr ? known.deletions->bits()[byte] : 0;
      unsigned fresh = there->deletions->bits()[byte] & ~before & 0xFFu;
      for (; fresh != 0; fresh &= fresh - 1) {
        const bool marked = MarkDeleted(i, byte * 8 + __builtin_ctz(fresh), &at);
        GF_DCHECK(marked);  // it was live, so it was written
        if (!marked) return false;
      }
    }
    known.deletions = there->deletions;
  }
  return true;
}

bool SegmentMerge::MarkDeleted(uint32_t input, int64_t row, size_t* at) {
  const HugeVector<uint64_t>& hashes = keys_.hashes;
  const uint64_t hash = inputs_[input].ref.segment->hashes()[row];
  size_t step = 1;  // by leaps, as rows that are deleted together may lie close together or far apart
  while (*at + step < hashes.size() && hashes[*at + step - 1] < hash) *at += step, step *= 2;
  const auto begin = hashes.begin() + static_cast<ptrdiff_t>(*at);
  const auto end = hashes.begin() + static_cast<ptrdiff_t>(std::min(hashes.size(), *at + step));
  *at = static_cast<size_t>(std::lower_bound(begin, end, hash) - hashes.begin());
  for (size_t i = *at; i < hashes.size() && hashes[i] == hash; ++i) {
    if (keys_.order[i].source != input || keys_.order[i].row != static_cast<uint32_t>(row)) continue;
    if (bits_.empty()) bits_.resize((hashes.size() + 7) / 8);
    bits_[i >> 3] |= static_cast<uint8_t>(1 << (i & 7));
    ++deleted_;
    return true;
  }
  return false;
}

}  // namespace gridflow
