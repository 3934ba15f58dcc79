// KeptVersions: the past versions of a table that stay readable, and the files that they need.
#ifndef GRIDFLOW_CORE_KEPT_VERSIONS_H_
#define GRIDFLOW_CORE_KEPT_VERSIONS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/manifest.h"
#include "core/status.h"

namespace gridflow {

// A version is kept as a copy of its manifest, <version>.manifest. As long as that stands, every file that it names
// does; whoever lets go of a version removes the copy first and its files then. So a reader that finds the copy but not
// a file looks again and finds neither, and a crash in between leaves files that nothing names, never the reverse.
//
// Kept are those that have a tag, and of the others the last few before the current one that were kept when they were
// replaced; a version that only a reader had made is not (TableEdit::LetGoOfBase). So which are kept can be told from the
// files that are there and the tags alone.
//
// Which versions have tags, and how many others stay, is the catalog's to say: Want(), Tag() and Untag() are told. For the owner; whoever orders
// the edits of the table (TableEdit) orders these calls among them. What a call costs does not grow with the versions
// that are kept, but for Want().
class KeptVersions {
 public:
  // `folder` is the table's.
  KeptVersions(std::string folder, bool durable) : folder_(std::move(folder)), durable_(durable) {}

  // Takes over a version that is kept already, when the table is opened.
  Status Take(uint64_t version);
  // What to keep from now on: the versions of these tags, one for each, and the last few others before the current one.
  void Want(const std::vector<uint64_t>& tagged, uint64_t last);
  // A version has got one more tag, or one less.
  void Tag(uint64_t version);
  void Untag(uint64_t version);
  uint64_t last() const { return last_; }
  bool IsTagged(uint64_t version) const { return tags_.count(version) > 0; }
  // Keeps a version, the current one, whose files are all there; nothing happens if it is kept already.
  Status Keep(const Manifest& version);
  // Forgets the versions that are not to be kept (any more) beside `current`. Returns what to unlink, in this order: their
  // manifests; then what they and `files` name that neither `current` nor a version that stays does.
  std::vector<std::string> Release(const Manifest& current, std::set<std::string> files);

 private:
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  void Add(Manifest version);

  const std::string folder_;
  const bool durable_;
  uint64_t last_ = 0;
  std::map<uint64_t, Manifest> kept_;                // by version
  std::map<uint64_t, uint64_t> tags_;                // how many tags a version has, if it has any
  std::set<uint64_t> untagged_;                      // those of kept_ that have none
  std::unordered_map<std::string, uint64_t> names_;  // how many of kept_ name a file
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_KEPT_VERSIONS_H_
