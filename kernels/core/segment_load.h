// SegmentLoad: rows of a bulk load that become segments while the table is read and written.
#ifndef GRIDFLOW_CORE_SEGMENT_LOAD_H_
#define GRIDFLOW_CORE_SEGMENT_LOAD_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/segment.h"
#include "core/segment_writer.h"
#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {

// What becomes of a row whose key is there already: it replaces that row, it is an error, or it is left out.
enum class LoadMode { kReplace, kInsert, kIgnore };

inline Twice TwiceOf(LoadMode mode) { return mode == LoadMode::kIgnore ? Twice::kFirst : Twice::kLast; }

// Writes rows as files of their own, which TableEdit::Take() makes segments of the table:
//
//   SegmentLoad(...) ── Add() ... ── CatchUp(a newer version) ... ── TableEdit(the current one).Take(load)
//
// None of it is seen before, and others may write the table meanwhile: which of a version's rows have the same keys,
// CatchUp() finds; it may be called again and again, and each call has only to do what is new.
//
// For one thread at a time, but for Cancel(), which any may call. Of one table there may be several at a time.
class SegmentLoad {
 public:
  // The files lie in `folder`, the table's, as <name>-<n>.tmp, names that no manifest has. The rows are of `schema`.
  SegmentLoad(std::string folder, std::string name, uint32_t table_id, Schema schema, LoadMode mode, bool durable);
  // Removes the files that have not become segments.
  ~SegmentLoad();
  SegmentLoad(const SegmentLoad&) = delete;
  SegmentLoad& operator=(const SegmentLoad&) = delete;

  // Writes rows as one file, on up to `threads` threads. They replace rows of the same keys that were added before. With
  // kInsert such a key is kInvalid, and *duplicate its encoding (empty otherwise). With kIgnore the rows that were added
  // before stay, and the new ones of the same keys do not count in *rows. kCancelled: Cancel() was called.
  Status Add(const std::vector<Source>& sources, int threads, int64_t* rows, std::string* duplicate);
  // Looks for rows of the same keys in those segments of `version` that it has not seen yet. kCancelled as Add().
  Status CatchUp(const TableSnapshot& version);
  // The encoded key of a row of `version`, with which it has caught up, that there is among the rows added, too; empty:
  // there is none.
  Status FindSame(const TableSnapshot& version, std::string* key) const;
  // With kIgnore: leaves out rows that have keys of a segment of the table with which it has caught up. `deletions` are
  // that segment's rows that are gone; null: none is.
  Status Ignore(const Segment& older, uint64_t older_id, const uint8_t* deletions);
  // How many Ignore() has left out.
  int64_t ignored() const { return ignored_; }
  LoadMode mode() const { return mode_; }
  void Cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

  // A file that was written.
  struct File {
    std::string path;
    std::shared_ptr<const Segment> segment;  // of number 0
    std::vector<uint8_t> bits;               // rows that are left out, as later or older ones count; empty: none
    uint64_t deleted = 0;
    std::set<uint64_t> seen;  // segments of the table whose keys it was compared with
    bool sealed = false;      // it is not this object's to remove any more
  };
  std::vector<File>& files() { return files_; }
  // Of a segment of the table the rows that have keys of these, a bit each; empty: none.
  const std::vector<uint8_t>& Replaced(uint64_t segment_id) const;

 private:
  // Enters the rows of an older segment that have keys of the file in *bits, and counts those that were not there.
  // `deletions` are the older segment's rows that are gone; null: none is.
  Status Compare(const File& file, const Segment& older, const uint8_t* deletions, std::vector<uint8_t>* bits,
                 uint64_t* count) const;
  // The encoded key of the first row that has a bit and is not gone.
  Status FirstKey(const Segment& segment, const std::vector<uint8_t>& bits, const uint8_t* deletions,
                  std::string* key) const;

  const std::string folder_, name_;
  const uint32_t table_id_;
  const Schema schema_;
  const LoadMode mode_;
  const bool durable_;
  const pid_t pid_;  // a forked child must not take the files away from its parent
  std::vector<File> files_;
  std::map<uint64_t, std::vector<uint8_t>> replaced_;  // by number of the table's segments
  int64_t ignored_ = 0;
  std::atomic<bool> cancelled_{false};
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEGMENT_LOAD_H_
