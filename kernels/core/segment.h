// Segment: a sealed file of rows, checked and mapped.
#ifndef GRIDFLOW_CORE_SEGMENT_H_
#define GRIDFLOW_CORE_SEGMENT_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/column.h"
#include "core/mapping.h"
#include "core/mirror.h"
#include "core/mutex.h"
#include "core/schema.h"
#include "core/status.h"
#include "gridflow/segment_format.h"

namespace gridflow {

// A sealed segment. Immutable; any thread may read it. Open() checks everything that is read without looking at rows:
// magic, version, header checksum, every buffer's bounds and size against the row count. The rows' bytes are checked
// against their checksums by who reads them, with the Check functions, each block once in a process.
// Of a segment in a mirror not all blocks are there. The Check functions have a block come before they look at it, and
// nothing else may touch one that was not checked: so who searches the hashes of such a segment checks first, as the
// functions that return a Status do.
// What rows say (offsets of variable-length values) is checked where it is used, by the caller, with CheckedRange
// (column.h).
class Segment {
 public:
  ~Segment();
  // The same file opened twice in a process is mapped once, as long as someone holds it.
  static Status Open(const std::string& path, std::shared_ptr<const Segment>* out);

  const Schema& schema() const { return schema_; }
  int64_t rows() const { return static_cast<int64_t>(header_.rows); }
  uint64_t id() const { return header_.segment_id; }
  uint32_t table_id() const { return header_.table_id; }
  uint64_t bytes() const { return header_.file_bytes; }
  const std::string& path() const { return mapping_->path(); }
  const std::shared_ptr<const Mapping>& mapping() const { return mapping_; }
  const uint64_t* hashes() const { return hashes_; }
  // The column at that position of schema().
  const ColumnView& column(int position) const { return columns_[position]; }
  // Position of the column with that id, or -1: a column added after the segment was written.
  int FindColumn(uint32_t column_id) const;
  // For such a column that has a value for older rows: a view that says it for every row. It is made at the first call,
  // in memory, and lives as long as the segment.
  const ColumnView& Filled(const Column& column) const;
  const std::vector<gf_buffer>& buffers() const { return buffers_; }

  // Whether blocks may be missing, or have not been checked since they came, of a segment in a mirror.
  bool partial() const { return mirror_ != nullptr && !checked(); }
  // The first row whose hash is >= `hash`, by interpolation search.
  int64_t LowerBound(uint64_t hash) const { return LowerBoundNear(Near(hash), hash); }
  // A search in steps, for who looks into several segments and has their cache misses overlap: a row near the hash,
  // what will be read there fetched ahead, and the key's row from there.
  int64_t Near(uint64_t hash) const;
  // The first row whose hash is >= `hash`, near row `at`: right whatever the data, quick where `at` is close.
  int64_t LowerBoundNear(int64_t at, uint64_t hash) const;
  void PrefetchCells(int64_t row) const;
  int64_t FindNear(int64_t near, uint64_t hash, const uint8_t* key, size_t key_bytes) const;
  // False: no row has that hash. For who looks into several segments, of which most do not have a key: it reads one word
  // where a search reads several.
  bool MayHave(uint64_t hash) const {
    const uint64_t* filter = filter_.load(std::memory_order_acquire);
    if (filter == nullptr && (filter = MakeFilter()) == nullptr) return true;
    const uint64_t bits = FilterBits(hash);
    return (filter[FilterWord(hash)] & bits) == bits;
  }
  // Whether all hashes have been checked, so that every search before and after has found what there is.
  bool hashes_checked() const { return checked() || filter_.load(std::memory_order_acquire) != nullptr; }
  // The rows of partitions [first, last) of `partitions`: rows *begin to *end, exclusive. Corrupt: what says so is
  // damaged.
  Status PartitionRows(uint32_t first, uint32_t last, uint32_t partitions, int64_t* begin, int64_t* end) const;
  // A key's row, deleted or not; -1 if there is none. `key` is encoded as in the log.
  int64_t Find(uint64_t hash, const uint8_t* key, size_t key_bytes) const {
    return FindNear(Near(hash), hash, key, key_bytes);
  }

  // As Find(), of a segment of which blocks may be missing: what it looks at is checked, the key's columns too.
  Status FindPartial(uint64_t hash, const uint8_t* key, size_t key_bytes, int64_t* row) const;

  // Has these bytes of the file read from storage, or the blocks that will be checked with them, without waiting.
  void WillNeed(const void* begin, uint64_t bytes) const;

  // Of a segment of which blocks may be missing: has those come that these rows of a column, or of a part of one, lie
  // in, with all that is nested in it. It waits for offsets alone, which say where the rest lies.
  void WillNeedRows(const ColumnView& view, int64_t begin, int64_t end) const;

  // Whether every block has been checked.
  bool checked() const { return unchecked_.load(std::memory_order_relaxed) == 0; }
  // Checks the blocks in which some bytes of the file lie.
  Status CheckBytes(const void* begin, uint64_t bytes) const;
  // Checks what says which of the rows [begin, end) of a column, or of a part of one, are null; and what their values
  // are, or where their items lie. The view is one of this segment.
  Status CheckValidity(const ColumnView& view, int64_t begin, int64_t end) const;
  Status CheckValues(const ColumnView& view, int64_t begin, int64_t end) const;
  // Both, and the same of all that is nested in it.
  Status CheckRows(const ColumnView& view, int64_t begin, int64_t end) const;
  // Checks what a search for a key of that hash has found: its row, or -1 where there is none.
  Status CheckFound(uint64_t hash, int64_t row) const;
  // Checks the hashes of rows [begin, end), and that these and no others lie between those before and behind them.
  Status CheckHashes(int64_t begin, int64_t end) const;
  // Checks every block.
  Status CheckAll() const;
  // Whether nothing is left to check of a column, or of a part of one, without what is nested in it.
  bool IsChecked(const ColumnView& view) const;
  // Checks once that a column's offsets rise, for who hands the column to code that does not check them.
  Status CheckOffsets(int position) const;
  // Reads every byte: block checksums, sorted hashes, offsets in bounds, values of their types, hashes that match their
  // keys.
  Status Verify() const;

 private:
  // Whether a column's texts are UTF-8, its decimals and times in their range. CheckOffsets has been there.
  Status CheckCells(int position) const;
  // Every so many hashes one goes into the fence: as many as a page holds eight times.
  static constexpr int64_t kFenceStride = 64;
  // Rows that share a word of the filter: 11 bits a row, so that it is wrong about one hash in a hundred.
  static constexpr int64_t kFilterRows = 6;

  Segment();
  Status Check();
  uint64_t blocks() const { return (header_.checksum_offset - header_.header_bytes + GF_BLOCK_BYTES - 1) / GF_BLOCK_BYTES; }
  // That a row lies where it does because of its hash and the one before it.
  Status CheckBound(int64_t row) const;
  // The blocks in which some bytes of the file lie, from *first to *last, inclusive.
  void BlocksOf(const void* begin, uint64_t bytes, uint64_t* first, uint64_t* last) const;
  bool IsChecked(const void* begin, uint64_t bytes) const;
  // Blocks that were checked in this process when the same file was mapped before; and for the next time.
  void Recall();
  void Remember() const;
  // Looks at a block in any case.
  Status CheckBlock(uint64_t block) const;
  bool Matches(uint64_t block) const;
  // Has blocks come that are missing.
  Status Fetch(uint64_t first, uint64_t last) const;
  // As LowerBound(), where blocks may be missing: those that it looks at are checked, and so are the row's and the one
  // before it.
  Status LowerBoundPartial(uint64_t hash, int64_t* row) const;
  Status CheckOffsetBytes(const ColumnView& column) const;
  Status CheckChecksums() const;
  int64_t NearByFence(const uint64_t* fence, uint64_t hash) const;
  const uint64_t* MakeFence() const;
  // A Bloom filter in words of its own: the word is chosen by a hash's first bits, as a row is, four of its bits by its
  // last ones.
  int64_t filter_words() const { return rows() / kFilterRows + 1; }
  size_t FilterWord(uint64_t hash) const {
    return static_cast<size_t>((static_cast<unsigned __int128>(hash) * static_cast<uint64_t>(filter_words())) >> 64);
  }
  static uint64_t FilterBits(uint64_t hash) {
    return uint64_t{1} << (hash & 63) | uint64_t{1} << (hash >> 6 & 63) | uint64_t{1} << (hash >> 12 & 63) |
           uint64_t{1} << (hash >> 18 & 63);
  }
  const uint64_t* MakeFilter() const;

  std::shared_ptr<const Mapping> mapping_;
  std::shared_ptr<MirrorFile> mirror_;  // null: all blocks are there
  gf_segment_header header_;
  Schema schema_;
  std::vector<gf_buffer> buffers_;
  std::vector<ColumnView> columns_;
  const uint64_t* hashes_ = nullptr;
  bool hash_is_key_ = false;  // whether keys of the same hash are the same key
  std::unique_ptr<std::atomic<bool>[]> offsets_checked_;  // by column; only ever set
  mutable std::unique_ptr<std::atomic<uint64_t>[]> blocks_checked_;  // a bit for each block; only ever set
  mutable std::atomic<int64_t> unchecked_{0};                        // blocks whose bit is not set
  mutable std::atomic<bool> checksums_checked_{false};               // against the checksum of the checksums
  // A copy of every kFenceStride-th hash, which stays in the cache and saves a search the misses on its way. It is made
  // after so many searches that it pays, for it reads what opening a segment does not: null until then, and for good
  // where a segment is small.
  mutable std::atomic<const uint64_t*> fence_{nullptr};
  mutable std::unique_ptr<const uint64_t[]> fence_owner_;  // whoever gets searches_ to the number makes it
  mutable std::atomic<int64_t> searches_{0};
  // Of all hashes, made after so many questions that it pays, too: null until then, and for good where hashes are damaged.
  mutable std::atomic<const uint64_t*> filter_{nullptr};
  mutable std::unique_ptr<const uint64_t[]> filter_owner_;  // whoever gets questions_ to the number makes it
  mutable std::atomic<int64_t> questions_{0};
  struct Fill;
  mutable Mutex fills_mutex_;
  mutable std::map<uint32_t, std::unique_ptr<Fill>> fills_ GF_GUARDED_BY(fills_mutex_);  // by column id
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEGMENT_H_
