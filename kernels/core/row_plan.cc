#include "core/row_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "core/bits.h"
#include "core/chunk_order.h"
#include "core/key_hash.h"

namespace gridflow {
namespace {

// So many rows make a chunk, at most and about: few enough for numbers of two bytes, and to be put in order at once when
// one of them is asked for; many enough that there are few chunks.
constexpr int64_t kChunkRows = 32768;
constexpr int64_t kMostInChunk = kChunkRows * 64;  // those included that are not read
constexpr int kHintBits = 10;
constexpr uint64_t kNarrow = uint64_t{1} << 16, kWide = uint64_t{1} << 32;  // numbers that two and four bytes can be
// What the rows of chunks without numbers have instead of them, once their hashes are checked.
constexpr uint8_t kNoNumbers = 0;

void Append(int segment, int64_t begin, int64_t count, size_t first, std::vector<Run>* runs) {
  if (runs->size() > first && runs->back().segment == segment && runs->back().begin + runs->back().count == begin)
    runs->back().count += count;
  else
    runs->push_back({segment, begin, count});
}

// Whether there are so many runs that rows are better read one by one.
template <typename Number>
bool AreShort(const Number* numbers, int64_t count) {
  constexpr int64_t kShort = 16;  // rows
  int64_t runs = 1;
  for (int64_t i = 1; i < count; ++i) runs += uint32_t{numbers[i]} != uint32_t{numbers[i - 1]} + 1;
  return runs * kShort > count;
}

}  // namespace

void RowList::AppendTo(std::vector<Run>* runs) const {
  const size_t first = runs->size();
  for (size_t i = 0; i < rows.size(); ++i) Append(segment >= 0 ? segment : segments[i], rows[i], 1, first, runs);
}

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

int64_t RowPlan::Source::Count(int64_t first, int64_t last) const {
  return last - first - (absent == nullptr ? 0 : CountBits(absent, first, last));
}

Status RowPlan::Make(std::shared_ptr<const TableSnapshot> snapshot, const std::vector<int64_t>& ranges,
                     std::shared_ptr<const RowPlan>* out) {
  std::shared_ptr<RowPlan> plan(new RowPlan);
  const int64_t partitions = snapshot->manifest().partitions;
  if (ranges.empty())
    plan->partitions_ = {{0, partitions}};
  else
    GF_RETURN_IF_ERROR(NormalizePartitions(ranges, partitions, &plan->partitions_));
  plan->sources_.resize(snapshot->segments().size());
  for (size_t i = 0; i < plan->sources_.size(); ++i) {
    const SegmentRef& ref = snapshot->segments()[i];
    plan->sources_[i].end = ref.segment->rows();
    if (ref.deletions != nullptr && ref.deletions->deleted() > 0) plan->sources_[i].absent = ref.deletions->bits();
  }
  plan->snapshot_ = std::move(snapshot);
  GF_RETURN_IF_ERROR(plan->Fill());
  *out = std::move(plan);
  return Status::Ok();
}

RowPlan::~RowPlan() {
  for (const Chunk& chunk : chunks_)
    if (chunk.width > 0) delete[] chunk.numbers.at.load(std::memory_order_relaxed);
}

std::shared_ptr<RowPlan> RowPlan::Empty() const {
  std::shared_ptr<RowPlan> plan(new RowPlan);
  plan->snapshot_ = snapshot_;
  plan->partitions_ = partitions_;
  plan->sources_.resize(sources_.size());
  return plan;
}

Status RowPlan::Among(const std::vector<RowRange>& rows, std::shared_ptr<const RowPlan>* out) const {
  std::shared_ptr<RowPlan> plan = Empty();
  for (size_t i = 0; i < rows.size();) {
    const int segment = rows[i].segment;
    size_t last = i;
    while (last + 1 < rows.size() && rows[last + 1].segment == segment) ++last;
    const Source& whole = sources_[static_cast<size_t>(segment)];
    Source& part = plan->sources_[static_cast<size_t>(segment)];
    part.begin = std::max(whole.begin, rows[i].begin);
    part.end = std::max(part.begin, std::min(whole.end, rows[last].end));
    part.absent = whole.absent;
    part.owned = whole.owned;
    if (last > i && part.begin < part.end) {  // with gaps
      const auto bytes = static_cast<size_t>((part.end + 7) / 8);
      auto bits = std::make_shared<std::vector<uint8_t>>(bytes);
      if (whole.absent != nullptr) std::memcpy(bits->data(), whole.absent, bytes);
      for (size_t r = i; r < last; ++r)
        for (int64_t row = std::max(rows[r].end, part.begin); row < std::min(rows[r + 1].begin, part.end); ++row)
          (*bits)[static_cast<size_t>(row >> 3)] |= static_cast<uint8_t>(1 << (row & 7));
      part.absent = bits->data();
      part.owned = std::move(bits);
    }
    i = last + 1;
  }
  GF_RETURN_IF_ERROR(plan->Fill());
  *out = std::move(plan);
  return Status::Ok();
}

Status RowPlan::Chosen(const int64_t* numbers, int64_t count, std::shared_ptr<const RowPlan>* out) const {
  for (int64_t i = 0; i < count; ++i)
    if (numbers[i] < (i == 0 ? 0 : numbers[i - 1] + 1) || numbers[i] >= rows_)
      return Status::Invalid("no row " + std::to_string(numbers[i]) + " at place " + std::to_string(i) + ": there are " +
                             std::to_string(rows_) + ", whose numbers rise");
  std::shared_ptr<RowPlan> plan = Empty();
  std::vector<std::shared_ptr<std::vector<uint8_t>>> bits(sources_.size());
  const int64_t* next = numbers;
  const int64_t* const end = numbers + count;
  int64_t first = 0;  // number of the run's first row
  VisitLying([&](const Run& run) {
    const auto segment = static_cast<size_t>(run.segment);
    const int64_t shift = run.begin - first;  // from a number to a row
    first += run.count;
    if (next == end || *next >= first) return;
    Source& part = plan->sources_[segment];
    if (bits[segment] == nullptr) {
      bits[segment] = std::make_shared<std::vector<uint8_t>>(
          static_cast<size_t>((snapshot_->segments()[segment].segment->rows() + 7) / 8), uint8_t{0xFF});
      part.begin = *next + shift;
    }
    uint8_t* absent = bits[segment]->data();
    for (; next != end && *next < first; ++next) {
      const int64_t row = *next + shift;
      absent[row >> 3] &= static_cast<uint8_t>(~(1 << (row & 7)));
    }
    part.end = next[-1] + shift + 1;
  });
  for (size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == nullptr) continue;
    plan->sources_[i].absent = bits[i]->data();
    plan->sources_[i].owned = std::move(bits[i]);
  }
  GF_RETURN_IF_ERROR(plan->Fill());
  *out = std::move(plan);
  return Status::Ok();
}

Status RowPlan::Chosen(const std::vector<std::pair<const uint8_t*, size_t>>& bits,
                       std::shared_ptr<const RowPlan>* out) const {
  if (bits.size() != extents_.size())
    return Status::Invalid("bits of " + std::to_string(bits.size()) + " pieces, and there are " +
                           std::to_string(extents_.size()));
  std::shared_ptr<RowPlan> plan = Empty();
  std::shared_ptr<std::vector<uint8_t>> absent;  // of the extent's segment
  for (size_t i = 0; i < extents_.size(); ++i) {
    const Extent& extent = extents_[i];
    const int64_t begin = extent.begin / 8, end = (extent.end + 7) / 8;  // bytes
    if (bits[i].second != static_cast<size_t>(end - begin))
      return Status::Invalid(std::to_string(bits[i].second) + " bytes of bits at place " + std::to_string(i) +
                             ", and there are " + std::to_string(end - begin));
    const auto segment = static_cast<size_t>(extent.segment);
    const Source& whole = sources_[segment];
    Source& part = plan->sources_[segment];
    if (i == 0 || extents_[i - 1].segment != extent.segment) {
      absent = std::make_shared<std::vector<uint8_t>>(
          static_cast<size_t>((snapshot_->segments()[segment].segment->rows() + 7) / 8), uint8_t{0xFF});
      part.begin = extent.begin;
      part.absent = absent->data();
      part.owned = absent;
    }
    part.end = extent.end;
    for (int64_t at = begin; at < end; ++at) {
      auto there = static_cast<unsigned>(bits[i].first[at - begin]);
      if (at == begin) there &= 0xFFu << (extent.begin % 8);
      if (at == extent.end / 8) there &= (1u << (extent.end % 8)) - 1;
      if (whole.absent != nullptr) there &= ~static_cast<unsigned>(whole.absent[at]);
      (*absent)[static_cast<size_t>(at)] &= static_cast<uint8_t>(~there);
    }
  }
  GF_RETURN_IF_ERROR(plan->Fill());
  *out = std::move(plan);
  return Status::Ok();
}

void RowPlan::Extents(std::vector<Run>* runs) const {
  for (const Extent& extent : extents_) runs->push_back({extent.segment, extent.begin, extent.end - extent.begin});
}

Status RowPlan::Fill() {
  for (const auto& range : partitions_)
    GF_RETURN_IF_ERROR(AddRange(static_cast<uint32_t>(range.first), static_cast<uint32_t>(range.second)));
  std::stable_sort(extents_.begin(), extents_.end(),
                   [](const Extent& a, const Extent& b) { return a.segment < b.segment; });
  if (!extents_.empty() && extents_.front().segment == extents_.back().segment) only_segment_ = extents_[0].segment;
  chunks_.emplace_back();
  chunks_.back().first = rows_;
  chunks_.back().slices = static_cast<uint32_t>(slices_.size());
  size_t chunk = 0;
  for (int64_t ordinal = 0; ordinal < rows_; ordinal += int64_t{1} << kHintBits) {
    while (chunks_[chunk + 1].first <= ordinal) ++chunk;
    hints_.push_back(static_cast<uint32_t>(chunk));
  }
  hints_.push_back(static_cast<uint32_t>(chunks_.size() - 1));
  return Status::Ok();
}

Status RowPlan::AddRange(uint32_t first, uint32_t last) {
  const uint32_t partitions = snapshot_->manifest().partitions;
  const bool whole = first == 0 && last == partitions;
  std::vector<Extent> extents;
  int64_t rows = 0;
  for (size_t i = 0; i < sources_.size(); ++i) {
    const Source& source = sources_[i];
    int64_t begin = source.begin, end = source.end;
    if (begin < end && !whole) {  // the whole segment, without a look at its hashes
      int64_t low, high;
      GF_RETURN_IF_ERROR(
          snapshot_->segments()[i].segment->PartitionRows(first, last, partitions, &low, &high));
      begin = std::max(begin, low);
      end = std::min(end, high);
    }
    if (begin >= end) continue;
    const int64_t live = source.Count(begin, end);
    if (live == 0) continue;
    rows += live;
    extents.push_back({static_cast<int>(i), begin, end});
  }
  extents_.insert(extents_.end(), extents.begin(), extents.end());
  bool past_end;
  const uint64_t low = PartitionStart(first, partitions, &past_end);
  const uint64_t high = PartitionStart(last, partitions, &past_end);
  if (extents.size() == 1) {
    AddByRows(extents[0], rows);
  } else if (!extents.empty()) {
    GF_RETURN_IF_ERROR(FetchHashes(extents));
    AddByHashes(extents, low, past_end ? ~uint64_t{0} : high - 1, rows);
  }
  return Status::Ok();
}

// Has the hashes come that are missing, those of all segments at once.
Status RowPlan::FetchHashes(const std::vector<Extent>& extents) const {
  const auto segment_of = [this](const Extent& extent) -> const Segment& {
    return *snapshot_->segments()[static_cast<size_t>(extent.segment)].segment;
  };
  for (const Extent& extent : extents)
    if (segment_of(extent).partial())
      segment_of(extent).WillNeed(segment_of(extent).hashes() + extent.begin,
                                  static_cast<uint64_t>(extent.end - extent.begin) * sizeof(uint64_t));
  for (const Extent& extent : extents)
    if (segment_of(extent).partial()) GF_RETURN_IF_ERROR(segment_of(extent).CheckHashes(extent.begin, extent.end));
  return Status::Ok();
}

// Of one segment, whose rows come as they lie.
void RowPlan::AddByRows(const Extent& extent, int64_t live) {
  int64_t step = extent.end - extent.begin;
  if (live < step) step = std::max<int64_t>(kChunkRows, step / (live / kChunkRows + 1) + 1);
  for (int64_t begin = extent.begin; begin < extent.end; begin += step) {
    const int64_t end = std::min(extent.end, begin + step);
    const Slice slice = {extent.segment, static_cast<uint32_t>(begin), static_cast<uint32_t>(end), 0};
    AddChunk(&slice, &slice + 1, true);
  }
}

// `first` and `last` are the least and the greatest hash that there may be.
void RowPlan::AddByHashes(const std::vector<Extent>& extents, uint64_t first, uint64_t last, int64_t live) {
  // Chunks are as many hashes wide as keep their rows, as hashes are uniform, under kChunkRows: a power of two.
  int shift = 64;
  // And few enough rows that are not read, which are gone through, too.
  int64_t all = 0;
  for (const Extent& extent : extents) all += extent.end - extent.begin;
  const auto fits = [&](int64_t rows, int64_t most, int bits) {
    return rows <= most || (static_cast<unsigned __int128>(rows) << bits) / (static_cast<unsigned __int128>(last - first) + 1) <=
                               static_cast<unsigned __int128>(most);
  };
  while (shift > 0 && !(fits(live, kChunkRows, shift) && fits(all, kMostInChunk, shift))) --shift;
  const auto chunk_of = [&](uint64_t hash) {
    return shift == 64 ? uint64_t{0} : (std::max(hash, first) >> shift) - (first >> shift);
  };
  const uint64_t count = chunk_of(last) + 1;
  struct Placed {
    uint64_t chunk;
    Slice slice;
  };
  std::vector<Placed> placed;
  for (const Extent& extent : extents) {
    const Segment& segment = *snapshot_->segments()[static_cast<size_t>(extent.segment)].segment;
    const int64_t usual = (extent.end - extent.begin) / static_cast<int64_t>(count);
    uint64_t chunk = 0;
    for (int64_t row = extent.begin; row < extent.end;) {
      // Damaged hashes may say anything; each row comes once even so, and Order() will find them.
      chunk = std::min(std::max(chunk, chunk_of(segment.hashes()[row])), count - 1);
      int64_t end = extent.end;
      if (chunk + 1 < count) {
        const uint64_t bound = ((first >> shift) + chunk + 1) << shift;
        end = segment.LowerBoundNear(std::min(row + usual, extent.end - 1), bound);
        end = std::clamp(end, row + 1, extent.end);
      }
      placed.push_back({chunk, {extent.segment, static_cast<uint32_t>(row), static_cast<uint32_t>(end), 0}});
      row = end;
      ++chunk;
    }
  }
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.chunk < b.chunk; });
  std::vector<Slice> slices;
  for (size_t i = 0; i < placed.size(); ++i) {
    slices.push_back(placed[i].slice);
    if (i + 1 < placed.size() && placed[i + 1].chunk == placed[i].chunk) continue;
    AddChunk(slices.data(), slices.data() + slices.size(), false);
    slices.clear();
  }
}

void RowPlan::AddChunk(const Slice* begin, const Slice* end, bool sound) {
  Chunk chunk;
  chunk.first = rows_;
  chunk.slices = static_cast<uint32_t>(slices_.size());
  chunk.base = chunk.slices;
  chunk.sound = sound;
  uint64_t numbers = 0, longest = 0;
  bool absent = false;
  for (const Slice* slice = begin; slice != end; ++slice) {
    const int64_t live = sources_[static_cast<size_t>(slice->segment)].Count(slice->begin, slice->end);
    if (live == 0) continue;
    const uint32_t rows = slice->end - slice->begin;
    absent = absent || live < int64_t{rows};
    rows_ += live;
    slices_.push_back(*slice);
    slices_.back().number = static_cast<uint32_t>(numbers);
    numbers += uint64_t{rows} + 1;
    longest = std::max(longest, uint64_t{rows});
    const Slice& base = slices_[chunk.base];
    if (rows > base.end - base.begin) chunk.base = static_cast<uint32_t>(slices_.size() - 1);
  }
  if (rows_ == chunk.first) return;
  const uint64_t slices = slices_.size() - chunk.slices;
  if (absent || slices > 1) chunk.width = numbers <= kNarrow ? 2 : 4;
  // Slices that have as many numbers each need not be searched. That is worth numbers of four bytes, unless most rows
  // are the base's, which is looked at first.
  uint8_t shift = 1;
  while (uint64_t{1} << shift <= longest) ++shift;
  if (slices > 2 && slices << shift > kNarrow && longest * 4 < numbers * 3) chunk.width = 4;
  if (slices > 2 && slices << shift <= (chunk.width == 2 ? kNarrow : kWide)) {
    chunk.shift = shift;
    for (uint64_t i = 0; i < slices; ++i) slices_[chunk.slices + i].number = static_cast<uint32_t>(i << shift);
  }
  chunks_.push_back(chunk);
}

template <typename Visit>
void RowPlan::VisitLying(const Visit& visit) const {
  for (const Extent& extent : extents_) {
    const uint8_t* absent = sources_[static_cast<size_t>(extent.segment)].absent;
    if (absent == nullptr) {
      visit(Run{extent.segment, extent.begin, extent.end - extent.begin});
      continue;
    }
    for (int64_t row = extent.begin;;) {
      row = FindBit(absent, row, extent.end, false);
      if (row == extent.end) break;
      const int64_t end = FindBit(absent, row, extent.end, true);
      visit(Run{extent.segment, row, end - row});
      row = end;
    }
  }
}

void RowPlan::Lying(std::vector<Run>* runs) const {
  VisitLying([runs](const Run& run) { runs->push_back(run); });
}

Status RowPlan::All(std::vector<Run>* runs) const {
  Cursor cursor;
  int64_t taken;
  return Take(rows_, &cursor, runs, &taken);
}

Status RowPlan::Count(std::vector<int64_t>* rows) const {
  const uint32_t partitions = snapshot_->manifest().partitions;
  for (const auto& range : partitions_) {
    for (int64_t partition = range.first; partition < range.second; ++partition) {
      int64_t live = 0;
      for (size_t i = 0; i < sources_.size(); ++i) {
        if (sources_[i].begin >= sources_[i].end) continue;
        int64_t begin, end;
        GF_RETURN_IF_ERROR(snapshot_->segments()[i].segment->PartitionRows(
            static_cast<uint32_t>(partition), static_cast<uint32_t>(partition + 1), partitions, &begin, &end));
        begin = std::max(begin, sources_[i].begin);
        end = std::min(end, sources_[i].end);
        if (begin < end) live += sources_[i].Count(begin, end);
      }
      rows->push_back(live);
    }
  }
  return Status::Ok();
}

size_t RowPlan::ChunkAt(int64_t ordinal) const {
  const auto hint = static_cast<size_t>(ordinal >> kHintBits);
  size_t low = hints_[hint], high = hints_[hint + 1];  // the chunk is one of these, both included
  while (low < high) {  // seldom: chunks are long
    const size_t middle = (low + high + 1) / 2;
    if (chunks_[middle].first <= ordinal)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

const RowPlan::Slice& RowPlan::SliceOf(const Chunk& chunk, uint32_t number) const {
  if (chunk.shift > 0) return slices_[chunk.slices + (number >> chunk.shift)];
  const Slice& base = slices_[chunk.base];
  if (number - base.number < base.end - base.begin) return base;
  const auto begin = slices_.begin() + chunk.slices, end = slices_.begin() + (&chunk)[1].slices;
  return *(std::upper_bound(begin, end, number, [](uint32_t value, const Slice& slice) { return value < slice.number; }) -
           1);
}

Status RowPlan::Ready(const Chunk& chunk, const uint8_t** numbers) const {
  *numbers = chunk.numbers.at.load(std::memory_order_acquire);
  if (*numbers != nullptr || (chunk.width == 0 && chunk.sound)) return Status::Ok();
  return Order(chunk, numbers);
}

Status RowPlan::Order(const Chunk& chunk, const uint8_t** numbers) const {
  std::vector<OrderPart> parts;
  for (uint32_t i = chunk.slices; i < (&chunk)[1].slices; ++i) {
    const Slice& slice = slices_[i];
    const auto segment = static_cast<size_t>(slice.segment);
    parts.push_back({snapshot_->segments()[segment].segment.get(), &snapshot_->columns(slice.segment),
                     sources_[segment].absent, slice.begin, slice.end, slice.number});
    if (!chunk.sound) GF_RETURN_IF_ERROR(parts.back().segment->CheckHashes(slice.begin, slice.end));
  }
  std::unique_ptr<uint8_t[]> made;
  if (chunk.width > 0) {
    made.reset(new uint8_t[static_cast<size_t>((&chunk)[1].first - chunk.first) * chunk.width]);
    const size_t base = chunk.base - chunk.slices;
    GF_RETURN_IF_ERROR(
        chunk.width == 2 ? OrderRows(snapshot_->schema(), parts, base, reinterpret_cast<uint16_t*>(made.get()))
                         : OrderRows(snapshot_->schema(), parts, base, reinterpret_cast<uint32_t*>(made.get())));
  }
  const int64_t rows = (&chunk)[1].first - chunk.first;
  const bool short_runs = chunk.width == 2   ? AreShort(reinterpret_cast<const uint16_t*>(made.get()), rows)
                          : chunk.width == 4 ? AreShort(reinterpret_cast<const uint32_t*>(made.get()), rows)
                                             : false;
  if (short_runs) chunk.numbers.short_runs.store(true, std::memory_order_relaxed);
  const uint8_t* ready = chunk.width > 0 ? made.get() : &kNoNumbers;
  *numbers = nullptr;
  if (chunk.numbers.at.compare_exchange_strong(*numbers, ready, std::memory_order_acq_rel)) {
    *numbers = ready;
    (void)made.release();
  }  // else somebody else was faster, and has the same
  return Status::Ok();
}

RowPlan::Cursor RowPlan::Seek(int64_t ordinal) const {
  Cursor cursor;
  cursor.ordinal = std::clamp<int64_t>(ordinal, 0, rows_);  // it may come from a checkpoint: believe nothing
  cursor.chunk = cursor.ordinal == rows_ ? chunks_.size() - 1 : ChunkAt(cursor.ordinal);
  return cursor;
}

void RowPlan::Resize(size_t count, RowList* rows) const {
  rows->segment = only_segment_;
  rows->rows.resize(count);
  rows->segments.resize(only_segment_ < 0 ? count : 0);
}

Status RowPlan::Find(const int64_t* ordinals, size_t count, RowList* rows) const {
  constexpr size_t kAhead = 64;  // cache misses of so many rows are under way at a time
  const Chunk* chunks[kAhead];
  const uint8_t* numbers[kAhead];
  Resize(count, rows);
  uint32_t* row = rows->rows.data();
  int32_t* segment = only_segment_ < 0 ? rows->segments.data() : nullptr;
  for (size_t done = 0; done < count; done += kAhead) {
    const size_t some = std::min(kAhead, count - done);
    for (size_t i = 0; i < some; ++i) {
      const int64_t ordinal = ordinals[done + i];
      chunks[i] = &chunks_[ChunkAt(ordinal)];
      GF_RETURN_IF_ERROR(Ready(*chunks[i], &numbers[i]));
      if (chunks[i]->width == 0) continue;
      numbers[i] += (ordinal - chunks[i]->first) * chunks[i]->width;
      __builtin_prefetch(numbers[i]);
    }
    for (size_t i = 0; i < some; ++i) {
      const Chunk& chunk = *chunks[i];
      uint32_t number;
      if (chunk.width == 0)
        number = slices_[chunk.slices].number + static_cast<uint32_t>(ordinals[done + i] - chunk.first);
      else if (chunk.width == 2)
        number = *reinterpret_cast<const uint16_t*>(numbers[i]);
      else
        number = *reinterpret_cast<const uint32_t*>(numbers[i]);
      const Slice& slice = SliceOf(chunk, number);
      *row++ = slice.begin + (number - slice.number);
      if (segment != nullptr) *segment++ = slice.segment;
    }
  }
  return Status::Ok();
}

template <typename Number>
void RowPlan::ListNumbers(const Chunk& chunk, const Number* numbers, int64_t count, uint32_t* rows,
                          int32_t* segments) const {
  const Slice* slices = &slices_[chunk.slices];
  if ((&chunk)[1].slices == chunk.slices + 1) {
    for (int64_t i = 0; i < count; ++i) rows[i] = slices->begin + (numbers[i] - slices->number);
    if (segments != nullptr) std::fill_n(segments, count, slices->segment);
  } else if (chunk.shift > 0) {
    const int shift = chunk.shift;
    for (int64_t i = 0; i < count; ++i) {
      const Slice& slice = slices[numbers[i] >> shift];
      rows[i] = slice.begin + (numbers[i] - slice.number);
      if (segments != nullptr) segments[i] = slice.segment;
    }
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const Slice& slice = SliceOf(chunk, numbers[i]);
      rows[i] = slice.begin + (numbers[i] - slice.number);
      if (segments != nullptr) segments[i] = slice.segment;
    }
  }
}

Status RowPlan::Take(int64_t count, Cursor* cursor, RowList* rows) const {
  count = std::min(count, rows_ - cursor->ordinal);
  Resize(static_cast<size_t>(count), rows);
  uint32_t* row = rows->rows.data();
  int32_t* segment = only_segment_ < 0 ? rows->segments.data() : nullptr;
  while (count > 0) {
    const Chunk& chunk = chunks_[cursor->chunk];
    const uint8_t* numbers;
    GF_RETURN_IF_ERROR(Ready(chunk, &numbers));
    const int64_t at = cursor->ordinal - chunk.first, end = chunks_[cursor->chunk + 1].first - chunk.first;
    const int64_t some = std::min(end - at, count);
    if (chunk.width == 0) {
      const Slice& slice = slices_[chunk.slices];
      for (int64_t i = 0; i < some; ++i) row[i] = slice.begin + static_cast<uint32_t>(at + i);
      if (segment != nullptr) std::fill_n(segment, some, slice.segment);
    } else if (chunk.width == 2) {
      ListNumbers(chunk, reinterpret_cast<const uint16_t*>(numbers) + at, some, row, segment);
    } else {
      ListNumbers(chunk, reinterpret_cast<const uint32_t*>(numbers) + at, some, row, segment);
    }
    row += some;
    if (segment != nullptr) segment += some;
    count -= some;
    cursor->ordinal += some;
    if (at + some == end) ++cursor->chunk;
  }
  return Status::Ok();
}

Status RowPlan::HasShortRuns(const Cursor& cursor, bool* short_runs) const {
  *short_runs = false;
  const Chunk& chunk = chunks_[cursor.chunk];
  if (cursor.ordinal >= rows_ || chunk.width == 0) return Status::Ok();
  const uint8_t* numbers;
  GF_RETURN_IF_ERROR(Ready(chunk, &numbers));
  *short_runs = chunk.numbers.short_runs.load(std::memory_order_relaxed);
  return Status::Ok();
}

template <typename Number>
void RowPlan::TakeNumbers(const Chunk& chunk, const Number* numbers, const Number* end, size_t first,
                          std::vector<Run>* runs) const {
  constexpr std::ptrdiff_t kLanes = sizeof(uint64_t) / sizeof(Number);
  constexpr uint64_t kOnes = ~uint64_t{0} / std::numeric_limits<Number>::max();  // 1 in each lane
  const auto lanes = [](const Number* at) { return LoadWord(reinterpret_cast<const uint8_t*>(at)); };
  while (numbers != end) {
    const Number* stop = numbers + 1;
    // Several at once while each is one more than the one before it: no lane takes from the next one then.
    while (end - stop >= kLanes && lanes(stop) - lanes(stop - 1) == kOnes) stop += kLanes;
    while (stop != end && static_cast<uint32_t>(*stop) == static_cast<uint32_t>(stop[-1]) + 1) ++stop;
    const Slice& slice = SliceOf(chunk, *numbers);
    Append(slice.segment, int64_t{slice.begin} + (*numbers - slice.number), stop - numbers, first, runs);
    numbers = stop;
  }
}

Status RowPlan::Take(int64_t count, Cursor* cursor, std::vector<Run>* runs, int64_t* taken) const {
  const size_t first = runs->size();
  *taken = 0;
  while (*taken < count && cursor->ordinal < rows_) {
    const Chunk& chunk = chunks_[cursor->chunk];
    const uint8_t* numbers;
    GF_RETURN_IF_ERROR(Ready(chunk, &numbers));
    const int64_t at = cursor->ordinal - chunk.first, end = chunks_[cursor->chunk + 1].first - chunk.first;
    const int64_t some = std::min(end - at, count - *taken);
    if (chunk.width == 0) {
      const Slice& slice = slices_[chunk.slices];
      Append(slice.segment, slice.begin + at, some, first, runs);
    } else if (chunk.width == 2) {
      const auto* narrow = reinterpret_cast<const uint16_t*>(numbers);
      TakeNumbers(chunk, narrow + at, narrow + at + some, first, runs);
    } else {
      const auto* wide = reinterpret_cast<const uint32_t*>(numbers);
      TakeNumbers(chunk, wide + at, wide + at + some, first, runs);
    }
    *taken += some;
    cursor->ordinal += some;
    if (at + some == end) ++cursor->chunk;
  }
  return Status::Ok();
}

}  // namespace gridflow
