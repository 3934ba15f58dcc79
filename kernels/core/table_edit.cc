#include "core/table_edit.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "core/check.h"
#include "core/failpoint.h"
#include "core/key_hash.h"
#include "core/manifest_invariants.h"
#include "core/row_codec.h"

namespace gridflow {

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

bool TableEdit::MarkDeleted(size_t parts, uint64_t hash, const uint8_t* key, size_t key_bytes) {
  for (size_t i = parts; i-- > 0;) {
    Part& part = parts_[i];
    if (part.dropped) continue;
    const int64_t row = part.ref.segment->Find(hash, key, key_bytes);
    if (row < 0 || !part.Live(row)) continue;
    if (part.bits.empty()) {
      const size_t bytes = (static_cast<size_t>(part.ref.segment->rows()) + 7) / 8;
      part.bits.resize(bytes);
      if (part.ref.deletions != nullptr) std::copy_n(part.ref.deletions->bits(), bytes, part.bits.begin());
    }
    part.bits[row >> 3] |= static_cast<uint8_t>(1 << (row & 7));
    ++part.deleted;
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

Status TableEdit::AddSegment(const std::vector<Source>& sources, const std::vector<RowRef>& order,
                             const std::vector<uint64_t>& hashes) {
  SegmentSpec spec;
  spec.segment_id = manifest_.next_file_id++;
  spec.path = Path(spec.segment_id, ".seg");
  spec.table_id = manifest_.table_id;
  spec.schema = &manifest_.schema;
  spec.durable = durable_;
  spec.threads = threads_;
  written_.push_back(spec.path);
  GF_RETURN_IF_ERROR(WriteSegment(spec, sources, order, hashes));
  Part part;
  GF_RETURN_IF_ERROR(Segment::Open(spec.path, &part.ref.segment));
  part.named.segment_id = spec.segment_id;
  part.named.rows = order.size();
  parts_.push_back(std::move(part));
  return Status::Ok();
}

Status TableEdit::AddMemory(const MemoryTable& memory) {
  const std::vector<MemoryEntry> entries = memory.Sorted();
  RowsBuilder builder(manifest_.schema);
  std::vector<uint64_t> hashes;
  const size_t before = parts_.size();
  for (const MemoryEntry& entry : entries) {
    const Operation operation = entry.operation;
    if (before > 0) MarkDeleted(before, entry.hash, operation.key(), operation.key_bytes());
    if (operation.removal()) continue;
    builder.Append(operation.key(), operation.value());
    hashes.push_back(entry.hash);
  }
  if (hashes.empty()) return Status::Ok();
  std::vector<RowRef> order(hashes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = {0, static_cast<uint32_t>(i)};
  return AddSegment({builder.Views()}, order, hashes);
}

Status TableEdit::AddRows(const std::vector<Source>& sources, LoadMode mode, int64_t* rows, std::string* duplicate) {
  KeyOrder keys;
  int64_t source, row;
  duplicate->clear();
  GF_RETURN_IF_ERROR(OrderByKey(manifest_.schema, sources, threads_, &keys, &source, &row));
  *rows = static_cast<int64_t>(keys.order.size());
  if (mode == LoadMode::kInsert && source >= 0) {
    GF_RETURN_IF_ERROR(EncodeKey(manifest_.schema, sources[source], row, duplicate));
    return Status::Invalid("a key is there twice");
  }
  if (keys.order.empty()) return Status::Ok();
  const size_t before = parts_.size();
  std::string key;
  for (size_t i = 0; before > 0 && i < keys.order.size(); ++i) {
    key.clear();
    const RowRef ref = keys.order[i];
    GF_RETURN_IF_ERROR(EncodeKey(manifest_.schema, sources[ref.source], ref.row, &key));
    const auto* bytes = reinterpret_cast<const uint8_t*>(key.data());
    if (mode == LoadMode::kReplace) {
      MarkDeleted(before, keys.hashes[i], bytes, key.size());
    } else if (Contains(before, keys.hashes[i], bytes, key.size())) {
      *duplicate = key;
      return Status::Invalid("a key exists");
    }
  }
  return AddSegment(sources, keys.order, keys.hashes);
}

Status TableEdit::Merge(const std::vector<int>& segments) {
  std::vector<Source> sources;
  KeyOrder keys;
  // A heap would do for many inputs; there are a handful, and picking the smallest head is simple.
  std::vector<int64_t> heads(segments.size());
  for (int index : segments) {
    GF_DCHECK(index >= 0 && static_cast<size_t>(index) < base_->segments().size() && !parts_[index].dropped);
    GF_RETURN_IF_ERROR(parts_[index].ref.segment->CheckAll());  // else what is damaged got a checksum of its own
    sources.push_back(base_->columns(index));
  }
  auto skip_deleted = [&](size_t s) {
    const Part& part = parts_[segments[s]];
    while (heads[s] < part.ref.segment->rows() && !part.Live(heads[s])) ++heads[s];
  };
  for (size_t s = 0; s < segments.size(); ++s) skip_deleted(s);
  while (true) {
    int best = -1;
    uint64_t least = 0;
    for (size_t s = 0; s < segments.size(); ++s) {
      const Segment& segment = *parts_[segments[s]].ref.segment;
      if (heads[s] >= segment.rows()) continue;
      const uint64_t hash = segment.hashes()[heads[s]];
      if (best < 0 || hash < least) best = static_cast<int>(s), least = hash;
    }
    if (best < 0) break;
    keys.order.push_back({static_cast<uint32_t>(best), static_cast<uint32_t>(heads[best])});
    keys.hashes.push_back(least);
    ++heads[best];
    skip_deleted(static_cast<size_t>(best));
  }
  for (int index : segments) parts_[index].dropped = true;
  return keys.order.empty() ? Status::Ok() : AddSegment(sources, keys.order, keys.hashes);
}

void TableEdit::Clear() {
  for (Part& part : parts_) part.dropped = true;
}

Status TableEdit::Seal(std::shared_ptr<const TableSnapshot>* out) {
  manifest_.segments.clear();
  for (Part& part : parts_) {
    const bool empty = part.deleted == part.named.rows;
    if (!part.dropped && !empty && part.deleted != part.named.deleted) {
      part.named.deletions_id = manifest_.next_file_id++;
      part.named.deleted = part.deleted;
      const std::string path = Path(part.named.deletions_id, ".del");
      written_.push_back(path);
      GF_RETURN_IF_ERROR(
          Deletions::Write(path, part.named.segment_id, part.bits, part.named.rows, part.deleted, durable_));
    }
    if (!part.dropped && !empty) manifest_.segments.push_back(part.named);
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
  if (kept.Wants(base_->manifest().version, manifest_.version)) GF_RETURN_IF_ERROR(kept.Keep(base_->manifest()));
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
