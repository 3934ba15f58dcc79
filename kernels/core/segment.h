// Segment and Deletions: sealed files of rows, checked and mapped.
#ifndef GRIDFLOW_CORE_SEGMENT_H_
#define GRIDFLOW_CORE_SEGMENT_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/column.h"
#include "core/mapping.h"
#include "core/schema.h"
#include "core/status.h"
#include "gridflow/segment_format.h"

namespace gridflow {

// A sealed segment. Immutable; any thread may read it. Open() checks everything that is read without looking at rows:
// magic, version, header checksum, every buffer's bounds and size against the row count. What rows say (offsets of
// variable-length values) is checked where it is used, by the caller, with CheckedRange (column.h).
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

  // The first row whose hash is >= `hash`, by interpolation search.
  int64_t LowerBound(uint64_t hash) const { return LowerBoundNear(Near(hash), hash); }
  // A search in steps, for who looks into several segments and has their cache misses overlap: a row near the hash,
  // what will be read there fetched ahead, and the key's row from there.
  int64_t Near(uint64_t hash) const;
  void PrefetchCells(int64_t row) const;
  int64_t FindNear(int64_t near, uint64_t hash, const uint8_t* key, size_t key_bytes) const;
  // The rows of partitions [first, last) of `partitions`: rows *begin to *end, exclusive.
  void PartitionRows(uint32_t first, uint32_t last, uint32_t partitions, int64_t* begin, int64_t* end) const;
  // A key's row, deleted or not; -1 if there is none. `key` is encoded as in the log.
  int64_t Find(uint64_t hash, const uint8_t* key, size_t key_bytes) const {
    return FindNear(Near(hash), hash, key, key_bytes);
  }

  // Checks once that a column's offsets rise, for who hands the column to code that does not check them.
  Status CheckOffsets(int position) const;
  // Reads every byte: block checksums, sorted hashes, offsets in bounds, hashes that match their keys.
  Status Verify() const;

 private:
  // Every so many hashes one goes into the fence: as many as a page holds eight times.
  static constexpr int64_t kFenceStride = 64;

  Segment();
  Status Check();
  int64_t LowerBoundNear(int64_t at, uint64_t hash) const;
  int64_t NearByFence(const uint64_t* fence, uint64_t hash) const;
  const uint64_t* MakeFence() const;

  std::shared_ptr<const Mapping> mapping_;
  gf_segment_header header_;
  Schema schema_;
  std::vector<gf_buffer> buffers_;
  std::vector<ColumnView> columns_;
  const uint64_t* hashes_ = nullptr;
  bool hash_is_key_ = false;  // whether keys of the same hash are the same key
  std::unique_ptr<std::atomic<bool>[]> offsets_checked_;  // by column; only ever set
  // A copy of every kFenceStride-th hash, which stays in the cache and saves a search the misses on its way. It is made
  // after so many searches that it pays, for it reads what opening a segment does not: null until then, and for good
  // where a segment is small.
  mutable std::atomic<const uint64_t*> fence_{nullptr};
  mutable std::unique_ptr<const uint64_t[]> fence_owner_;  // whoever gets searches_ to the number makes it
  mutable std::atomic<int64_t> searches_{0};
  struct Fill;
  mutable std::mutex fills_mutex_;
  mutable std::map<uint32_t, std::unique_ptr<Fill>> fills_;  // by column id; guarded by fills_mutex_
};

// A sealed deletion bitmap. Immutable; any thread may read it.
class Deletions {
 public:
  static Status Open(const std::string& path, std::shared_ptr<const Deletions>* out);
  // Writes and seals a bitmap of `rows` bits.
  static Status Write(const std::string& path, uint64_t segment_id, const std::vector<uint8_t>& bits, uint64_t rows,
                      uint64_t deleted, bool durable);

  bool Test(int64_t row) const { return (bits_[row >> 3] >> (row & 7)) & 1; }
  const uint8_t* bits() const { return bits_; }
  int64_t rows() const { return rows_; }
  int64_t deleted() const { return deleted_; }
  uint64_t segment_id() const { return segment_id_; }

 private:
  Deletions() = default;
  std::shared_ptr<const Mapping> mapping_;
  const uint8_t* bits_ = nullptr;
  int64_t rows_ = 0;
  int64_t deleted_ = 0;
  uint64_t segment_id_ = 0;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEGMENT_H_
