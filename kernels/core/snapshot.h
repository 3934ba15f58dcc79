// TableSnapshot: one version of a table, mapped.
#ifndef GRIDFLOW_CORE_SNAPSHOT_H_
#define GRIDFLOW_CORE_SNAPSHOT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/deletions.h"
#include "core/manifest.h"
#include "core/segment.h"
#include "core/status.h"

namespace gridflow {

struct SegmentRef {
  std::shared_ptr<const Segment> segment;
  std::shared_ptr<const Deletions> deletions;  // null: no row is deleted
  bool Live(int64_t row) const { return deletions == nullptr || !deletions->Test(row); }
  int64_t live_rows() const { return segment->rows() - (deletions ? deletions->deleted() : 0); }
};

// A segment's columns in the order of a schema of its table. Where the segment is older than the column: its value for
// older rows, which does not lie in the segment's mapping, or missing(). The views point into both. kCorrupt: the
// segment has a column of another type under that id, or lacks one that must have a value.
Status ColumnsAs(const Segment& segment, const Schema& schema, std::vector<ColumnView>* out);

// A manifest with all its segments and bitmaps open. Immutable; any thread may read it; it stays readable when the
// files are gone. At most one row of a key is live in it.
class TableSnapshot {
 public:
  // No version has this number: it stands for the current one, whatever its number is.
  static constexpr uint64_t kCurrent = 0;

  // Opens a version in <grid>/tables/<table_id>: the current one, or a past one that is kept. If a file that the
  // manifest names has gone (compaction won the race), reads the manifest again. kNotFound: there is no such table.
  // kGone: the version is not kept, or was never there.
  static Status Open(const std::string& grid, uint32_t table_id, uint64_t version,
                     std::shared_ptr<const TableSnapshot>* out);

  const Manifest& manifest() const { return manifest_; }
  const Schema& schema() const { return manifest_.schema; }
  const std::vector<SegmentRef>& segments() const { return segments_; }
  // A segment's columns in the order of schema(); see ColumnsAs().
  const std::vector<ColumnView>& columns(int segment) const { return columns_[segment]; }
  int64_t live_rows() const;
  // The live row of a key: its segment's index and row; segment -1 if there is none. Corrupt: what is found there, or
  // says that there is nothing, does not fit its checksum, and no other segment has the key.
  Status Find(uint64_t hash, const uint8_t* key, size_t key_bytes, int* segment, int64_t* row) const;

  // As Find(), of several keys at a time, at most kTogether: what is read for one is fetched while another is looked at,
  // the rows' values at last.
  static constexpr size_t kTogether = 32;
  Status FindTogether(const uint64_t* hashes, const std::string* keys, size_t count, int* segments, int64_t* rows) const;

  // A snapshot of the same table after a flush: for the owner, which knows the files it has just written.
  static Status Make(const std::string& folder, const Manifest& manifest, const TableSnapshot* old,
                     std::shared_ptr<const TableSnapshot>* out);

 private:
  TableSnapshot() = default;
  // Where a key of that hash should be in a segment; what a search from there reads is fetched meanwhile.
  int64_t Approach(size_t at, uint64_t hash) const;
  // Whether a live row that was found in a segment is the key's last one. A search of a segment with damaged hashes may
  // have missed a row that was to be deleted; so one that is older than the largest segment, which is asked last, proves
  // nothing before its hashes are checked.
  bool IsLast(int segment) const;
  // A search in one segment, from there: sets *segment and *row if it has the live row.
  Status FindIn(size_t at, int64_t near, uint64_t hash, const uint8_t* key, size_t key_bytes, int* segment,
                int64_t* row) const;

  Manifest manifest_;
  std::vector<SegmentRef> segments_;
  size_t largest_ = 0;  // the place of the segment of most rows
  std::vector<std::vector<ColumnView>> columns_;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SNAPSHOT_H_
