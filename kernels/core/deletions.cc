#include "core/deletions.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/checksum.h"

namespace gridflow {
namespace {

constexpr size_t kHeaderBytes = sizeof(gf_deletions_header);
// What is mapped can be read up to the end of a page; whoever reads words of bits counts on some of that.
constexpr size_t kSpareBytes = 64;

uint64_t BitmapBytes(uint64_t rows) { return (rows + 7) / 8; }

Status Seal(const std::string& path, gf_deletions_header header, const void* body, size_t bytes, bool durable) {
  header.version = GF_DELETIONS_VERSION;
  header.body_crc = BlockChecksum(static_cast<const uint8_t*>(body), bytes);
  header.header_crc = Crc32c(0, &header, sizeof(header));
  std::string file(reinterpret_cast<const char*>(&header), sizeof(header));
  file.append(static_cast<const char*>(body), bytes);
  return ReplaceFile(path, file.data(), file.size(), durable);
}

}  // namespace

Status Deletions::Open(const std::string& path, std::shared_ptr<const Deletions> bitmap,
                       std::shared_ptr<const Deletions>* out) {
  std::shared_ptr<Deletions> deletions(new Deletions);
  GF_RETURN_IF_ERROR(Mapping::Open(path, &deletions->mapping_));
  const Mapping& file = *deletions->mapping_;
  gf_deletions_header header;
  if (file.size() < sizeof(header))
    return Status::Corrupt(path, static_cast<int64_t>(file.size()), "the header is cut off");
  std::memcpy(&header, file.data(), sizeof(header));
  deletions->is_list_ = header.magic == GF_DELETED_ROWS_MAGIC;
  if (header.magic != GF_DELETIONS_MAGIC && !deletions->is_list_)
    return Status::Corrupt(path, 0, "this is not a deletion bitmap, and no list of deleted rows");
  if (header.version != GF_DELETIONS_VERSION) return Status::Version(path, header.version, GF_DELETIONS_VERSION);
  gf_deletions_header blank = header;
  blank.header_crc = 0;
  if (Crc32c(0, &blank, sizeof(blank)) != header.header_crc)
    return Status::Corrupt(path, 12, "the header's checksum does not match");
  if (header.rows > GF_MAX_SEGMENT_ROWS || header.deleted > header.rows)
    return Status::Corrupt(path, 16, "impossible number of rows");
  deletions->rows_ = static_cast<int64_t>(header.rows);
  deletions->deleted_ = static_cast<int64_t>(header.deleted);
  deletions->segment_id_ = header.segment_id;
  deletions->bitmap_ = std::move(bitmap);
  GF_RETURN_IF_ERROR(deletions->is_list_ ? deletions->ReadList(header) : deletions->ReadBitmap(header));
  *out = std::move(deletions);
  return Status::Ok();
}

Status Deletions::ReadBitmap(const gf_deletions_header& header) {
  const Mapping& file = *mapping_;
  if (file.size() != kHeaderBytes + BitmapBytes(header.rows))
    return Status::Corrupt(file.path(), static_cast<int64_t>(file.size()), "the bitmap has the wrong size");
  if (bitmap_ != nullptr) return Status::Corrupt(file.path(), 0, "a bitmap adds to no other");
  bits_ = file.data() + kHeaderBytes;
  if (BlockChecksum(bits_, BitmapBytes(header.rows)) != header.body_crc)
    return Status::Corrupt(file.path(), kHeaderBytes, "the bitmap's checksum does not match");
  // Whoever makes room for the live rows believes this number.
  uint64_t set = 0;
  for (uint64_t i = 0; i < header.rows / 8; ++i) set += static_cast<uint64_t>(__builtin_popcount(bits_[i]));
  for (uint64_t row = header.rows / 8 * 8; row < header.rows; ++row) set += (bits_[row >> 3] >> (row & 7)) & 1;
  if (set != header.deleted)
    return Status::Corrupt(file.path(), 24, "the bitmap does not mark as many rows as it says");
  return Status::Ok();
}

Status Deletions::ReadList(const gf_deletions_header& header) {
  const std::shared_ptr<const Mapping> file = std::move(mapping_);
  const auto fail = [&](int64_t at, const char* what) { return Status::Corrupt(file->path(), at, what); };
  bitmap_id_ = header.bitmap_id;
  listed_bytes_ = header.listed_bytes;
  if ((bitmap_id_ == 0) != (bitmap_ == nullptr)) return fail(48, "it does not add to the bitmap that the manifest names");
  if (bitmap_ != nullptr &&
      (bitmap_->is_list_ || bitmap_->rows_ != rows_ || bitmap_->segment_id_ != segment_id_ || bitmap_->deleted_ > deleted_))
    return fail(48, "what it adds to is no bitmap of its segment");
  const uint64_t listed = header.deleted - (bitmap_ != nullptr ? static_cast<uint64_t>(bitmap_->deleted_) : 0);
  if (file->size() != kHeaderBytes + 4 * listed)
    return fail(static_cast<int64_t>(file->size()), "the list has the wrong size");
  const uint8_t* list = file->data() + kHeaderBytes;
  if (BlockChecksum(list, 4 * listed) != header.body_crc)
    return fail(kHeaderBytes, "the list's checksum does not match");
  const uint64_t bytes = BitmapBytes(header.rows);
  own_.reset(new uint8_t[bytes + kSpareBytes]);
  if (bitmap_ != nullptr)
    std::memcpy(own_.get(), bitmap_->bits_, bytes);
  else
    std::memset(own_.get(), 0, bytes);
  std::memset(own_.get() + bytes, 0, kSpareBytes);
  for (uint64_t i = 0; i < listed; ++i) {
    uint32_t row;
    std::memcpy(&row, list + 4 * i, 4);
    const auto bit = static_cast<uint8_t>(1 << (row & 7));
    if (row >= header.rows || (own_[row >> 3] & bit) != 0)
      return fail(static_cast<int64_t>(kHeaderBytes + 4 * i), "it lists a row that is none, or gone already");
    own_[row >> 3] |= bit;
  }
  bits_ = own_.get();
  return Status::Ok();
}

Status Deletions::Write(const std::string& path, uint64_t segment_id, const std::vector<uint8_t>& bits, uint64_t rows,
                        uint64_t deleted, bool durable) {
  gf_deletions_header header = {};
  header.magic = GF_DELETIONS_MAGIC;
  header.rows = rows;
  header.deleted = deleted;
  header.segment_id = segment_id;
  return Seal(path, header, bits.data(), bits.size(), durable);
}

Status Deletions::WriteList(const std::string& path, uint64_t segment_id, const std::vector<uint8_t>& bits,
                            uint64_t rows, uint64_t deleted, uint64_t bitmap_id, const Deletions* bitmap,
                            uint64_t listed_bytes, bool durable) {
  std::vector<uint32_t> list;
  const uint8_t* known = bitmap != nullptr ? bitmap->bits() : nullptr;
  for (size_t from = 0; from < bits.size(); from += 8) {  // a word at a time: most have nothing new
    const size_t count = std::min<size_t>(8, bits.size() - from);
    uint64_t word = 0, before = 0;
    std::memcpy(&word, bits.data() + from, count);
    if (known != nullptr) std::memcpy(&before, known + from, count);
    for (word &= ~before; word != 0; word &= word - 1)
      list.push_back(static_cast<uint32_t>(8 * from) + static_cast<uint32_t>(__builtin_ctzll(word)));
  }
  gf_deletions_header header = {};
  header.magic = GF_DELETED_ROWS_MAGIC;
  header.rows = rows;
  header.deleted = deleted;
  header.segment_id = segment_id;
  header.bitmap_id = bitmap_id;
  header.listed_bytes = listed_bytes + 4 * list.size();
  return Seal(path, header, list.data(), 4 * list.size(), durable);
}

}  // namespace gridflow
