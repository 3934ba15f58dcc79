// RowChanges: rows of a version that somebody has read, and what is to become of them.
#ifndef GRIDFLOW_CORE_ROW_CHANGES_H_
#define GRIDFLOW_CORE_ROW_CHANGES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/huge_pages.h"
#include "core/segment_writer.h"
#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {

// New values for some columns of rows of `seen`, or the removal of the rows. The key's columns are never among them, so a
// row stays where it is in the order of hashes. All but the version is borrowed.
struct RowChanges {
  std::shared_ptr<const TableSnapshot> seen;
  RowOrderView rows;  // by the index of their segment in `seen`; in any order, each row once
  bool removes = false;
  std::vector<int> positions;   // column of the schema -> its place in a source; -1: the row keeps its value
  std::vector<Source> sources;  // new values, source after source in the order of `rows`
};

// kInvalid: an address is no live row of `seen`, or is there twice, or there are not as many new values as rows.
Status CheckChanges(const RowChanges& changes, int threads);

// The rows of changes by hash: hashes[i] is the key hash of rows[places[i]], or of rows[i] where there are no places.
struct ChangeOrder {
  HugeArray<uint64_t> hashes;
  std::vector<uint32_t> places;
};

// kInvalid as CheckChanges. kCorrupt: a block in which the rows' hashes lie, or values that they keep, is not what its
// checksum says.
Status OrderChanges(const RowChanges& changes, int threads, ChangeOrder* out);

// The columns of a segment of some of the changed rows, [begin, end) by hash, and what they point into.
class ChangedColumns {
 public:
  ChangedColumns(const RowChanges& changes, const ChangeOrder& order, size_t begin, size_t end, int threads);
  ChangedColumns(const ChangedColumns&) = delete;
  ChangedColumns& operator=(const ChangedColumns&) = delete;
  const std::vector<ColumnRows>& columns() const { return columns_; }

 private:
  HugeArray<RowRef> kept_, changed_;
  std::vector<ColumnRows> columns_;
};

// Appends the log's operations of the changes, in the order of `rows`. kInvalid: a row is too large for one.
Status AppendOperations(const RowChanges& changes, uint32_t table_id, std::string* out);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_ROW_CHANGES_H_
