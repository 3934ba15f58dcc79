// TableEdit: how a table gets from one version to the next. Flush, bulk load and merge are edits.
#ifndef GRIDFLOW_CORE_TABLE_EDIT_H_
#define GRIDFLOW_CORE_TABLE_EDIT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/kept_versions.h"
#include "core/memory_table.h"
#include "core/row_changes.h"
#include "core/segment_load.h"
#include "core/segment_merge.h"
#include "core/segment_writer.h"
#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {

// Collects new segments and deletions on top of a snapshot and publishes them as one manifest. Until Commit() nobody
// sees any of it; without Commit() the files it wrote are removed. For one thread of the owner, which edits a table in
// one place at a time.
//
// No edit that FoldSmall() was called of adds a small segment beside kMostSmall others: it takes some of them over, with
// their live rows (small_segments.h).
class TableEdit {
 public:
  // New files go to `folder`, the table's own for an edit that is to be committed. `kept`, if it is not null, says
  // which versions and files outlive Commit().
  TableEdit(std::string folder, std::shared_ptr<const TableSnapshot> base, bool durable, int threads,
            KeptVersions* kept = nullptr);
  ~TableEdit();
  TableEdit(const TableEdit&) = delete;
  TableEdit& operator=(const TableEdit&) = delete;

  // From now on a segment that is added may take over those of less than `small` bytes.
  void FoldSmall(uint64_t small) { small_ = small; }
  // From now on rows that are deleted of a segment whose bitmap has more than `least` bytes may be listed instead, as long
  // as such lists together have not as many bytes as the bitmap: so what is written is in proportion to the square root of
  // a segment's rows at most, and not to the rows.
  void ListDeletions(uint64_t least) { least_listed_ = least; }
  // Everything in a frozen memory table: new rows into a segment, what they replace or remove marked as deleted.
  Status AddMemory(const MemoryTable& memory);
  // Rows of `sources` as one segment; rows of the same keys are marked as deleted. With kInsert an existing key is
  // kInvalid, and *duplicate is its encoding (empty otherwise). With kIgnore rows of existing keys are left out; *rows
  // are the others.
  Status AddRows(const std::vector<Source>& sources, LoadMode mode, int64_t* rows, std::string* duplicate);
  // Puts what a merge has written in the place of what it has merged, before anything is deleted. *usable is false, and nothing has happened, if
  // some of that is not there any more.
  Status Replace(SegmentMerge* merge, bool* usable);
  // Makes segments of what a load has written, and marks the rows that it replaces as deleted, or with kIgnore leaves out
  // what is there. It must have caught up with the version that this is an edit of.
  Status Take(SegmentLoad* load);
  // Writes the rows of changes anew as segments, or none of them, and marks them as deleted where they lie. They may have
  // been read in an older version: rows of it that still lie where they did are known by that. Others are looked up by
  // key, which is needed only where segments were merged meanwhile. kInvalid, and *conflict a key's encoding (empty
  // otherwise): that row is another one now, or gone.
  Status ChangeRows(const RowChanges& changes, std::string* conflict);
  // Gives the table other columns: those that stay keep their ids, and the key its columns. Segments stay as they are.
  void SetSchema(const Schema& schema) { manifest_.schema = schema; }
  // From now on Commit() keeps the version that this is an edit of only if it has a tag: nobody but a reader had it made.
  void LetGoOfBase() { keeps_base_ = false; }
  // Gives the table the rows and the columns of an earlier version, before anything else is done. What lies where it did
  // stays; rows that were removed since, or moved, are written anew: none comes back where it was deleted.
  Status Restore(const TableSnapshot& past);
  // Drops all rows: what Commit() publishes has only the segments that are added after this.
  void Clear();
  // Publishes; `flushed_lsn` as in the manifest. If *out is set the new version stands, also when an error says that it
  // could not be made durable.
  Status Commit(uint64_t flushed_lsn, std::shared_ptr<const TableSnapshot>* out);
  // What Commit() would publish, for this process only: a reader's way to see a memory table's rows among the others.
  // `folder` can be any; nothing of it is needed once this object is gone.
  Status Preview(std::shared_ptr<const TableSnapshot>* out);
  // Bytes of the segments that were added: of rows that were in no segment before, and of rows that were moved; and of
  // deletion bitmaps.
  uint64_t added_bytes() const { return added_bytes_; }
  uint64_t moved_bytes() const { return moved_bytes_; }
  uint64_t bitmap_bytes() const { return bitmap_bytes_; }
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
    // All deletions, a bit each; null: no row is deleted.
    const uint8_t* Deleted() const {
      if (!bits.empty()) return bits.data();
      return ref.deletions != nullptr ? ref.deletions->bits() : nullptr;
    }
  };

  // Marks a live row.
  static void MarkDeleted(Part* part, int64_t row);
  // Marks all rows of changes where they lie now.
  Status MarkChanged(const RowChanges& changes, std::string* conflict);
  // Where a row of an older version lies now that its segment is gone: by its key and value. *part -1: it
  // is another one now, or gone.
  Status FindMoved(const TableSnapshot& seen, RowRef at, std::string* key, int* part, int64_t* row) const;
  // Marks the live row of the key, if there is one, in the first `parts` parts.
  bool MarkDeleted(size_t parts, uint64_t hash, const uint8_t* key, size_t key_bytes);
  bool Contains(size_t parts, uint64_t hash, const uint8_t* key, size_t key_bytes) const;
  // Writes what is deleted of a part.
  Status WriteDeletions(Part* part);
  // Writes what is deleted of all parts and opens the version.
  Status Seal(std::shared_ptr<const TableSnapshot>* out);
  // Adds rows of `sources`, of about so many bytes, and of small segments that the new one takes over.
  Status AddSegment(std::vector<Source> sources, KeyOrder keys, uint64_t bytes);
  // Adds the rows of small segments to those of a new one.
  Status Fold(uint64_t bytes, std::vector<Source>* sources, KeyOrder* keys);
  // The same of the segment that was added last, if it is small: its rows become part of another one.
  Status FoldLast();
  // Takes in a segment that lies there under its name.
  Status Open(uint64_t segment_id, uint64_t rows, Part** out);
  // Gives a file that was written beside this edit the next number and its name, and takes it in.
  Status Adopt(const std::string& unsealed, uint64_t rows, Part** out);
  // Adds the segment that `write` writes, of so many rows, of which `fresh` are not moved.
  Status AddSegment(uint64_t fresh, uint64_t rows, const std::function<Status(const SegmentSpec&)>& write);
  std::string Path(uint64_t id, const char* suffix) const;

  const std::string folder_;
  const std::shared_ptr<const TableSnapshot> base_;
  const bool durable_;
  const int threads_;
  KeptVersions* const kept_;
  bool keeps_base_ = true;
  uint64_t small_ = 0, least_listed_ = UINT64_MAX;
  uint64_t added_bytes_ = 0, moved_bytes_ = 0, bitmap_bytes_ = 0;
  Manifest manifest_;
  std::vector<Part> parts_;
  std::vector<std::string> written_;  // unlinked unless committed
  std::vector<std::string> obsolete_;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_TABLE_EDIT_H_
