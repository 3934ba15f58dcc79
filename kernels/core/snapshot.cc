#include "core/snapshot.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace gridflow {
namespace {

constexpr int kTries = 100;  // a compaction would have to win a race this often in a row

// Whether values of both types lie in memory and in rows alike; names do not matter.
bool SameLayout(const Type& a, const Type& b) {
  if (a.kind != b.kind || a.nullable != b.nullable || a.unit != b.unit || a.scale != b.scale || a.dims != b.dims ||
      a.children.size() != b.children.size() || (a.kind == GF_TENSOR && a.element != b.element))
    return false;
  for (size_t i = 0; i < a.children.size(); ++i)
    if (!SameLayout(a.children[i], b.children[i])) return false;
  return true;
}

// Has what a row's values are read from fetched: cells, and the bytes that offsets lead to.
void PrefetchRow(const std::vector<ColumnView>& columns, int64_t row) {
  constexpr int64_t kLine = 64, kMostLines = 4;
  for (const ColumnView& column : columns) {
    if (column.data == nullptr) continue;
    if (column.offsets == nullptr) {
      __builtin_prefetch(column.data + (row + column.offset) * column.type->width);
      continue;
    }
    int64_t start, end;
    if (!CheckedRange(column, row, &start, &end)) continue;  // who reads the value says so
    for (int64_t at = start; at < std::min(end, start + kMostLines * kLine); at += kLine)
      __builtin_prefetch(column.data + at);
  }
}

}  // namespace

Status ColumnsAs(const Segment& segment, const Schema& schema, std::vector<ColumnView>* out) {
  constexpr int64_t kSchemaAt = sizeof(gf_segment_header);
  std::vector<uint32_t> keys, wanted;
  for (uint32_t position : segment.schema().key) keys.push_back(segment.schema().columns[position].id);
  for (uint32_t position : schema.key) wanted.push_back(schema.columns[position].id);
  if (keys != wanted)
    return Status::Corrupt(segment.path(), kSchemaAt, "its key is not the one that the manifest names");
  out->clear();
  for (const Column& column : schema.columns) {
    const int position = segment.FindColumn(column.id);
    const bool fits = position >= 0 ? SameLayout(segment.schema().columns[position].type, column.type)
                                    : column.type.nullable || !column.fill.empty();
    if (!fits)
      return Status::Corrupt(segment.path(), kSchemaAt,
                             "its column " + column.type.name + " is not the one that the manifest names");
    if (position >= 0) {
      out->push_back(segment.column(position));
    } else if (!column.fill.empty()) {
      out->push_back(segment.Filled(column));
    } else {
      out->emplace_back();
      out->back().type = &column.type;
    }
  }
  return Status::Ok();
}

Status TableSnapshot::Open(const std::string& grid, uint32_t table_id, uint64_t version,
                           std::shared_ptr<const TableSnapshot>* out) {
  const std::string folder = TableFolder(grid, table_id);
  Status status;
  uint64_t failed_version = 0;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    Manifest manifest;
    GF_RETURN_IF_ERROR(Manifest::Read(folder + "/manifest", &manifest));
    if (manifest.table_id != table_id)
      return Status::Corrupt(folder + "/manifest", sizeof(gf_frame_header), "it belongs to another table");
    if (version != kCurrent && version != manifest.version) {
      const uint64_t current = manifest.version;
      status = Manifest::ReadKept(folder, version, &manifest);  // written before the current one replaced it
      if (status.code == Code::kNotFound)
        return {Code::kGone,
                "version " + std::to_string(version) + " of table " + std::to_string(table_id) + " in the grid " +
                    grid + " is not kept, the current one is " + std::to_string(current) +
                    "; a version that has a tag stays",
                folder, -1};
      GF_RETURN_IF_ERROR(status);
    }
    status = Make(folder, manifest, nullptr, out);
    if (status.code != Code::kNotFound) return status;
    // Files go only after a newer manifest stands; if the same one still names a file that is not there, it is lost.
    if (attempt > 0 && manifest.version == failed_version)
      return Status::Corrupt(status.file, 0, "the file is missing");
    failed_version = manifest.version;
  }
  return status;
}

Status TableSnapshot::Make(const std::string& folder, const Manifest& manifest, const TableSnapshot* old,
                           std::shared_ptr<const TableSnapshot>* out) {
  std::shared_ptr<TableSnapshot> snapshot(new TableSnapshot);
  snapshot->manifest_ = manifest;
  for (const gf_manifest_segment& named : manifest.segments) {
    SegmentRef ref;
    std::shared_ptr<const Deletions> bitmap;  // what a list adds to
    if (old != nullptr) {  // what is open already is not opened again
      for (size_t i = 0; i < old->segments_.size(); ++i) {
        if (old->manifest_.segments[i].segment_id != named.segment_id) continue;
        const gf_manifest_segment& known = old->manifest_.segments[i];
        ref = old->segments_[i];
        if (known.deletions_id == named.bitmap_id)
          bitmap = ref.deletions;
        else if (known.bitmap_id == named.bitmap_id && ref.deletions != nullptr)
          bitmap = ref.deletions->bitmap();
        if (known.deletions_id != named.deletions_id) ref.deletions.reset();
      }
    }
    const std::string path = folder + "/" + FileName(named.segment_id, ".seg");
    if (ref.segment == nullptr) GF_RETURN_IF_ERROR(Segment::Open(path, &ref.segment));
    if (ref.segment->id() != named.segment_id || static_cast<uint64_t>(ref.segment->rows()) != named.rows ||
        ref.segment->table_id() != manifest.table_id)
      return Status::Corrupt(path, 32, "it is not the segment that the manifest names");
    if (named.deletions_id != 0 && ref.deletions == nullptr) {
      if (named.bitmap_id != 0 && bitmap == nullptr)
        GF_RETURN_IF_ERROR(Deletions::Open(folder + "/" + FileName(named.bitmap_id, ".del"), nullptr, &bitmap));
      const std::string file = folder + "/" + FileName(named.deletions_id, ".del");
      GF_RETURN_IF_ERROR(Deletions::Open(file, std::move(bitmap), &ref.deletions));
      if (ref.deletions->segment_id() != named.segment_id || ref.deletions->rows() != ref.segment->rows() ||
          static_cast<uint64_t>(ref.deletions->deleted()) != named.deleted ||
          ref.deletions->bitmap_id() != named.bitmap_id)
        return Status::Corrupt(file, 16, "it is not what the manifest names");
    }
    std::vector<ColumnView> columns;
    GF_RETURN_IF_ERROR(ColumnsAs(*ref.segment, snapshot->manifest_.schema, &columns));
    snapshot->columns_.push_back(std::move(columns));
    if (snapshot->segments_.empty() || ref.segment->rows() > snapshot->segments_[snapshot->largest_].segment->rows())
      snapshot->largest_ = snapshot->segments_.size();
    snapshot->segments_.push_back(std::move(ref));
  }
  *out = std::move(snapshot);
  return Status::Ok();
}

int64_t TableSnapshot::live_rows() const {
  int64_t rows = 0;
  for (const SegmentRef& ref : segments_) rows += ref.live_rows();
  return rows;
}

Status TableSnapshot::FindIn(size_t at, int64_t near, uint64_t hash, const uint8_t* key, size_t key_bytes, int* segment,
                             int64_t* row) const {
  const Segment& it = *segments_[at].segment;
  int64_t there;
  if (it.partial())
    GF_RETURN_IF_ERROR(it.FindPartial(hash, key, key_bytes, &there));
  else
    there = it.FindNear(near, hash, key, key_bytes);
  if (!it.checked()) GF_RETURN_IF_ERROR(it.CheckFound(hash, there));
  if (there < 0 || !segments_[at].Live(there)) return Status::Ok();
  *segment = static_cast<int>(at);
  *row = there;
  return Status::Ok();
}

int64_t TableSnapshot::Approach(size_t at, uint64_t hash) const {
  const Segment& it = *segments_[at].segment;
  const int64_t near = it.Near(hash);
  // A few rows to either side, in another line of the cache as often as not.
  constexpr int64_t kFew = 4;
  for (const int64_t row : {std::max<int64_t>(near - kFew, 0), std::min(near + kFew, it.rows() - 1)}) {
    __builtin_prefetch(it.hashes() + row);
    it.PrefetchCells(row);
  }
  return near;
}

Status TableSnapshot::Find(uint64_t hash, const uint8_t* key, size_t key_bytes, int* segment, int64_t* row) const {
  *segment = -1;
  if (segments_.empty()) return Status::Ok();
  // Of a segment that may have the key. A live row in another one proves that it has not.
  Status damage;
  auto keep = [&damage](Status status) {
    if (!status.ok() && damage.ok()) damage = std::move(status);
  };
  // The largest segment has most keys: what is read of it is fetched while the others are asked.
  const int64_t near_largest = Approach(largest_, hash);
  // Several at a time, so that what is read of each is fetched for all of them at once.
  constexpr int kTogetherHere = 8;
  size_t asked[kTogetherHere];
  int64_t near[kTogetherHere];
  for (size_t left = segments_.size(); left > 0;) {  // the newest first, as recent keys are asked for most
    int count = 0;
    for (; left > 0 && count < kTogetherHere; --left) {
      const size_t at = left - 1;
      if (at == largest_ || !segments_[at].segment->MayHave(hash)) continue;
      asked[count] = at;
      near[count++] = Approach(at, hash);
    }
    for (int i = 0; i < count && *segment < 0; ++i) keep(FindIn(asked[i], near[i], hash, key, key_bytes, segment, row));
    if (*segment >= 0) break;
  }
  if (*segment >= 0 && IsLast(*segment)) return Status::Ok();
  keep(FindIn(largest_, near_largest, hash, key, key_bytes, segment, row));
  return *segment >= 0 && IsLast(*segment) ? Status::Ok() : damage;
}

bool TableSnapshot::IsLast(int segment) const {
  const auto at = static_cast<size_t>(segment);
  return at >= largest_ || segments_[at].segment->hashes_checked();
}

Status TableSnapshot::FindTogether(const uint64_t* hashes, const std::string* keys, size_t count, int* segments,
                                   int64_t* rows) const {
  GF_DCHECK(count <= kTogether);
  size_t asked[kTogether];
  int64_t near[kTogether];
  std::vector<std::pair<size_t, Status>> damages;  // met on the search for a key; see Find
  std::fill_n(segments, count, -1);
  // The newest first, and the largest last: it has most keys, and most others say at once that they have none of them.
  for (size_t left = segments_.size() + 1; left-- > 0 && !segments_.empty();) {
    const bool last = left == 0;
    const size_t at = last ? largest_ : left - 1;
    if (!last && at == largest_) continue;
    size_t some = 0;
    for (size_t i = 0; i < count; ++i) {
      if (segments[i] >= 0 && !(last && !IsLast(segments[i]))) continue;
      if (!last && !segments_[at].segment->MayHave(hashes[i])) continue;
      near[some] = Approach(at, hashes[i]);
      asked[some++] = i;
    }
    for (size_t j = 0; j < some; ++j) {
      const size_t i = asked[j];
      const auto* key = reinterpret_cast<const uint8_t*>(keys[i].data());
      Status status = FindIn(at, near[j], hashes[i], key, keys[i].size(), &segments[i], &rows[i]);
      if (!status.ok()) damages.emplace_back(i, std::move(status));
      if (segments[i] >= 0) PrefetchRow(columns_[at], rows[i]);
    }
  }
  for (const auto& [i, damage] : damages)
    if (segments[i] < 0 || !IsLast(segments[i])) return damage;
  return Status::Ok();
}

}  // namespace gridflow
