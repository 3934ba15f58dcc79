#include "core/segment_load.h"

#include <unistd.h>

#include <algorithm>

#include "core/failpoint.h"
#include "core/row_codec.h"

namespace gridflow {
namespace {

bool HasBit(const uint8_t* bits, int64_t row) { return bits != nullptr && ((bits[row >> 3] >> (row & 7)) & 1); }

}  // namespace

SegmentLoad::SegmentLoad(std::string folder, std::string name, uint32_t table_id, Schema schema, LoadMode mode,
                         bool durable)
    : folder_(std::move(folder)),
      name_(std::move(name)),
      table_id_(table_id),
      schema_(std::move(schema)),
      mode_(mode),
      durable_(durable),
      pid_(::getpid()) {}

SegmentLoad::~SegmentLoad() {
  if (::getpid() != pid_) return;
  for (const File& file : files_)
    if (!file.sealed) ::unlink(file.path.c_str());
}

Status SegmentLoad::Add(const std::vector<Source>& sources, int threads, int64_t* rows, std::string* duplicate) {
  duplicate->clear();
  KeyOrder keys;
  int64_t source, row;
  GF_RETURN_IF_ERROR(OrderByKey(schema_, sources, threads, &keys, &source, &row, TwiceOf(mode_)));
  *rows = static_cast<int64_t>(keys.order.size());
  if (mode_ == LoadMode::kInsert && source >= 0) {
    GF_RETURN_IF_ERROR(EncodeKey(schema_, sources[source], row, duplicate));
    return Status::Invalid("a key is there twice");
  }
  if (keys.order.empty()) return Status::Ok();
  File file;
  file.path = folder_ + "/" + name_ + "-" + std::to_string(files_.size()) + ".tmp";
  SegmentSpec spec;
  spec.path = file.path;
  spec.table_id = table_id_;
  spec.schema = &schema_;
  spec.durable = durable_;
  spec.threads = threads;
  spec.cancelled = &cancelled_;
  GF_RETURN_IF_ERROR(WriteUnsealed(spec, sources, keys.order, keys.hashes.data()));
  files_.push_back(file);  // from here on it is removed with this object
  GF_FAILPOINT("load.written");
  GF_RETURN_IF_ERROR(Segment::Open(file.path, &file.segment));
  files_.back().segment = file.segment;
  for (size_t i = 0; i + 1 < files_.size(); ++i) {
    File& older = files_[i];
    if (mode_ == LoadMode::kIgnore) {
      File& fresh = files_.back();
      GF_RETURN_IF_ERROR(Compare(older, *file.segment, nullptr, &fresh.bits, &fresh.deleted));
      continue;
    }
    GF_RETURN_IF_ERROR(Compare(file, *older.segment, nullptr, &older.bits, &older.deleted));
    if (mode_ != LoadMode::kInsert || older.deleted == 0) continue;
    GF_RETURN_IF_ERROR(FirstKey(*older.segment, older.bits, nullptr, duplicate));
    return Status::Invalid("a key is there twice");
  }
  *rows -= static_cast<int64_t>(mode_ == LoadMode::kIgnore ? files_.back().deleted : 0);
  return Status::Ok();
}

Status SegmentLoad::Ignore(const Segment& older, uint64_t older_id, const uint8_t* deletions) {
  const std::vector<uint8_t>& same = Replaced(older_id);
  if (same.empty()) return Status::Ok();
  std::vector<ColumnView> columns;
  GF_RETURN_IF_ERROR(ColumnsAs(older, schema_, &columns));
  std::vector<int64_t> at(files_.size(), 0);  // rows are in the order of their hashes, here and there
  std::string key;
  for (int64_t row = 0; row < older.rows(); ++row) {
    if (!HasBit(same.data(), row) || HasBit(deletions, row)) continue;
    const uint64_t hash = older.hashes()[row];
    key.clear();
    GF_RETURN_IF_ERROR(EncodeKey(schema_, columns, row, &key));
    const auto* bytes = reinterpret_cast<const uint8_t*>(key.data());
    for (size_t i = 0; i < files_.size(); ++i) {
      File& file = files_[i];
      at[i] = file.segment->LowerBoundNear(at[i], hash);
      const int64_t mine = file.segment->FindNear(at[i], hash, bytes, key.size());
      if (mine < 0 || HasBit(file.bits.empty() ? nullptr : file.bits.data(), mine)) continue;
      if (file.bits.empty()) file.bits.resize((static_cast<size_t>(file.segment->rows()) + 7) / 8);
      file.bits[static_cast<size_t>(mine >> 3)] |= static_cast<uint8_t>(1 << (mine & 7));
      ++file.deleted;
      ++ignored_;
      break;  // of several rows of a key all but the first are left out already
    }
  }
  return Status::Ok();
}

Status SegmentLoad::CatchUp(const TableSnapshot& version) {
  std::set<uint64_t> there;
  for (const SegmentRef& ref : version.segments()) {
    const uint64_t id = ref.segment->id();
    there.insert(id);
    for (File& file : files_) {
      if (!file.seen.insert(id).second) continue;
      std::vector<uint8_t>& bits = replaced_[id];
      uint64_t count = 0;
      const uint8_t* gone = ref.deletions != nullptr ? ref.deletions->bits() : nullptr;
      GF_RETURN_IF_ERROR(Compare(file, *ref.segment, gone, &bits, &count));
    }
  }
  for (auto entry = replaced_.begin(); entry != replaced_.end();)  // numbers are never given twice
    entry = there.count(entry->first) != 0 ? std::next(entry) : replaced_.erase(entry);
  return Status::Ok();
}

Status SegmentLoad::FindSame(const TableSnapshot& version, std::string* key) const {
  key->clear();
  for (const SegmentRef& ref : version.segments()) {
    const uint8_t* gone = ref.deletions != nullptr ? ref.deletions->bits() : nullptr;
    GF_RETURN_IF_ERROR(FirstKey(*ref.segment, Replaced(ref.segment->id()), gone, key));
    if (!key->empty()) return Status::Ok();
  }
  return Status::Ok();
}

Status SegmentLoad::FirstKey(const Segment& segment, const std::vector<uint8_t>& bits, const uint8_t* deletions,
                             std::string* key) const {
  for (size_t byte = 0; byte < bits.size(); ++byte) {
    const unsigned rest = bits[byte] & ~(deletions != nullptr ? deletions[byte] : 0u) & 0xFFu;
    if (rest == 0) continue;
    std::vector<ColumnView> columns;
    GF_RETURN_IF_ERROR(ColumnsAs(segment, schema_, &columns));
    return EncodeKey(schema_, columns, static_cast<int64_t>(byte * 8 + static_cast<size_t>(__builtin_ctz(rest))), key);
  }
  return Status::Ok();
}

const std::vector<uint8_t>& SegmentLoad::Replaced(uint64_t segment_id) const {
  static const std::vector<uint8_t> none;
  const auto entry = replaced_.find(segment_id);
  return entry == replaced_.end() ? none : entry->second;
}

Status SegmentLoad::Compare(const File& file, const Segment& older, const uint8_t* deletions,
                            std::vector<uint8_t>* bits, uint64_t* count) const {
  const Segment& fresh = *file.segment;
  const bool by_older = older.rows() < fresh.rows();  // the shorter one is gone through, the longer one searched
  const Segment& some = by_older ? older : fresh;
  const Segment& others = by_older ? fresh : older;
  std::vector<ColumnView> columns;
  GF_RETURN_IF_ERROR(ColumnsAs(some, schema_, &columns));
  std::string key;
  int64_t at = 0;
  for (int64_t row = 0; row < some.rows(); ++row) {
    if ((row & 0xFFFF) == 0 && cancelled_) return {Code::kCancelled, "the load was cancelled", "", -1};
    if (by_older && HasBit(deletions, row)) continue;
    const uint64_t hash = some.hashes()[row];
    at = others.LowerBoundNear(at, hash);
    if (at == others.rows()) break;
    if (others.hashes()[at] != hash) continue;
    key.clear();
    GF_RETURN_IF_ERROR(EncodeKey(schema_, columns, row, &key));
    const auto* bytes = reinterpret_cast<const uint8_t*>(key.data());
    const int64_t same = others.FindNear(at, hash, bytes, key.size());
    if (same < 0) continue;
    const int64_t there = by_older ? row : same;
    if (HasBit(deletions, there)) continue;
    if (bits->empty()) bits->resize((static_cast<size_t>(older.rows()) + 7) / 8);
    uint8_t& byte = (*bits)[static_cast<size_t>(there >> 3)];
    const auto bit = static_cast<uint8_t>(1 << (there & 7));
    if ((byte & bit) == 0) ++*count;
    byte |= bit;
  }
  return Status::Ok();
}

}  // namespace gridflow
