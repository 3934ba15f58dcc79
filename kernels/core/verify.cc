// Segment's checks of its rows: of the blocks that are read, of the offsets of a column, or of every byte.
#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/checksum.h"
#include "core/key_hash.h"
#include "core/process_state.h"
#include "core/row_codec.h"
#include "core/segment.h"

namespace gridflow {
namespace {

CheckedFiles::Name NameOf(const Mapping& file) {
  return {file.identity().first, file.identity().second, file.size(), file.changed()};
}

// Offsets must rise from 0 to the limit; nested columns likewise.
bool OffsetsRise(const ColumnView& column) {
  if (column.offsets != nullptr) {
    int64_t start, end;
    for (int64_t row = 0; row < column.length; ++row)
      if (!CheckedRange(column, row, &start, &end)) return false;
  }
  return std::all_of(column.children.begin(), column.children.end(), OffsetsRise);
}

// Whether a type has fewer values than its bytes could say.
bool HasWrongValues(const Type& type) {
  return type.kind == GF_STRING || type.kind == GF_DECIMAL || type.kind == GF_TIME || type.kind == GF_TIMESTAMP ||
         (type.kind == GF_TENSOR && type.element == GF_BOOL) ||
         std::any_of(type.children.begin(), type.children.end(), HasWrongValues);
}

// What is wrong with a cell, be it within it; null: nothing is. *at is where it lies. The offsets have been checked.
const char* WrongCell(const ColumnView& column, int64_t row, const uint8_t** at) {
  const Type& type = *column.type;
  if (column.IsNull(row)) return nullptr;
  int64_t first = row, last = row + 1;
  switch (type.layout()) {
    case Layout::kBits:
      return nullptr;
    case Layout::kFixed:
      *at = column.Value(row);
      return WrongFixed(type, *at);
    case Layout::kBytes:
      *at = column.data + column.Offset(row);
      return type.kind != GF_STRING || IsUtf8(*at, static_cast<size_t>(column.Offset(row + 1) - column.Offset(row)))
                 ? nullptr
                 : "a text that is not UTF-8";
    case Layout::kList:
    case Layout::kMap:
      first = column.Offset(row);
      last = column.Offset(row + 1);
      break;
    case Layout::kStruct:
      break;
  }
  for (const ColumnView& child : column.children) {
    if (!HasWrongValues(*child.type)) continue;
    for (int64_t item = first; item < last; ++item)
      if (const char* wrong = WrongCell(child, item, at)) return wrong;
  }
  return nullptr;
}

}  // namespace

Status Segment::CheckCells(int position) const {
  const ColumnView& column = columns_[position];
  if (!HasWrongValues(*column.type)) return Status::Ok();
  for (int64_t row = 0; row < rows(); ++row) {
    const uint8_t* at = nullptr;
    if (const char* wrong = WrongCell(column, row, &at))
      return Status::Corrupt(path(), at - mapping_->data(),
                             "column " + column.type->name + " has in row " + std::to_string(row) + " " + wrong);
  }
  return Status::Ok();
}

Status Segment::CheckOffsetBytes(const ColumnView& column) const {
  if (column.offsets != nullptr)
    GF_RETURN_IF_ERROR(
        CheckBytes(column.offsets, static_cast<uint64_t>(column.length + 1) * (column.type->kind == GF_MAP ? 4 : 8)));
  for (const ColumnView& child : column.children) GF_RETURN_IF_ERROR(CheckOffsetBytes(child));
  return Status::Ok();
}

Status Segment::CheckOffsets(int position) const {
  if (offsets_checked_[position].load(std::memory_order_relaxed)) return Status::Ok();
  if (partial()) GF_RETURN_IF_ERROR(CheckOffsetBytes(columns_[position]));
  if (!OffsetsRise(columns_[position]))
    return Status::Corrupt(path(), -1, "column " + schema_.columns[position].type.name + " has impossible offsets");
  offsets_checked_[position].store(true, std::memory_order_relaxed);
  return Status::Ok();
}

Status Segment::CheckChecksums() const {
  const uint8_t* sums = mapping_->data() + header_.checksum_offset;
  uint32_t expected;
  std::memcpy(&expected, sums + 4 * blocks(), 4);
  if (Crc32c(0, sums, 4 * blocks()) != expected)
    return Status::Corrupt(path(), static_cast<int64_t>(header_.checksum_offset),
                           "the checksum of the checksums does not match");
  return Status::Ok();
}

Status Segment::Fetch(uint64_t first, uint64_t last) const {
  while (first <= last && mirror_->Present(first)) ++first;
  if (first > last) return Status::Ok();
  Fetcher* fetcher = process_state->fetcher.load(std::memory_order_acquire);
  if (fetcher == nullptr)
    return {Code::kUnreachable,
            "blocks of " + path() + " are still to come, and nothing in this process fetches them: import gridflow there",
            path(), -1};
  return fetcher->Need(mirror_, first, last);
}

bool Segment::Matches(uint64_t block) const {
  const uint64_t from = header_.header_bytes + block * GF_BLOCK_BYTES;
  const uint64_t bytes = std::min<uint64_t>(GF_BLOCK_BYTES, header_.checksum_offset - from);
  uint32_t expected;
  std::memcpy(&expected, mapping_->data() + header_.checksum_offset + 4 * block, 4);
  return BlockChecksum(mapping_->data() + from, bytes) == expected;
}

Status Segment::CheckBlock(uint64_t block) const {
  const uint64_t from = header_.header_bytes + block * GF_BLOCK_BYTES;
  const uint64_t bytes = std::min<uint64_t>(GF_BLOCK_BYTES, header_.checksum_offset - from);
  if (mirror_ != nullptr) {
    GF_RETURN_IF_ERROR(Fetch(block, block));
    mirror_->Allow(block);
  }
  GF_RETURN_IF_ERROR(mapping_->Populate(from, bytes));
  if (Matches(block)) return Status::Ok();
  if (mirror_ != nullptr) {  // somebody has damaged it since it came
    mirror_->Forget(block);
    GF_RETURN_IF_ERROR(Fetch(block, block));
    if (Matches(block)) return Status::Ok();
  }
  return Status::Corrupt(path(), static_cast<int64_t>(from),
                         "the checksum of the " + std::to_string(bytes) + " bytes from there does not match");
}

void Segment::Recall() {
  const CheckedFiles::Blocks checked = process_state->checked_files.Find(NameOf(*mapping_));
  if (checked.size() != blocks() / 64 + 1) return;
  for (size_t i = 0; i < checked.size(); ++i) {
    blocks_checked_[i].store(checked[i], std::memory_order_relaxed);
    unchecked_.fetch_sub(__builtin_popcountll(checked[i]), std::memory_order_relaxed);
  }
  checksums_checked_.store(true, std::memory_order_relaxed);
}

void Segment::Remember() const {
  if (unchecked_.load(std::memory_order_relaxed) == static_cast<int64_t>(blocks())) return;
  // A file that was changed a moment ago could be changed again without another time to tell it by.
  constexpr int64_t kMoment = 1000000000;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  if (std::chrono::nanoseconds(now).count() - mapping_->changed() < kMoment) return;
  CheckedFiles::Blocks checked(blocks() / 64 + 1);
  for (size_t i = 0; i < checked.size(); ++i) checked[i] = blocks_checked_[i].load(std::memory_order_relaxed);
  process_state->checked_files.Set(NameOf(*mapping_), std::move(checked));
}

void Segment::BlocksOf(const void* begin, uint64_t bytes, uint64_t* first, uint64_t* last) const {
  const auto from = static_cast<uint64_t>(static_cast<const uint8_t*>(begin) - mapping_->data()) - header_.header_bytes;
  GF_DCHECK(bytes > 0 && from + bytes <= header_.checksum_offset - header_.header_bytes);
  *first = from / GF_BLOCK_BYTES;
  *last = (from + bytes - 1) / GF_BLOCK_BYTES;
}

bool Segment::IsChecked(const void* begin, uint64_t bytes) const {
  if (bytes == 0) return true;
  uint64_t block, last;
  for (BlocksOf(begin, bytes, &block, &last); block <= last; ++block)
    if (!(blocks_checked_[block / 64].load(std::memory_order_relaxed) >> (block % 64) & 1)) return false;
  return true;
}

bool Segment::IsChecked(const ColumnView& view) const {
  const auto rows = static_cast<uint64_t>(view.length), bits = (rows + 7) / 8;
  if (view.validity != nullptr && !IsChecked(view.validity, bits)) return false;
  if (view.offsets != nullptr)
    return IsChecked(view.offsets, (rows + 1) * (view.type->kind == GF_MAP ? 4 : 8)) &&
           (view.data == nullptr || IsChecked(view.data, static_cast<uint64_t>(view.limit)));
  if (view.data == nullptr) return true;
  return IsChecked(view.data, view.type->kind == GF_BOOL ? bits : rows * static_cast<uint64_t>(view.type->width));
}

Status Segment::CheckBytes(const void* begin, uint64_t bytes) const {
  if (bytes == 0 || checked()) return Status::Ok();
  uint64_t block, last;
  BlocksOf(begin, bytes, &block, &last);
  if (mirror_ != nullptr && block < last) GF_RETURN_IF_ERROR(Fetch(block, last));  // all at once, not one by one
  for (; block <= last; ++block) {
    std::atomic<uint64_t>& word = blocks_checked_[block / 64];
    const uint64_t bit = uint64_t{1} << (block % 64);
    if (word.load(std::memory_order_relaxed) & bit) continue;
    if (!checksums_checked_.load(std::memory_order_relaxed)) {
      GF_RETURN_IF_ERROR(CheckChecksums());
      checksums_checked_.store(true, std::memory_order_relaxed);
    }
    GF_RETURN_IF_ERROR(CheckBlock(block));
    if (!(word.fetch_or(bit, std::memory_order_relaxed) & bit)) unchecked_.fetch_sub(1, std::memory_order_relaxed);
  }
  return Status::Ok();
}

void Segment::WillNeed(const void* begin, uint64_t bytes) const {
  if (bytes == 0) return;
  if (mirror_ != nullptr && !IsChecked(begin, bytes)) {
    uint64_t first, last;
    BlocksOf(begin, bytes, &first, &last);
    Fetcher* fetcher = process_state->fetcher.load(std::memory_order_acquire);
    if (fetcher != nullptr) fetcher->Ask(mirror_, first, last);
    return;
  }
  if (mapping_->in_memory()) return;
  if (IsChecked(begin, bytes)) return mapping_->WillNeed(begin, bytes);
  uint64_t first, last;
  BlocksOf(begin, bytes, &first, &last);
  const uint64_t from = header_.header_bytes + first * GF_BLOCK_BYTES;
  const uint64_t to = std::min(header_.header_bytes + (last + 1) * GF_BLOCK_BYTES, header_.checksum_offset);
  mapping_->WillNeed(mapping_->data() + from, to - from);
}

void Segment::WillNeedRows(const ColumnView& view, int64_t begin, int64_t end) const {
  if (begin >= end || !partial()) return;
  const int64_t first = begin + view.offset, last = end + view.offset;
  if (view.validity != nullptr)
    WillNeed(view.validity + first / 8, static_cast<uint64_t>((last - 1) / 8 - first / 8 + 1));
  int64_t from = begin, to = end;
  if (view.offsets != nullptr) {
    const int64_t width = view.type->kind == GF_MAP ? 4 : 8;
    if (!CheckBytes(view.offsets + first * width, static_cast<uint64_t>((last - first + 1) * width)).ok()) return;
    from = view.Offset(begin);
    to = view.Offset(end);
    if (from < 0 || from >= to || to > view.limit) return;
    if (view.data != nullptr) WillNeed(view.data + from, static_cast<uint64_t>(to - from));
  } else if (view.data != nullptr && view.type->kind == GF_BOOL) {
    WillNeed(view.data + first / 8, static_cast<uint64_t>((last - 1) / 8 - first / 8 + 1));
  } else if (view.data != nullptr) {
    WillNeed(view.data + first * view.type->width, static_cast<uint64_t>((last - first) * view.type->width));
  }
  for (const ColumnView& child : view.children) WillNeedRows(child, from, to);
}

Status Segment::CheckAll() const {
  return CheckBytes(mapping_->data() + header_.header_bytes, header_.checksum_offset - header_.header_bytes);
}

Status Segment::CheckBound(int64_t row) const {
  const int64_t first = std::max<int64_t>(row - 1, 0), last = std::min(row + 1, rows());
  return CheckBytes(hashes_ + first, static_cast<uint64_t>(last - first) * sizeof(uint64_t));
}

Status Segment::CheckHashes(int64_t begin, int64_t end) const {
  begin = std::max<int64_t>(begin - 1, 0);
  end = std::min(end + 1, rows());
  return CheckBytes(hashes_ + begin, static_cast<uint64_t>(end - begin) * sizeof(uint64_t));
}

Status Segment::CheckFound(uint64_t hash, int64_t row) const {
  if (row >= 0) {
    for (const ColumnView& column : columns_) GF_RETURN_IF_ERROR(CheckRows(column, row, row + 1));
    return Status::Ok();
  }
  // All keys of that hash are others, and lie where they should.
  if (partial())
    GF_RETURN_IF_ERROR(LowerBoundPartial(hash, &row));
  else
    row = LowerBound(hash);
  for (;; ++row) {
    GF_RETURN_IF_ERROR(CheckBound(row));
    if (row == rows() || hashes_[row] != hash) return Status::Ok();
    for (const uint32_t position : schema_.key) GF_RETURN_IF_ERROR(CheckRows(columns_[position], row, row + 1));
  }
}

Status Segment::CheckValidity(const ColumnView& view, int64_t begin, int64_t end) const {
  if (view.validity == nullptr || begin == end || checked()) return Status::Ok();
  const int64_t first = (begin + view.offset) / 8, last = (end + view.offset - 1) / 8;
  return CheckBytes(view.validity + first, static_cast<uint64_t>(last - first + 1));
}

Status Segment::CheckValues(const ColumnView& view, int64_t begin, int64_t end) const {
  if (begin == end || checked()) return Status::Ok();
  const int64_t first = begin + view.offset, last = end + view.offset;
  if (view.offsets != nullptr) {
    const int64_t width = view.type->kind == GF_MAP ? 4 : 8;
    GF_RETURN_IF_ERROR(CheckBytes(view.offsets + first * width, static_cast<uint64_t>((last - first + 1) * width)));
    const int64_t from = view.Offset(begin), to = view.Offset(end);
    // Who reads the values finds and names impossible offsets.
    if (view.data == nullptr || from < 0 || from > to || to > view.limit) return Status::Ok();
    return CheckBytes(view.data + from, static_cast<uint64_t>(to - from));
  }
  if (view.data == nullptr) return Status::Ok();
  if (view.type->kind == GF_BOOL)
    return CheckBytes(view.data + first / 8, static_cast<uint64_t>((last - 1) / 8 - first / 8 + 1));
  return CheckBytes(view.data + first * view.type->width, static_cast<uint64_t>((last - first) * view.type->width));
}

Status Segment::CheckRows(const ColumnView& view, int64_t begin, int64_t end) const {
  if (begin == end || checked()) return Status::Ok();
  GF_RETURN_IF_ERROR(CheckValidity(view, begin, end));
  GF_RETURN_IF_ERROR(CheckValues(view, begin, end));
  int64_t from = begin, to = end;
  if (view.offsets != nullptr) {
    from = view.Offset(begin);
    to = view.Offset(end);
    if (from < 0 || from > to || to > view.limit) return Status::Ok();
  }
  for (const ColumnView& child : view.children) GF_RETURN_IF_ERROR(CheckRows(child, from, to));
  return Status::Ok();
}

Status Segment::Verify() const {
  GF_RETURN_IF_ERROR(CheckChecksums());
  for (uint64_t block = 0; block < blocks(); ++block) GF_RETURN_IF_ERROR(CheckBlock(block));
  for (size_t i = 0; i < columns_.size(); ++i) {
    GF_RETURN_IF_ERROR(CheckOffsets(static_cast<int>(i)));
    GF_RETURN_IF_ERROR(CheckCells(static_cast<int>(i)));
  }
  std::string key;
  for (int64_t row = 0; row < rows(); ++row) {
    key.clear();
    GF_RETURN_IF_ERROR(EncodeKey(schema_, columns_, row, &key));
    if (KeyHash(key.data(), key.size()) != hashes_[row])
      return Status::Corrupt(path(), static_cast<int64_t>(buffers_[0].offset + 8 * row),
                             "a hash that is not its key's");
    if (row > 0 && hashes_[row] < hashes_[row - 1])
      return Status::Corrupt(path(), static_cast<int64_t>(buffers_[0].offset + 8 * row), "key hashes out of order");
  }
  return Status::Ok();
}

}  // namespace gridflow
