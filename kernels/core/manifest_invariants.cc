#include "core/manifest_invariants.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "gridflow/segment_format.h"

namespace gridflow {
namespace {

template <typename Predicate>
bool EachSegment(const Manifest& manifest, const Predicate& holds) {
  return std::all_of(manifest.segments.begin(), manifest.segments.end(), holds);
}

bool HasPartitions(const Manifest& manifest) { return manifest.partitions > 0; }

bool SegmentsHaveRows(const Manifest& manifest) {
  return EachSegment(manifest, [](const gf_manifest_segment& s) { return s.rows > 0 && s.rows <= GF_MAX_SEGMENT_ROWS; });
}

bool DeletedRowsAreRows(const Manifest& manifest) {
  return EachSegment(manifest, [](const gf_manifest_segment& s) { return s.deleted <= s.rows; });
}

bool BitmapsWhereRowsAreDeleted(const Manifest& manifest) {
  return EachSegment(manifest, [](const gf_manifest_segment& s) {
    return (s.deletions_id != 0) == (s.deleted != 0) && (s.bitmap_id == 0 || s.deletions_id != 0);
  });
}

bool FileIdsBelowNext(const Manifest& manifest) {
  return EachSegment(manifest, [&](const gf_manifest_segment& s) {
    return s.segment_id < manifest.next_file_id && s.deletions_id < manifest.next_file_id &&
           s.bitmap_id < manifest.next_file_id;
  });
}

bool SegmentsOnce(const Manifest& manifest) {
  std::unordered_set<uint64_t> ids;
  return EachSegment(manifest, [&](const gf_manifest_segment& s) { return ids.insert(s.segment_id).second; });
}

bool SegmentIdsRise(const Manifest& manifest) {
  return std::is_sorted(
      manifest.segments.begin(), manifest.segments.end(),
      [](const gf_manifest_segment& a, const gf_manifest_segment& b) { return a.segment_id < b.segment_id; });
}

bool BitmapsAfterTheirSegments(const Manifest& manifest) {
  return EachSegment(manifest, [](const gf_manifest_segment& s) {
    return (s.deletions_id == 0 || s.deletions_id > s.segment_id) &&
           (s.bitmap_id == 0 || (s.bitmap_id > s.segment_id && s.bitmap_id < s.deletions_id));
  });
}

bool SameTable(const Manifest& earlier, const Manifest& later) { return earlier.table_id == later.table_id; }

bool VersionRises(const Manifest& earlier, const Manifest& later) { return earlier.version < later.version; }

bool VersionRisesByOne(const Manifest& earlier, const Manifest& later) { return earlier.version + 1 == later.version; }

bool FlushedLsnNeverFalls(const Manifest& earlier, const Manifest& later) {
  return earlier.flushed_lsn <= later.flushed_lsn;
}

bool NextFileIdNeverFalls(const Manifest& earlier, const Manifest& later) {
  return earlier.next_file_id <= later.next_file_id;
}

bool NewFilesHaveNewIds(const Manifest& earlier, const Manifest& later) {
  std::unordered_set<uint64_t> ids = {0};  // 0: no bitmap
  for (const gf_manifest_segment& s : earlier.segments) {
    ids.insert(s.segment_id);
    ids.insert(s.deletions_id);
    ids.insert(s.bitmap_id);
  }
  auto fits = [&](uint64_t id) { return id >= earlier.next_file_id || ids.count(id) > 0; };
  return EachSegment(later, [&](const gf_manifest_segment& s) {
    return fits(s.segment_id) && fits(s.deletions_id) && fits(s.bitmap_id);
  });
}

bool SegmentsStaySealed(const Manifest& earlier, const Manifest& later) {
  std::unordered_multimap<uint64_t, const gf_manifest_segment*> before;  // by id
  for (const gf_manifest_segment& s : earlier.segments) before.emplace(s.segment_id, &s);
  return EachSegment(later, [&](const gf_manifest_segment& s) {
    const auto same = before.equal_range(s.segment_id);
    return std::all_of(same.first, same.second, [&](const auto& one) {
      return one.second->rows == s.rows && one.second->deleted <= s.deleted;
    });
  });
}

bool KeyStays(const Manifest& earlier, const Manifest& later) {
  const Schema &a = earlier.schema, &b = later.schema;
  return std::equal(a.key.begin(), a.key.end(), b.key.begin(), b.key.end(),
                    [&](uint32_t i, uint32_t j) { return a.columns[i].id == b.columns[j].id; });
}

template <typename Invariant>
std::string Broken(const Invariant& invariant) {
  return std::string(invariant.name) + " does not hold: " + invariant.reason;
}

}  // namespace

const std::vector<ManifestInvariant>& ManifestInvariants() {
  static const auto* invariants = new std::vector<ManifestInvariant>{
      {"has_partitions", "every row lies in one", true, HasPartitions},
      {"segments_have_rows", "a segment of none, or of too many, cannot be written", true, SegmentsHaveRows},
      {"deleted_rows_are_rows", "a segment has no more to delete than it holds", true, DeletedRowsAreRows},
      {"bitmaps_where_rows_are_deleted", "a segment has a file of deletions if rows of it are deleted, and no other",
       true, BitmapsWhereRowsAreDeleted},
      {"file_ids_below_next", "a new file would take the name of one that is sealed", true, FileIdsBelowNext},
      {"segments_once", "each of its rows would be live twice", true, SegmentsOnce},
      {"segment_ids_rise", "the oldest comes first, and the newest row of a key is looked for from the end", false,
       SegmentIdsRise},
      {"bitmaps_after_their_segments", "rows are deleted once they have been written", false,
       BitmapsAfterTheirSegments},
  };
  return *invariants;
}

const std::vector<SuccessionInvariant>& SuccessionInvariants() {
  static const auto* invariants = new std::vector<SuccessionInvariant>{
      {"same_table", "a table's versions are its own", false, SameTable},
      {"version_rises", "readers know by it that there is something new", false, VersionRises},
      {"version_rises_by_one", "each version is the edit of the one before", true, VersionRisesByOne},
      {"flushed_lsn_never_falls", "commits would be applied a second time", false, FlushedLsnNeverFalls},
      {"next_file_id_never_falls", "a new file would take the name of one that is sealed", false,
       NextFileIdNeverFalls},
      {"new_files_have_new_ids", "a sealed file is never replaced: who has mapped it keeps it", false,
       NewFilesHaveNewIds},
      {"segments_stay_sealed", "a segment keeps its rows, and what is deleted stays so", false, SegmentsStaySealed},
      {"key_stays", "rows lie where their key's hash says", false, KeyStays},
  };
  return *invariants;
}

std::string BrokenInvariant(const Manifest& manifest, bool to_read) {
  for (const ManifestInvariant& invariant : ManifestInvariants())
    if ((invariant.to_read || !to_read) && !invariant.holds(manifest)) return Broken(invariant);
  return "";
}

std::string BrokenSuccession(const Manifest& earlier, const Manifest& later, bool next) {
  for (const SuccessionInvariant& invariant : SuccessionInvariants())
    if ((next || !invariant.next) && !invariant.holds(earlier, later)) return Broken(invariant);
  return "";
}

Status VerifyManifest(const std::string& file, const Manifest& manifest, const Manifest* later) {
  std::string broken = BrokenInvariant(manifest);
  if (broken.empty() && later != nullptr) broken = BrokenSuccession(manifest, *later);
  if (broken.empty()) return Status::Ok();
  return {Code::kCorrupt, file + ": " + broken, file, -1};
}

}  // namespace gridflow
