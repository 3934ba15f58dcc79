#include "core/row_plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/bits.h"

namespace gridflow {
namespace {

constexpr int64_t kRankStep = 4096;

}  // namespace

Status NormalizePartitions(const std::vector<int64_t>& ranges, int64_t partitions,
                           std::vector<std::pair<int64_t, int64_t>>* out) {
  if (ranges.size() % 2 != 0) return Status::Invalid("partitions must be pairs of begin and end");
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (size_t i = 0; i < ranges.size(); i += 2) {
    if (ranges[i] < 0 || ranges[i] > ranges[i + 1] || ranges[i + 1] > partitions)
      return Status::Invalid("no partitions " + std::to_string(ranges[i]) + " to " + std::to_string(ranges[i + 1] - 1) +
                             ": there are " + std::to_string(partitions) + ", 0 to " + std::to_string(partitions - 1));
    if (ranges[i] < ranges[i + 1]) pairs.emplace_back(ranges[i], ranges[i + 1]);
  }
  std::sort(pairs.begin(), pairs.end());
  for (const auto& pair : pairs) {
    if (!out->empty() && pair.first <= out->back().second)
      out->back().second = std::max(out->back().second, pair.second);
    else
      out->push_back(pair);
  }
  return Status::Ok();
}

Status RowPlan::Make(const TableSnapshot& snapshot, const std::vector<int64_t>& ranges, RowPlan* out) {
  *out = RowPlan();
  const uint32_t partitions = snapshot.manifest().partitions;
  if (ranges.empty())
    out->partitions_ = {{0, partitions}};
  else
    GF_RETURN_IF_ERROR(NormalizePartitions(ranges, partitions, &out->partitions_));
  const std::vector<SegmentRef>& segments = snapshot.segments();
  for (size_t i = 0; i < segments.size(); ++i) {
    const int index = static_cast<int>(i);
    if (ranges.empty()) {  // without a look at the hashes
      out->Add(segments[i], index, 0, segments[i].segment->rows());
      continue;
    }
    for (const auto& pair : out->partitions_) {
      int64_t begin, end;
      GF_RETURN_IF_ERROR(segments[i].segment->PartitionRows(
          static_cast<uint32_t>(pair.first), static_cast<uint32_t>(pair.second), partitions, &begin, &end));
      out->Add(segments[i], index, begin, end);
    }
  }
  return Status::Ok();
}

RowPlan RowPlan::Among(const TableSnapshot& snapshot, const std::vector<RowRange>& rows) const {
  RowPlan plan;
  plan.partitions_ = partitions_;
  size_t first = 0;  // both lie in the order of segments and rows
  for (const Span& span : spans_) {
    const auto before = [&](const RowRange& range) {
      return range.segment < span.segment || (range.segment == span.segment && range.end <= span.begin);
    };
    while (first < rows.size() && before(rows[first])) ++first;
    for (size_t i = first; i < rows.size() && rows[i].segment == span.segment; ++i)
      plan.Add(snapshot.segments()[static_cast<size_t>(span.segment)], span.segment, std::max(span.begin, rows[i].begin),
               std::min(span.begin + span.length, rows[i].end));
  }
  return plan;
}

void RowPlan::Add(const SegmentRef& ref, int segment, int64_t begin, int64_t end) {
  if (begin >= end) return;
  Span span;
  span.segment = segment;
  span.begin = begin;
  span.length = end - begin;
  span.first = rows_;
  int64_t live = span.length;
  if (ref.deletions != nullptr) {
    const uint8_t* bits = ref.deletions->bits();
    live = 0;
    for (int64_t row = begin; row < end; row += kRankStep) {
      const int64_t stop = std::min(end, row + kRankStep);
      span.ranks.push_back(live);
      live += (stop - row) - CountBits(bits, row, stop);
    }
    if (live == span.length) {
      span.ranks.clear();
    } else {
      span.deletions = bits;
    }
  }
  if (live == 0) return;
  rows_ += live;
  spans_.push_back(std::move(span));
}

void RowPlan::All(std::vector<Run>* runs) const {
  Cursor cursor;
  Take(rows_, &cursor, runs);
}

RowPlan::Cursor RowPlan::Seek(int64_t ordinal) const {
  Cursor cursor;
  ordinal = std::clamp<int64_t>(ordinal, 0, rows_);  // it may come from a checkpoint: believe nothing
  cursor.ordinal = ordinal;
  if (ordinal == rows_) {
    cursor.span = spans_.size();
    return cursor;
  }
  const auto after = std::upper_bound(spans_.begin(), spans_.end(), ordinal,
                                      [](int64_t value, const Span& span) { return value < span.first; });
  const Span& span = *(after - 1);
  cursor.span = static_cast<size_t>(after - 1 - spans_.begin());
  int64_t rank = ordinal - span.first;  // live rows of the span to pass over
  if (span.deletions == nullptr) {
    cursor.offset = rank;
    return cursor;
  }
  const auto step = std::upper_bound(span.ranks.begin(), span.ranks.end(), rank) - 1;
  rank -= *step;
  int64_t row = span.begin + (step - span.ranks.begin()) * kRankStep;
  const int64_t end = span.begin + span.length;
  for (;;) {
    row = FindBit(span.deletions, row, end, false);
    const int64_t dead = FindBit(span.deletions, row, end, true);
    if (rank < dead - row) break;
    rank -= dead - row;
    row = dead;
  }
  cursor.offset = row + rank - span.begin;
  return cursor;
}

void RowPlan::Find(const std::vector<int64_t>& ordinals, std::vector<Run>* runs) const {
  size_t at = 0;  // the span of the ordinal before, which is mostly that of the next one
  for (const int64_t ordinal : ordinals) {
    const bool there = ordinal >= spans_[at].first && (at + 1 == spans_.size() || ordinal < spans_[at + 1].first);
    int64_t row;
    if (there && spans_[at].deletions == nullptr) {
      row = spans_[at].begin + (ordinal - spans_[at].first);
    } else {
      const Cursor cursor = Seek(ordinal);
      at = cursor.span;
      row = spans_[at].begin + cursor.offset;
    }
    const int segment = spans_[at].segment;
    if (!runs->empty() && runs->back().segment == segment && runs->back().begin + runs->back().count == row)
      ++runs->back().count;
    else
      runs->push_back({segment, row, 1});
  }
}

int64_t RowPlan::Take(int64_t count, Cursor* cursor, std::vector<Run>* runs) const {
  int64_t taken = 0;
  while (taken < count && cursor->span < spans_.size()) {
    const Span& span = spans_[cursor->span];
    const int64_t end = span.begin + span.length;
    int64_t row = span.begin + cursor->offset;
    if (span.deletions != nullptr) row = FindBit(span.deletions, row, end, false);
    int64_t stop = row + std::min(end - row, count - taken);
    if (span.deletions != nullptr) stop = FindBit(span.deletions, row, stop, true);
    if (row < stop) runs->push_back({span.segment, row, stop - row});
    taken += stop - row;
    cursor->offset = stop - span.begin;
    if (stop == end) {
      ++cursor->span;
      cursor->offset = 0;
    }
  }
  cursor->ordinal += taken;
  return taken;
}

}  // namespace gridflow
