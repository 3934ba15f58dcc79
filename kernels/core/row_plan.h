// RowPlan: which rows of a snapshot are read, and in which order.
#ifndef GRIDFLOW_CORE_ROW_PLAN_H_
#define GRIDFLOW_CORE_ROW_PLAN_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/snapshot.h"
#include "core/snapshot_diff.h"
#include "core/status.h"

namespace gridflow {

// Rows that lie one after the other in a segment, none of them deleted.
struct Run {
  int segment;  // index in TableSnapshot::segments()
  int64_t begin;
  int64_t count;
};

// Rows one by one, where few lie together.
struct RowList {
  int32_t segment = -1;           // of all rows; -1: `segments` says it for each
  std::vector<uint32_t> rows;     // of their segments
  std::vector<int32_t> segments;

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  // Appends them to `runs`, in order.
  void AppendTo(std::vector<Run>* runs) const;
};

// Puts pairs of partitions, begin and end (exclusive), in order: sorted, disjoint and not touching each other. Invalid:
// there are no such partitions among that many.
Status NormalizePartitions(const std::vector<int64_t>& ranges, int64_t partitions,
                           std::vector<std::pair<int64_t, int64_t>>* out);

// The rows of a version that are read, in the order of their key hashes, those of one hash in that of their encoded
// keys: an order that follows from the keys alone, whichever segments the rows lie in. A row's place in it is its
// ordinal. Nothing else decides on the order: whoever numbers rows asks for the plan's runs and takes them as they come.
//
// The range of hashes is cut into chunks of some ten thousand rows. Of each chunk it is known at once how many rows it
// has and where they lie in each segment; in which order they come, only after it was asked for the first time:
//
//     chunks        |--------------|--------------|--------------|---
//     segment 0      ..............  .............  ..............       sorted by hash, as every segment is
//     segment 1        .      ..       x   .   .          . .            x: deleted
//     numbers        2 bytes a row: where the chunk's n-th row lies, counted over its parts of all segments
//
// So a row is found in constant time, by one look into its chunk's numbers, whatever has been written, deleted and
// flushed; and to open a version, or to read some of its rows, costs little, however large the table is. Where a chunk's
// rows lie one after the other in one segment there are no numbers.
//
// Immutable as far as anybody sees; any thread may use it.
class RowPlan {
 public:
  // Where the next row is read. A default one stands at the first row.
  struct Cursor {
    int64_t ordinal = 0;
    size_t chunk = 0;
  };

  // `ranges` are pairs of partitions, begin and end (exclusive), in any order; rows that several of them name are read
  // once. No ranges: all rows.
  static Status Make(std::shared_ptr<const TableSnapshot> snapshot, const std::vector<int64_t>& ranges,
                     std::shared_ptr<const RowPlan>* out);
  ~RowPlan();

  // The rows of the plan that are among `rows`, which lie in order and do not overlap.
  Status Among(const std::vector<RowRange>& rows, std::shared_ptr<const RowPlan>* out) const;
  // The rows of the plan with these numbers, which rise. Here a row's number is its place as the rows lie: segment after
  // segment, in each one by its place there (see Lying()). Invalid: there is no such row, or they do not rise.
  Status Chosen(const int64_t* numbers, int64_t count, std::shared_ptr<const RowPlan>* out) const;

  // The same by a bit for each row (1: it is chosen) of where the rows lie, deleted ones included: one piece of bits for
  // each of Extents(), of which it begins with the byte that has the first row's bit. Rows that the plan does not have stay
  // out, whatever their bits. Invalid: there are not so many pieces, or bytes.
  Status Chosen(const std::vector<std::pair<const uint8_t*, size_t>>& bits, std::shared_ptr<const RowPlan>* out) const;
  // Appends where the rows lie, with those between them that the plan does not have, by segment and row.
  void Extents(std::vector<Run>* runs) const;

  int64_t rows() const { return rows_; }
  // The partitions that were asked for, as pairs of begin and end: sorted, disjoint and not touching each other.
  const std::vector<std::pair<int64_t, int64_t>>& partitions() const { return partitions_; }
  const TableSnapshot& snapshot() const { return *snapshot_; }

  // Whether that is where the rows lie: one segment's, one after the other.
  bool plain() const { return rows_ == 0 || (chunks_.size() == 2 && chunks_[0].width == 0); }
  // Appends all rows to `runs`, in order.
  Status All(std::vector<Run>* runs) const;
  // Appends all rows to `runs` as they lie, segment after segment, which is quicker to read.
  void Lying(std::vector<Run>* runs) const;
  // How many rows there are in each of the partitions that were asked for. Corrupt: what says so is damaged.
  Status Count(std::vector<int64_t>* rows) const;
  // The cursor at that ordinal, or at the end.
  Cursor Seek(int64_t ordinal) const;
  // Puts the rows at these ordinals, each of which must be one, into `rows`. Corrupt: the hashes are damaged.
  Status Find(const int64_t* ordinals, size_t count, RowList* rows) const;
  // Appends the next `count` rows to `runs` and moves on; *taken says how many there were. Corrupt: the hashes are
  // damaged.
  Status Take(int64_t count, Cursor* cursor, std::vector<Run>* runs, int64_t* taken) const;
  // The same, row by row: they are put into `rows`. It is quicker where runs are short; *short_runs says whether those
  // from the cursor on are.
  Status Take(int64_t count, Cursor* cursor, RowList* rows) const;
  Status HasShortRuns(const Cursor& cursor, bool* short_runs) const;

 private:
  // A segment's rows that are read.
  struct Source {
    int64_t begin = 0, end = 0;       // none outside
    const uint8_t* absent = nullptr;  // a bit for each row of the segment, 1: not read; null: all are
    std::shared_ptr<const std::vector<uint8_t>> owned;  // what `absent` points into, if not into the snapshot

    int64_t Count(int64_t first, int64_t last) const;  // of [first, last), which lies within
  };
  // What lies in a segment of one of the ranges of partitions, rows that are not read included.
  struct Extent {
    int segment;
    int64_t begin, end;
  };
  // The same of a chunk, and how its rows are numbered: from `number` on. Between the numbers of two slices there is one
  // of no row, so that numbers which follow each other are those of rows that do.
  struct Slice {
    int segment;
    uint32_t begin, end, number;
  };
  // The numbers of a chunk's rows, in order. Made when they are asked for, by whoever is first.
  struct Numbers {
    Numbers() = default;
    Numbers(const Numbers&) {}  // for the vector, while there are none
    mutable std::atomic<const uint8_t*> at{nullptr};
    mutable std::atomic<bool> short_runs{false};  // stored before `at`
  };
  struct Chunk {
    int64_t first = 0;    // ordinal of the first row
    uint32_t slices = 0;  // index of the first slice; they end where those of the next chunk begin
    uint32_t base = 0;    // index of the slice with most rows
    uint8_t width = 0;    // bytes of a number; 0: there are none, as the rows are those of the only slice
    uint8_t shift = 0;    // not 0: each slice has 2^shift numbers, and so need not be searched
    bool sound = false;   // whether that follows from what has been checked, and not from hashes that have not
    Numbers numbers;      // if there are some; else not null once the hashes are checked. How many runs there are, too
  };

  RowPlan() = default;
  std::shared_ptr<RowPlan> Empty() const;  // of the same version and partitions
  Status Fill();
  Status AddRange(uint32_t first, uint32_t last);
  Status FetchHashes(const std::vector<Extent>& extents) const;
  void AddByRows(const Extent& extent, int64_t live);
  void AddByHashes(const std::vector<Extent>& extents, uint64_t first, uint64_t last, int64_t live);
  void AddChunk(const Slice* begin, const Slice* end, bool sound);
  template <typename Visit>
  void VisitLying(const Visit& visit) const;
  size_t ChunkAt(int64_t ordinal) const;
  void Resize(size_t count, RowList* rows) const;
  template <typename Number>
  void ListNumbers(const Chunk& chunk, const Number* numbers, int64_t count, uint32_t* rows, int32_t* segments) const;
  template <typename Number>
  void TakeNumbers(const Chunk& chunk, const Number* numbers, const Number* end, size_t first,
                   std::vector<Run>* runs) const;
  const Slice& SliceOf(const Chunk& chunk, uint32_t number) const;
  Status Ready(const Chunk& chunk, const uint8_t** numbers) const;
  Status Order(const Chunk& chunk, const uint8_t** numbers) const;

  std::shared_ptr<const TableSnapshot> snapshot_;
  std::vector<std::pair<int64_t, int64_t>> partitions_;
  std::vector<Source> sources_;  // one for each segment
  std::vector<Extent> extents_;  // by segment and row
  std::vector<Slice> slices_;    // by chunk and segment
  std::vector<Chunk> chunks_;    // and one that begins at the end
  std::vector<uint32_t> hints_;  // the chunk of every 2^kHintBits-th ordinal, and the last one
  int64_t rows_ = 0;
  int32_t only_segment_ = -1;    // where all rows lie, if it is one
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_ROW_PLAN_H_
