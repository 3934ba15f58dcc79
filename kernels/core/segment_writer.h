// Writes a segment of rows picked from any columns: the one way rows get into a segment.
#ifndef GRIDFLOW_CORE_SEGMENT_WRITER_H_
#define GRIDFLOW_CORE_SEGMENT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/column.h"
#include "core/schema.h"
#include "core/status.h"

namespace gridflow {

// A row of one of several sources.
struct RowRef {
  uint32_t source;
  uint32_t row;
};

// The columns of one source, in the order of the schema; missing() ones are all null.
using Source = std::vector<ColumnView>;

struct SegmentSpec {
  std::string path;  // written as <path>.tmp, renamed when it is whole
  uint64_t segment_id = 0;
  uint32_t table_id = 0;
  const Schema* schema = nullptr;
  bool durable = false;
  int threads = 1;
  const std::atomic<bool>* cancelled = nullptr;  // once it is true, kCancelled; null: nobody cancels
};

// Writes the rows that `order` names, in that order; hashes[i] is the key hash of order[i] and must not fall, and rows
// of one hash are ordered by their encoded keys (OrderByKey and MergeRuns do both).
// On any error (kFull: no room) nothing is left behind. kCorrupt if a source's offsets are impossible.
Status WriteSegment(const SegmentSpec& spec, const std::vector<Source>& sources, const std::vector<RowRef>& order,
                    const std::vector<uint64_t>& hashes);

// The same for a segment whose number is not known yet: leaves it under spec.path, of number 0. SealSegment() gives it
// number and name in the same folder.
Status WriteUnsealed(const SegmentSpec& spec, const std::vector<Source>& sources, const std::vector<RowRef>& order,
                     const std::vector<uint64_t>& hashes);
Status SealSegment(const std::string& unsealed, uint64_t segment_id, const std::string& path, bool durable);

// About the bytes that the rows of a source take in a segment.
uint64_t BytesInSegment(const Source& source);

// Rows of `sources` by key: hashes of all keys, then the order in which a segment holds them.
struct KeyOrder {
  std::vector<RowRef> order;
  std::vector<uint64_t> hashes;
};

// Sorts all rows by key hash, and those of one hash by their encoded keys, on up to `threads` threads. Of rows with the
// same key the last one stays. *duplicate is one of the rows left out (source < 0: there was none).
Status OrderByKey(const Schema& schema, const std::vector<Source>& sources, int threads, KeyOrder* out,
                  int64_t* duplicate_source, int64_t* duplicate_row);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEGMENT_WRITER_H_
