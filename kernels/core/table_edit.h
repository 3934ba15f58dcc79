// TableEdit: how a table gets from one version to the next. Flush, bulk load and compaction are edits.
#ifndef GRIDFLOW_CORE_TABLE_EDIT_H_
#define GRIDFLOW_CORE_TABLE_EDIT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/kept_versions.h"
#include "core/memory_table.h"
#include "core/segment_writer.h"
#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {

enum class LoadMode { kReplace, kInsert };

// Collects new segments and deletions on top of a snapshot and publishes them as one manifest. Until Commit() nobody
// sees any of it; without Commit() the files it wrote are removed. For one thread of the owner, which edits a table in
// one place at a time.
class TableEdit {
 public:
  // New files go to `folder`, the table's own for an edit that is to be committed. `kept`, if it is not null, says
  // which versions and files outlive Commit().
  TableEdit(std::string folder, std::shared_ptr<const TableSnapshot> base, bool durable, int threads,
            KeptVersions* kept = nullptr);
  ~TableEdit();
  TableEdit(const TableEdit&) = delete;
  TableEdit& operator=(const TableEdit&) = delete;

  // Everything in a frozen memory table: new rows into a segment, what they replace or remove marked as deleted.
  Status AddMemory(const MemoryTable& memory);
  // Rows of `sources` as one segment; rows of the same keys are marked as deleted. With kInsert an existing key is
  // kInvalid, and *duplicate is its encoding (empty otherwise).
  Status AddRows(const std::vector<Source>& sources, LoadMode mode, int64_t* rows, std::string* duplicate);
  // Rewrites the live rows of these segments (indexes into the base snapshot) as one.
  Status Merge(const std::vector<int>& segments);
  // Gives the table other columns: those that stay keep their ids, and the key its columns. Segments stay as they are.
  void SetSchema(const Schema& schema) { manifest_.schema = schema; }
  // Drops all rows: what Commit() publishes has only the segments that are added after this.
  void Clear();
  // Publishes; `flushed_lsn` as in the manifest. If *out is set the new version stands, also when an error says that it
  // could not be made durable.
  Status Commit(uint64_t flushed_lsn, std::shared_ptr<const TableSnapshot>* out);
  // What Commit() would publish, for this process only: a reader's way to see a memory table's rows among the others.
  // `folder` can be any; nothing of it is needed once this object is gone.
  Status Preview(std::shared_ptr<const TableSnapshot>* out);
  // Files of older versions, or written for the new one, that neither this nor a version that is kept names: to be
  // unlinked after Commit(), in this order.
  const std::vector<std::string>& obsolete() const { return obsolete_; }

 private:
  // A segment of the version in the making.
  struct Part {
    SegmentRef ref;
    gf_manifest_segment named = {};
    std::vector<uint8_t> bits;  // all deletions, once one is added; empty: those of ref
    uint64_t deleted = 0;       // rows deleted in all
    bool dropped = false;
    bool Live(int64_t row) const {
      return bits.empty() ? ref.Live(row) : !((bits[row >> 3] >> (row & 7)) & 1);
    }
  };

  // Marks the live row of the key, if there is one, in the first `parts` parts.
  bool MarkDeleted(size_t parts, uint64_t hash, const uint8_t* key, size_t key_bytes);
  bool Contains(size_t parts, uint64_t hash, const uint8_t* key, size_t key_bytes) const;
  // Writes the deletion bitmaps and opens the version.
  Status Seal(std::shared_ptr<const TableSnapshot>* out);
  Status AddSegment(const std::vector<Source>& sources, const std::vector<RowRef>& order,
                    const std::vector<uint64_t>& hashes);
  std::string Path(uint64_t id, const char* suffix) const;

  const std::string folder_;
  const std::shared_ptr<const TableSnapshot> base_;
  const bool durable_;
  const int threads_;
  KeptVersions* const kept_;
  Manifest manifest_;
  std::vector<Part> parts_;
  std::vector<std::string> written_;  // unlinked unless committed
  std::vector<std::string> obsolete_;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_TABLE_EDIT_H_
