#include "core/table_edit.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "core/check.h"
#include "core/failpoint.h"
#include "core/key_hash.h"
#include "core/manifest_invariants.h"
#include "core/mapping.h"
#include "core/merge_order.h"
#include "core/row_codec.h"
#include "core/small_segments.h"

namespace gridflow {
namespace {

constexpr uint64_t kRoomLeft = 1 << 20;  // where less stays free, no small segment is taken over
constexpr uint64_t kSegmentBytes = uint64_t{1} << 30;  // of rows that are written anew: about so many in a segment

}  // namespace

TableEdit::TableEdit(std::string folder, std::shared_ptr<const TableSnapshot> base, bool durable, int threads,
                     KeptVersions* kept)
    : folder_(std::move(folder)),
      base_(std::move(base)),
      durable_(durable),
      threads_(threads),
      kept_(kept),
      manifest_(base_->manifest()) {
  for (size_t i = 0; i < base_->segments().size(); ++i) {
    Part part;
    part.ref = base_->segments()[i];
    part.named = manifest_.segments[i];
    part.deleted = part.named.deleted;
    parts_.push_back(std::move(part));
  }
}

TableEdit::~TableEdit() {
  for (const std::string& path : written_) ::unlink(path.c_str());
}

std::string TableEdit::Path(uint64_t id, const char* suffix) const { return folder_ + "/" + FileName(id, suffix); }

void TableEdit::MarkDeleted(Part* part, int64_t row) {
  if (part->bits.empty()) {
    const size_t bytes = (static_cast<size_t>(part->ref.segment->rows()) + 7) / 8;
    part->bits.resize(bytes);
    if (part->ref.deletions != nullptr) std::copy_n(part->ref.deletions->bits(), bytes, part->bits.begin());
  }
  part->bits[row >> 3] |= static_cast<uint8_t>(1 << (row & 7));
  ++part->deleted;
}

bool TableEdit::MarkDeleted(size_t parts, uint64_t hash, const uint8_t* key, size_t key_bytes) {
  for (size_t i = parts; i-- > 0;) {
    Part& part = parts_[i];
    if (part.dropped) continue;
    const int64_t row = part.ref.segment->Find(hash, key, key_bytes);
    if (row < 0 || !part.Live(row)) continue;
    MarkDeleted(&part, row);
    return true;
  }
  return false;
}

bool TableEdit::Contains(size_t parts, uint64_t hash, const uint8_t* key, size_t key_bytes) const {
  for (size_t i = parts; i-- > 0;) {
    const Part& part = parts_[i];
    if (part.dropped) continue;
    const int64_t row = part.ref.segment->Find(hash, key, key_bytes);
    if (row >= 0 && part.Live(row)) return true;
  }
  return false;
}

Status TableEdit::AddSegment(std::vector<Source> sources, KeyOrder keys, uint64_t bytes) {
  const uint64_t fresh = keys.order.size();
  GF_RETURN_IF_ERROR(Fold(bytes, &sources, &keys));
  return AddSegment(fresh, keys.order.size(), [&](const SegmentSpec& spec) {
    return WriteSegment(spec, sources, keys.order, keys.hashes.data());
  });
}

Status TableEdit::AddSegment(uint64_t fresh, uint64_t rows, const std::function<Status(const SegmentSpec&)>& write) {
  SegmentSpec spec;
  spec.segment_id = manifest_.next_file_id++;
  spec.path = Path(spec.segment_id, ".seg");
  spec.table_id = manifest_.table_id;
  spec.schema = &manifest_.schema;
  spec.durable = durable_;
  spec.threads = threads_;
  written_.push_back(spec.path);
  GF_RETURN_IF_ERROR(write(spec));
  Part* part;
  GF_RETURN_IF_ERROR(Open(spec.segment_id, rows, &part));
  const double moved = 1.0 - static_cast<double>(fresh) / static_cast<double>(rows);
  const uint64_t file = part->ref.segment->bytes();
  const auto moved_bytes = static_cast<uint64_t>(static_cast<double>(file) * moved);
  moved_bytes_ += moved_bytes;
  added_bytes_ += file - moved_bytes;
  return Status::Ok();
}

Status TableEdit::Open(uint64_t segment_id, uint64_t rows, Part** out) {
  Part part;
  GF_RETURN_IF_ERROR(Segment::Open(Path(segment_id, ".seg"), &part.ref.segment));
  part.named.segment_id = segment_id;
  part.named.rows = rows;
  parts_.push_back(std::move(part));
  *out = &parts_.back();
  return Status::Ok();
}

Status TableEdit::Adopt(const std::string& unsealed, uint64_t rows, Part** out) {
  const uint64_t id = manifest_.next_file_id++;
  written_.push_back(Path(id, ".seg"));
  GF_RETURN_IF_ERROR(SealSegment(unsealed, id, written_.back(), durable_));
  return Open(id, rows, out);
}

Status TableEdit::Fold(uint64_t bytes, std::vector<Source>* sources, KeyOrder* keys) {
  if (bytes >= small_) return Status::Ok();
  std::vector<SmallSegment> sizes;
  std::vector<Part*> there;
  for (Part& part : parts_) {
    if (part.dropped || part.deleted == part.named.rows) continue;  // the second kind goes in any case
    const uint64_t file = part.ref.segment->bytes();
    sizes.push_back({file, file / part.named.rows * (part.named.rows - part.deleted)});
    there.push_back(&part);
  }
  const std::vector<size_t> taken = TakenOver(sizes, bytes, small_);
  if (taken.empty()) return Status::Ok();
  uint64_t all = bytes;
  for (size_t i : taken) all += sizes[i].live_bytes;
  // What is taken over is there twice until the edit is done. A full grid must be able to flush: whoever writes sees to
  // room for that, but for no more.
  if (!CheckRoom(folder_, 2 * all + kRoomLeft).ok()) return Status::Ok();
  KeyOrder fresh = std::move(*keys);
  // The new rows are a run of sources that are there already; a source of no rows keeps runs and sources in step.
  std::vector<SortedRun> runs(sources->size());
  runs[0] = {fresh.hashes.data(), static_cast<int64_t>(fresh.hashes.size()), nullptr, fresh.order.data()};
  for (size_t i : taken) {
    Part& part = *there[i];
    // What is damaged would get a checksum of its own. It stays as it is, and keeps nobody from writing.
    if (!part.ref.segment->CheckAll().ok()) continue;
    Source columns;
    GF_RETURN_IF_ERROR(ColumnsAs(*part.ref.segment, manifest_.schema, &columns));
    sources->push_back(std::move(columns));
    runs.push_back({part.ref.segment->hashes(), part.ref.segment->rows(), part.Deleted(), nullptr});
    part.dropped = true;
  }
  return MergeRuns(manifest_.schema, *sources, runs, nullptr, keys);
}

Status TableEdit::AddMemory(const MemoryTable& memory) {
  const std::vector<MemoryEntry> entries = memory.Sorted();
  RowsBuilder builder(manifest_.schema);
  KeyOrder keys;
  const size_t before = parts_.size();
  uint64_t bytes = 0;
  for (const MemoryEntry& entry : entries) {
    const Operation operation = entry.operation;
    if (before > 0) MarkDeleted(before, entry.hash, operation.key(), operation.key_bytes());
    if (operation.removal()) continue;
    builder.Append(operation.key(), operation.value());
    keys.hashes.push_back(entry.hash);
    bytes += operation.all_bytes();
  }
  if (keys.hashes.empty()) return Status::Ok();
  keys.order.resize(keys.hashes.size());
  for (size_t i = 0; i < keys.order.size(); ++i) keys.order[i] = {0, static_cast<uint32_t>(i)};
  return AddSegment({builder.Views()}, std::move(keys), bytes);
}

Status TableEdit::AddRows(const std::vector<Source>& sources, LoadMode mode, int64_t* rows, std::string* duplicate) {
  KeyOrder keys;
  int64_t source, row;
  duplicate->clear();
  GF_RETURN_IF_ERROR(OrderByKey(manifest_.schema, sources, threads_, &keys, &source, &row, TwiceOf(mode)));
  *rows = static_cast<int64_t>(keys.order.size());
  if (mode == LoadMode::kInsert && source >= 0) {
    GF_RETURN_IF_ERROR(EncodeKey(manifest_.schema, sources[source], row, duplicate));
    return Status::Invalid("a key is there twice");
  }
  if (keys.order.empty()) return Status::Ok();
  const size_t before = parts_.size();
  std::string key;
  size_t fresh = 0;  // with kIgnore: rows so far whose keys are not there
  for (size_t i = 0; before > 0 && i < keys.order.size(); ++i) {
    key.clear();
    const RowRef ref = keys.order[i];
    GF_RETURN_IF_ERROR(EncodeKey(manifest_.schema, sources[ref.source], ref.row, &key));
    const auto* bytes = reinterpret_cast<const uint8_t*>(key.data());
    if (mode == LoadMode::kReplace) {
      MarkDeleted(before, keys.hashes[i], bytes, key.size());
    } else if (!Contains(before, keys.hashes[i], bytes, key.size())) {
      keys.hashes[fresh] = keys.hashes[i];
      keys.order[fresh++] = ref;
    } else if (mode == LoadMode::kInsert) {
      *duplicate = key;
      return Status::Invalid("a key exists");
    }
  }
  if (mode == LoadMode::kIgnore && before > 0) {
    keys.hashes.resize(fresh);
    keys.order.resize(fresh);
    *rows = static_cast<int64_t>(fresh);
    if (fresh == 0) return Status::Ok();
  }
  uint64_t bytes = 0;
  for (const Source& one : sources) bytes += BytesInSegment(one);
  return AddSegment(sources, std::move(keys), bytes);
}

Status TableEdit::Replace(SegmentMerge* merge, bool* usable) {
  // What this edit deletes of the inputs the merge would not know.
  for (const Part& part : parts_)
    if (!part.bits.empty()) return Status::Internal("a merge comes first in an edit");
  *usable = merge->CatchUp(*base_);
  if (!*usable) return Status::Ok();
  for (Part& part : parts_)
    if (merge->Merges(part.named.segment_id)) part.dropped = true;
  if (merge->rows() == merge->deleted()) return Status::Ok();
  Part* part;
  GF_RETURN_IF_ERROR(Adopt(merge->path(), merge->rows(), &part));
  merge->Sealed();
  part->bits = merge->bits();
  part->deleted = merge->deleted();
  moved_bytes_ += part->ref.segment->bytes();
  return Status::Ok();
}

Status TableEdit::Take(SegmentLoad* load) {
  for (Part& part : parts_) {
    if (load->mode() == LoadMode::kIgnore) {
      GF_RETURN_IF_ERROR(load->Ignore(*part.ref.segment, part.named.segment_id, part.Deleted()));
      continue;
    }
    const std::vector<uint8_t>& replaced = load->Replaced(part.named.segment_id);
    for (size_t byte = 0; byte < replaced.size(); ++byte)
      for (unsigned rest = replaced[byte]; rest != 0; rest &= rest - 1) {
        const auto row = static_cast<int64_t>(byte * 8 + static_cast<size_t>(__builtin_ctz(rest)));
        if (part.Live(row)) MarkDeleted(&part, row);  // others may have removed it since
      }
  }
  for (SegmentLoad::File& file : load->files()) {
    const Segment& segment = *file.segment;
    const auto rows = static_cast<uint64_t>(segment.rows());
    if (file.deleted == rows) continue;
    if (segment.bytes() >= small_) {
      Part* part;
      file.segment.reset();  // of number 0
      GF_RETURN_IF_ERROR(Adopt(file.path, rows, &part));
      file.sealed = true;
      part->bits = file.bits;
      part->deleted = file.deleted;
      added_bytes_ += part->ref.segment->bytes();
      continue;
    }
    std::vector<Source> sources(1);
    GF_RETURN_IF_ERROR(ColumnsAs(segment, manifest_.schema, &sources[0]));
    KeyOrder keys;
    for (uint32_t row = 0; row < rows; ++row) {
      if (!file.bits.empty() && ((file.bits[row >> 3] >> (row & 7)) & 1)) continue;
      keys.hashes.push_back(segment.hashes()[row]);
      keys.order.push_back({0, row});
    }
    GF_RETURN_IF_ERROR(AddSegment(std::move(sources), std::move(keys), segment.bytes()));
  }
  return Status::Ok();
}

Status TableEdit::FindMoved(const TableSnapshot& seen, RowRef at, std::string* key, int* part, int64_t* row) const {
  std::string before, now;
  const std::vector<ColumnView>& columns = seen.columns(static_cast<int>(at.source));
  GF_RETURN_IF_ERROR(seen.segments()[at.source].segment->CheckAll());
  GF_RETURN_IF_ERROR(EncodeKey(seen.schema(), columns, at.row, key));
  GF_RETURN_IF_ERROR(EncodeValue(seen.schema(), columns, at.row, &before));
  const auto* bytes = reinterpret_cast<const uint8_t*>(key->data());
  GF_RETURN_IF_ERROR(base_->Find(KeyHash(bytes, key->size()), bytes, key->size(), part, row));
  if (*part < 0) return Status::Ok();
  GF_RETURN_IF_ERROR(EncodeValue(base_->schema(), base_->columns(*part), *row, &now));
  if (before != now) *part = -1;
  return Status::Ok();
}

Status TableEdit::MarkChanged(const RowChanges& changes, std::string* conflict) {
  const TableSnapshot& seen = *changes.seen;
  std::vector<int> places(seen.segments().size(), -1);  // of the segments of `seen` among those of the base
  // By the mapping, which a process has once of a file, and not by the number: that of a preview's segment is the next one
  // that the table gives to another.
  for (size_t i = 0; i < places.size(); ++i)
    for (size_t j = 0; j < base_->segments().size(); ++j)
      if (seen.segments()[i].segment == base_->segments()[j].segment) places[i] = static_cast<int>(j);
  std::vector<size_t> counts(places.size());
  for (size_t i = 0; i < changes.rows.size(); ++i) ++counts[changes.rows[i].source];
  for (size_t i = 0; i < places.size(); ++i) {  // all live rows of a segment, of which each comes once, need no bits
    if (places[i] < 0) continue;
    Part& part = parts_[static_cast<size_t>(places[i])];
    const auto live = static_cast<size_t>(seen.segments()[i].live_rows());
    // A bitmap of as many rows is the same bitmap, as rows do not come back.
    if (counts[i] == live && part.deleted + live == part.named.rows) part.dropped = true;
  }
  bool all_dropped = true;
  for (const int place : places) all_dropped = all_dropped && place >= 0 && parts_[static_cast<size_t>(place)].dropped;
  if (all_dropped) return Status::Ok();
  std::string key;
  for (size_t i = 0; i < changes.rows.size(); ++i) {
    const RowRef at = changes.rows[i];
    int part = places[at.source];
    if (part >= 0 && parts_[static_cast<size_t>(part)].dropped) continue;
    int64_t row = at.row;
    if (part < 0) {
      key.clear();
      GF_RETURN_IF_ERROR(FindMoved(seen, at, &key, &part, &row));
    }
    if (part >= 0 && parts_[static_cast<size_t>(part)].Live(row)) {
      MarkDeleted(&parts_[static_cast<size_t>(part)], row);
      continue;
    }
    const Segment& file = *seen.segments()[at.source].segment;
    GF_RETURN_IF_ERROR(file.CheckFound(file.hashes()[at.row], at.row));
    conflict->clear();
    GF_RETURN_IF_ERROR(EncodeKey(seen.schema(), seen.columns(static_cast<int>(at.source)), at.row, conflict));
    return Status::Invalid("a row was changed meanwhile");
  }
  return Status::Ok();
}

Status TableEdit::ChangeRows(const RowChanges& changes, std::string* conflict) {
  conflict->clear();
  if (changes.removes) {
    GF_RETURN_IF_ERROR(CheckChanges(changes, threads_));
    return MarkChanged(changes, conflict);
  }
  ChangeOrder order;
  GF_RETURN_IF_ERROR(OrderChanges(changes, threads_, &order));
  GF_RETURN_IF_ERROR(MarkChanged(changes, conflict));
  uint64_t bytes = 1, rows = 1;  // of all segments: what a row takes, about
  for (const SegmentRef& ref : changes.seen->segments()) {
    bytes += ref.segment->bytes();
    rows += static_cast<uint64_t>(ref.segment->rows());
  }
  const size_t step = static_cast<size_t>(kSegmentBytes / (bytes / rows + 1)) + 1;
  for (size_t begin = 0; begin < order.hashes.size(); begin += step) {
    const size_t end = std::min(order.hashes.size(), begin + step);
    const ChangedColumns columns(changes, order, begin, end, threads_);
    GF_RETURN_IF_ERROR(AddSegment(end - begin, end - begin, [&](const SegmentSpec& spec) {
      return WriteSegment(spec, columns.columns(), &order.hashes[begin]);
    }));
  }
  return order.hashes.size() == 0 ? Status::Ok() : FoldLast();
}

Status TableEdit::FoldLast() {
  const size_t last = parts_.size() - 1;
  const SegmentRef ref = parts_[last].ref;
  if (ref.segment->bytes() >= small_) return Status::Ok();
  std::vector<Source> sources(1);
  GF_RETURN_IF_ERROR(ColumnsAs(*ref.segment, manifest_.schema, &sources[0]));
  KeyOrder keys;
  keys.hashes.assign(ref.segment->hashes(), ref.segment->hashes() + ref.segment->rows());
  for (uint32_t row = 0; row < keys.hashes.size(); ++row) keys.order.push_back({0, row});
  const uint64_t rows = keys.order.size();
  parts_[last].dropped = true;  // it is one of those that would be taken over
  GF_RETURN_IF_ERROR(Fold(ref.segment->bytes(), &sources, &keys));
  if (keys.order.size() == rows) {  // none is
    parts_[last].dropped = false;
    return Status::Ok();
  }
  GF_RETURN_IF_ERROR(AddSegment(rows, keys.order.size(), [&](const SegmentSpec& spec) {
    return WriteSegment(spec, sources, keys.order, keys.hashes.data());
  }));
  added_bytes_ -= ref.segment->bytes();  // the same rows
  ::unlink(ref.segment->path().c_str());
  written_.erase(std::find(written_.begin(), written_.end(), ref.segment->path()));
  return Status::Ok();
}

Status TableEdit::Restore(const TableSnapshot& past) {
  manifest_.schema = past.schema();
  const std::vector<SegmentRef>& segments = past.segments();
  std::vector<size_t> places(segments.size(), parts_.size());  // among the parts, of which more come
  for (Part& part : parts_) part.dropped = true;
  for (size_t i = 0; i < segments.size(); ++i)
    for (size_t j = 0; j < parts_.size(); ++j)
      if (parts_[j].named.segment_id == segments[i].segment->id()) {
        places[i] = j;
        parts_[j].dropped = false;
      }
  const size_t there = parts_.size();
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = *segments[i].segment;
    const auto rows = static_cast<uint64_t>(segment.rows());
    if (places[i] < there && parts_[places[i]].deleted + static_cast<uint64_t>(segments[i].live_rows()) == rows) continue;
    GF_RETURN_IF_ERROR(segment.CheckAll());
    const uint64_t row_bytes = segment.bytes() / rows + 1;
    const size_t step = static_cast<size_t>(kSegmentBytes / row_bytes) + 1;
    KeyOrder keys;
    for (uint32_t row = 0; row <= rows; ++row) {
      if (keys.order.size() == step || (row == rows && !keys.order.empty())) {
        std::vector<Source> sources(1);
        GF_RETURN_IF_ERROR(ColumnsAs(segment, manifest_.schema, &sources[0]));
        const uint64_t bytes = row_bytes * keys.order.size();
        GF_RETURN_IF_ERROR(AddSegment(std::move(sources), std::move(keys), bytes));
        keys = KeyOrder();
      }
      // What was taken over by a segment just now is live where it lay, too.
      if (row == rows || !segments[i].Live(row) || (places[i] < there && parts_[places[i]].Live(row))) continue;
      keys.hashes.push_back(segment.hashes()[row]);
      keys.order.push_back({0, row});
    }
  }
  return Status::Ok();
}

void TableEdit::Clear() {
  for (Part& part : parts_) part.dropped = true;
}

Status TableEdit::WriteDeletions(Part* part) {
  gf_manifest_segment& named = part->named;
  const std::shared_ptr<const Deletions>& last = part->ref.deletions;
  const bool listed = last != nullptr && last->is_list();
  const std::shared_ptr<const Deletions>& bitmap = listed ? last->bitmap() : last;
  const uint64_t list_bytes = 4 * (part->deleted - (bitmap != nullptr ? static_cast<uint64_t>(bitmap->deleted()) : 0));
  const uint64_t before = listed ? last->listed_bytes() : 0;
  if (!listed) named.bitmap_id = named.deletions_id;
  named.deletions_id = manifest_.next_file_id++;
  named.deleted = part->deleted;
  const std::string path = Path(named.deletions_id, ".del");
  written_.push_back(path);
  if (part->bits.size() > least_listed_ && before + list_bytes <= part->bits.size()) {
    bitmap_bytes_ += list_bytes;
    return Deletions::WriteList(path, named.segment_id, part->bits, named.rows, part->deleted, named.bitmap_id,
                                bitmap.get(), before, durable_);
  }
  named.bitmap_id = 0;
  bitmap_bytes_ += part->bits.size();
  return Deletions::Write(path, named.segment_id, part->bits, named.rows, part->deleted, durable_);
}

Status TableEdit::Seal(std::shared_ptr<const TableSnapshot>* out) {
  manifest_.segments.clear();
  for (Part& part : parts_) {
    const bool empty = part.deleted == part.named.rows;
    if (part.dropped || empty) continue;
    if (part.deleted != part.named.deleted) GF_RETURN_IF_ERROR(WriteDeletions(&part));
    manifest_.segments.push_back(part.named);
  }
  return TableSnapshot::Make(folder_, manifest_, base_.get(), out);
}

Status TableEdit::Preview(std::shared_ptr<const TableSnapshot>* out) { return Seal(out); }

Status TableEdit::Commit(uint64_t flushed_lsn, std::shared_ptr<const TableSnapshot>* out) {
  manifest_.flushed_lsn = flushed_lsn;
  manifest_.version += 1;
  KeptVersions none(folder_, durable_);
  KeptVersions& kept = kept_ != nullptr ? *kept_ : none;
  std::shared_ptr<const TableSnapshot> next;
  GF_RETURN_IF_ERROR(Seal(&next));
  GF_DCHECK_HOLDS(BrokenInvariant(manifest_));
  GF_DCHECK_HOLDS(BrokenSuccession(base_->manifest(), manifest_, true));
  GF_FAILPOINT("manifest.write");
  // Before it is replaced: at no moment is a version that is to stay without a manifest.
  if (kept.IsTagged(base_->manifest().version) || (keeps_base_ && kept.last() > 0))
    GF_RETURN_IF_ERROR(kept.Keep(base_->manifest()));
  const Status status = manifest_.Write(folder_ + "/manifest", durable_);
  if (!status.ok()) {
    // The rename may have happened and only the sync after it failed: then the new version stands, and so must its
    // files.
    Manifest stands;
    if (!Manifest::Read(folder_ + "/manifest", &stands).ok()) {
      written_.clear();  // nobody knows: files that nothing names are swept some day, named ones are needed
      return status;
    }
    if (stands.version != manifest_.version) return status;
  }
  GF_KILLPOINT("manifest.written");
  // With what this edit wrote and then did without: a segment of which no row stayed, a bitmap of a preview.
  std::set<std::string> files = base_->manifest().Files();
  for (const std::string& path : written_) files.insert(path.substr(folder_.size() + 1));
  written_.clear();
  obsolete_ = kept.Release(manifest_, std::move(files));
  *out = std::move(next);
  return status;
}

}  // namespace gridflow
