// TableCut: what a table holds at one moment.
#ifndef GRIDFLOW_CORE_TABLE_CUT_H_
#define GRIDFLOW_CORE_TABLE_CUT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/memory_table.h"
#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {

// A version of the segments and the writes that are not in it. As long as nobody changes the memory tables, any thread
// may read it.
struct TableCut {
  std::shared_ptr<const TableSnapshot> snapshot;
  std::vector<std::shared_ptr<const MemoryTable>> memory;  // the newest first

  // Where a key's row lies: *value is its encoding, or null and then it is a row of a segment, -1 if there is none.
  // Errors are those of TableSnapshot::Find.
  Status Find(uint64_t hash, const uint8_t* key, size_t key_bytes, const uint8_t** value, int* segment,
              int64_t* row) const;
  // A hash of what is under a key: 0 if there is no row. Rows of equal values have equal digests, wherever they lie.
  Status Digest(const uint8_t* key, size_t key_bytes, uint64_t* digest) const;
  // How many rows there are. Each write in memory is looked up in the segments.
  Status Count(int64_t* rows) const;
  // A version of the segments that holds all of it, for this process only. `folder` as for TableEdit::Preview.
  Status Preview(const std::string& folder, int threads, std::shared_ptr<const TableSnapshot>* out) const;
  // Writes such a version's manifest to `folder`, an empty one, with the files that the version of the segments has not.
  Status Write(const std::string& folder, int threads) const;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_TABLE_CUT_H_
