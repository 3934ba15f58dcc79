// What a later version of a table has and an earlier one has not: for who follows a table as it is written.
#ifndef GRIDFLOW_CORE_SNAPSHOT_DIFF_H_
#define GRIDFLOW_CORE_SNAPSHOT_DIFF_H_

#include <cstdint>
#include <vector>

#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {

// Rows that lie side by side.
struct RowRange {
  int segment;  // index in TableSnapshot::segments()
  int64_t begin;
  int64_t end;  // exclusive
};

// The rows of `newer` that are new or changed since `older`, an earlier version of the same table that the caller
// holds, in the order in which they lie.
//
// Every row is given whose key `older` does not have, or has with another value: values are compared as `newer` reads
// them, so a column that is new has in older rows what the schema says (`fill`), and one that was dropped does not
// count. A row that somebody has written again as it was may be given or not; any other that is the same is not,
// wherever flushes and merges have moved it. What was removed is not told.
//
// It costs nothing but a look at the lists of segments where only rows came. Where segments went (a merge, or all of
// their rows were replaced), each new row is looked up in those by its hash, both sides being sorted by it, and rows of
// the same key are compared. If a column's offsets are impossible, kCorrupt.
Status NewRows(const TableSnapshot& older, const TableSnapshot& newer, std::vector<RowRange>* out);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SNAPSHOT_DIFF_H_
