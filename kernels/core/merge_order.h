// The order of rows that come from several sorted runs: what a merge writes.
#ifndef GRIDFLOW_CORE_MERGE_ORDER_H_
#define GRIDFLOW_CORE_MERGE_ORDER_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "core/schema.h"
#include "core/segment_writer.h"
#include "core/status.h"

namespace gridflow {

// Rows of one source whose hashes do not fall. The pointers belong to the caller.
struct SortedRun {
  const uint64_t* hashes = nullptr;  // rows of them
  int64_t rows = 0;
  const uint8_t* deleted = nullptr;  // bit i % 8 of byte i / 8: row i is left out; null: none is
  const RowRef* refs = nullptr;      // where row i lies; null: in the source of the run's own number, at i
};

// Sorts rows that all have one hash by their encoded keys; of equal keys those that came first stay first. So the order
// of a table's rows is a function of their keys alone.
Status OrderTies(const Schema& schema, const std::vector<Source>& sources, RowRef* begin, RowRef* end);

// All rows of the runs, by hash and then by encoded key, each run read once from start to end. `sources` are what refs
// and the numbers of runs name. kCancelled once `cancelled`, if it is not null, is true.
Status MergeRuns(const Schema& schema, const std::vector<Source>& sources, const std::vector<SortedRun>& runs,
                 const std::atomic<bool>* cancelled, KeyOrder* out);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MERGE_ORDER_H_
