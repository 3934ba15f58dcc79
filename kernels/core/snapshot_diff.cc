#include "core/snapshot_diff.h"

#include <algorithm>
#include <string>

#include "core/row_codec.h"

namespace gridflow {
namespace {

// Whether a version has that very segment. By mapping and not by number: a grid that was removed and made again in the
// same place gives the numbers out again.
bool Has(const TableSnapshot& version, const Segment* segment) {
  for (const SegmentRef& ref : version.segments())
    if (ref.segment.get() == segment) return true;
  return false;
}

// The first of the rows from `at` on whose hash is at least `hash`: the farther it is the longer it takes.
int64_t Advance(const Segment& segment, int64_t at, uint64_t hash) {
  const uint64_t* hashes = segment.hashes();
  if (at == segment.rows() || hashes[at] >= hash) return at;  // the rule, where rows come from several segments
  int64_t step = 1;
  while (step <= segment.rows() - at && hashes[at + step - 1] < hash) at += step, step *= 2;
  return std::lower_bound(hashes + at, hashes + std::min(at + step, segment.rows()), hash) - hashes;
}

// Looks rows of a new segment up, in the order of their hashes, in a segment that is gone.
class Gone {
 public:
  // False if what the segment holds cannot be read with that schema: then it has no row in common with anything.
  bool Open(const SegmentRef& ref, const Schema& schema) {
    ref_ = &ref;
    return ColumnsAs(*ref.segment, schema, &columns_).ok();
  }
  void Restart() { at_ = 0; }

  // Whether the row with this hash, key and value is live here.
  Status Find(const Schema& schema, uint64_t hash, const std::string& key, const std::string& value, bool* found) {
    const Segment& segment = *ref_->segment;
    for (int64_t row = at_; row < segment.rows() && segment.hashes()[row] == hash && !*found; ++row) {
      if (!ref_->Live(row)) continue;
      text_.clear();
      GF_RETURN_IF_ERROR(EncodeKey(schema, columns_, row, &text_));
      if (text_ != key) continue;
      text_.clear();
      GF_RETURN_IF_ERROR(EncodeValue(schema, columns_, row, &text_));
      *found = text_ == value;
    }
    return Status::Ok();
  }
  bool Reaches(uint64_t hash) {
    at_ = Advance(*ref_->segment, at_, hash);
    return at_ < ref_->segment->rows() && ref_->segment->hashes()[at_] == hash;
  }

 private:
  const SegmentRef* ref_ = nullptr;
  std::vector<ColumnView> columns_;  // in the order of the newer version's schema
  int64_t at_ = 0;                   // the first row that a hash to come may be found at
  std::string text_;                 // scratch
};

// Looks rows of new segments up in all segments that are gone.
class Moves {
 public:
  Moves(const TableSnapshot& older, const TableSnapshot& newer) : schema_(newer.schema()) {
    for (const SegmentRef& ref : older.segments()) {
      if (Has(newer, ref.segment.get())) continue;
      gone_.emplace_back();
      if (!gone_.back().Open(ref, schema_)) gone_.pop_back();
    }
  }
  bool possible() const { return !gone_.empty(); }
  // Before the first row of a segment.
  void Restart() {
    for (Gone& one : gone_) one.Restart();
  }
  // Whether a row lay, as it is, in one of them. Rows of a segment come in their order.
  Status Find(const Segment& segment, const std::vector<ColumnView>& columns, int64_t row, bool* found) {
    const uint64_t hash = segment.hashes()[row];
    bool encoded = false;
    *found = false;
    for (Gone& one : gone_) {
      if (!one.Reaches(hash) || *found) continue;
      if (!encoded) {
        encoded = true;
        key_.clear();
        value_.clear();
        GF_RETURN_IF_ERROR(EncodeKey(schema_, columns, row, &key_));
        GF_RETURN_IF_ERROR(EncodeValue(schema_, columns, row, &value_));
      }
      GF_RETURN_IF_ERROR(one.Find(schema_, hash, key_, value_, found));
    }
    return Status::Ok();
  }

 private:
  const Schema& schema_;  // of the newer version
  std::vector<Gone> gone_;
  std::string key_, value_;  // scratch
};

}  // namespace

Status NewRows(const TableSnapshot& older, const TableSnapshot& newer, std::vector<RowRange>* out) {
  out->clear();
  if (older.manifest().table_id != newer.manifest().table_id)
    return Status::Invalid("versions of two tables cannot be compared");
  Moves moves(older, newer);
  for (const SegmentRef& ref : older.segments())
    if (!Has(newer, ref.segment.get())) GF_RETURN_IF_ERROR(ref.segment->CheckAll());
  for (size_t s = 0; s < newer.segments().size(); ++s) {
    const SegmentRef& ref = newer.segments()[s];
    // Rows of a segment that both have are the same: they can only be deleted.
    if (Has(older, ref.segment.get())) continue;
    const int index = static_cast<int>(s);
    if (!moves.possible() && ref.deletions == nullptr) {
      out->push_back({index, 0, ref.segment->rows()});
      continue;
    }
    GF_RETURN_IF_ERROR(ref.segment->CheckAll());
    moves.Restart();
    for (int64_t row = 0; row < ref.segment->rows(); ++row) {
      if (!ref.Live(row)) continue;
      bool moved = false;
      GF_RETURN_IF_ERROR(moves.Find(*ref.segment, newer.columns(index), row, &moved));
      if (moved) continue;
      if (out->empty() || out->back().segment != index || out->back().end != row) out->push_back({index, row, row});
      ++out->back().end;
    }
  }
  return Status::Ok();
}

}  // namespace gridflow
