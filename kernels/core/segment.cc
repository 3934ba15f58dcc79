#include "core/segment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <new>
#include <utility>

#include "core/checksum.h"
#include "core/key_hash.h"
#include "core/mutex.h"
#include "core/process_state.h"
#include "core/row_codec.h"

namespace gridflow {
namespace {

// Walks the schema and hands each type its buffers, checking every size on the way.
class BufferWalk {
 public:
  // `partial`: of a segment of which blocks may be missing, which it has come.
  BufferWalk(const Mapping& mapping, const std::vector<gf_buffer>& buffers, uint64_t directory_offset,
             const Segment* partial)
      : mapping_(mapping), buffers_(buffers), directory_offset_(directory_offset), partial_(partial) {}

  Status Build(const Type& type, int64_t length, ColumnView* view) {
    view->type = &type;
    view->length = length;
    GF_RETURN_IF_ERROR(Take(0, Bits(length), &view->validity));
    // Nobody looks for nulls where the type has none, and so everybody must agree that there are none.
    if (!type.nullable && view->validity != nullptr && length > 0) return Fail("nulls in a column that has none");
    switch (type.layout()) {
      case Layout::kBits:
        return Take(Bits(length), Bits(length), &view->data);
      case Layout::kBytes:
      case Layout::kList:
      case Layout::kMap:
        return BuildVariable(type, length, view);
      case Layout::kStruct:
        view->children.resize(type.children.size());
        for (size_t i = 0; i < type.children.size(); ++i)
          GF_RETURN_IF_ERROR(Build(type.children[i], length, &view->children[i]));
        return Status::Ok();
      case Layout::kFixed:
        break;
    }
    uint64_t bytes;
    if (__builtin_mul_overflow(static_cast<uint64_t>(length), static_cast<uint64_t>(type.width), &bytes))
      return Fail("a column that cannot be so long");
    return Take(bytes, bytes, &view->data);
  }

  size_t used() const { return next_; }

 private:
  static uint64_t Bits(int64_t length) { return (static_cast<uint64_t>(length) + 7) / 8; }

  Status Fail(const std::string& what) const {
    return Status::Corrupt(mapping_.path(), static_cast<int64_t>(directory_offset_ + 16 * next_), what);
  }

  // The next buffer, which must have `bytes` bytes, or `otherwise` (0 gives a null pointer).
  Status Take(uint64_t bytes, uint64_t otherwise, const uint8_t** out) {
    if (next_ >= buffers_.size()) return Fail("too few buffers for the schema");
    const gf_buffer& buffer = buffers_[next_];
    if (buffer.bytes != bytes && buffer.bytes != otherwise) return Fail("a buffer of the wrong size");
    *out = buffer.bytes == 0 && bytes == 0 && otherwise != 0 ? nullptr : mapping_.data() + buffer.offset;
    ++next_;
    return Status::Ok();
  }

  Status BuildVariable(const Type& type, int64_t length, ColumnView* view) {
    const uint64_t offset_bytes = (static_cast<uint64_t>(length) + 1) * (type.kind == GF_MAP ? 4 : 8);
    GF_RETURN_IF_ERROR(Take(offset_bytes, offset_bytes, &view->offsets));
    if (partial_ != nullptr) {
      // Of bytes the directory says how many there are; who reads them looks at the offsets.
      if (type.children.empty() && next_ < buffers_.size()) {
        view->limit = static_cast<int64_t>(buffers_[next_].bytes);
        return Take(buffers_[next_].bytes, buffers_[next_].bytes, &view->data);
      }
      const uint64_t width = type.kind == GF_MAP ? 4 : 8;
      GF_RETURN_IF_ERROR(partial_->CheckBytes(view->offsets, width));
      GF_RETURN_IF_ERROR(partial_->CheckBytes(view->offsets + offset_bytes - width, width));
    }
    view->limit = view->Offset(length);
    if (view->Offset(0) != 0 || view->limit < 0) return Fail("impossible offsets");
    if (type.children.empty()) {
      const uint64_t bytes = static_cast<uint64_t>(view->limit);
      return Take(bytes, bytes, &view->data);
    }
    // Every item takes a bit at least, so a longer child cannot be in the file (a struct of nothing cannot be).
    if (static_cast<uint64_t>(view->limit) / 8 > mapping_.size()) return Fail("a list that cannot be so long");
    view->children.resize(type.children.size());
    for (size_t i = 0; i < type.children.size(); ++i)
      GF_RETURN_IF_ERROR(Build(type.children[i], view->limit, &view->children[i]));
    return Status::Ok();
  }

  const Mapping& mapping_;
  const std::vector<gf_buffer>& buffers_;
  const uint64_t directory_offset_;
  const Segment* const partial_;
  size_t next_ = 1;  // buffer 0 holds the hashes
};

// Of so many rows the one that is as far along as the hash is among all hashes.
int64_t ScaleTo(int64_t rows, uint64_t hash) {
  return static_cast<int64_t>((static_cast<unsigned __int128>(hash) * static_cast<uint64_t>(rows)) >> 64);
}

// The first of sorted values that is >= `value`, near `at`: strides that double until it is bracketed, then a
// bisection: right whatever the data, quick where `at` is close. `less(i, value)` compares the value at i.
template <typename Less>
int64_t LowerBoundBy(const Less& less, int64_t count, int64_t at, uint64_t value) {
  int64_t low = 0, high = count;
  if (less(at, value)) {
    low = at + 1;
    for (int64_t stride = 1; low + stride <= high; stride *= 2) {
      if (!less(low + stride - 1, value)) {
        high = low + stride - 1;
        break;
      }
      low += stride;
    }
  } else {
    high = at;
    for (int64_t stride = 1; high - stride >= low; stride *= 2) {
      if (less(high - stride, value)) {
        low = high - stride + 1;
        break;
      }
      high -= stride;
    }
  }
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (less(middle, value))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

int64_t LowerBoundIn(const uint64_t* values, int64_t count, int64_t at, uint64_t value) {
  return LowerBoundBy([values](int64_t i, uint64_t than) { return values[i] < than; }, count, at, value);
}

bool KeyEquals(const Schema& schema, const std::vector<ColumnView>& columns, int64_t row, const uint8_t* key,
               size_t key_bytes) {
  const uint8_t* end = key + key_bytes;
  for (uint32_t position : schema.key) {
    const ColumnView& column = columns[position];
    const int64_t width = column.type->encoded_width();
    if (width > 0) {
      if (end - key < width) return false;
      if (column.type->kind == GF_BOOL) {
        if (*key != (column.Bit(row) ? 1 : 0)) return false;
      } else if (std::memcmp(column.Value(row), key, static_cast<size_t>(width)) != 0) {
        return false;
      }
      key += width;
      continue;
    }
    int64_t start, stop;
    uint32_t bytes;
    if (end - key < 4 || !CheckedRange(column, row, &start, &stop)) return false;
    std::memcpy(&bytes, key, 4);
    key += 4;
    if (end - key < bytes || stop - start != bytes || std::memcmp(column.data + start, key, bytes) != 0) return false;
    key += bytes;
  }
  return key == end;
}

}  // namespace

// All rows of a column that the segment does not have.
struct Segment::Fill {
  explicit Fill(const Column& column) : type(column.type), builder(type) {}
  Type type;
  ColumnBuilder builder;
  ColumnView view;
};

Segment::Segment() = default;
Segment::~Segment() {
  if (mapping_ != nullptr && blocks_checked_ != nullptr) Remember();
}

const ColumnView& Segment::Filled(const Column& column) const {
  MutexLock lock(&fills_mutex_);
  std::unique_ptr<Fill>& fill = fills_[column.id];
  if (fill == nullptr) {
    auto made = std::make_unique<Fill>(column);
    for (int64_t row = 0; row < rows(); ++row)
      made->builder.Append(reinterpret_cast<const uint8_t*>(column.fill.data()));
    made->view = made->builder.View();
    fill = std::move(made);
  }
  return fill->view;
}

Status Segment::Open(const std::string& path, std::shared_ptr<const Segment>* out) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return Status::System(errno, "open", path);
  if ((*out = process_state->segments.Find({info.st_dev, info.st_ino})) != nullptr) return Status::Ok();
  std::shared_ptr<Segment> segment(new Segment);
  GF_RETURN_IF_ERROR(Mapping::Open(path, &segment->mapping_));
  if (segment->mapping_->mirrored()) GF_RETURN_IF_ERROR(MirrorFile::Open(segment->mapping_, &segment->mirror_));
  GF_RETURN_IF_ERROR(segment->Check());
  *out = segment;
  // Of what was mapped: the path may have got another file since it was asked for.
  process_state->segments.Set(segment->mapping_->identity(), *out);
  return Status::Ok();
}

Status Segment::Check() {
  const Mapping& file = *mapping_;
  auto fail = [&](int64_t offset, const char* what) { return Status::Corrupt(file.path(), offset, what); };
  if (file.size() < sizeof(header_)) return fail(static_cast<int64_t>(file.size()), "the header is cut off");
  std::memcpy(&header_, file.data(), sizeof(header_));
  if (header_.magic != GF_SEGMENT_MAGIC) return fail(0, "this is not a segment");
  if (header_.version != GF_SEGMENT_VERSION) return Status::Version(file.path(), header_.version, GF_SEGMENT_VERSION);
  if (header_.header_bytes < sizeof(header_) || header_.header_bytes > file.size())
    return fail(16, "the header is cut off");
  // The checksum covers the header with its own field as 0.
  gf_segment_header blank = header_;
  blank.header_crc = 0;
  uint32_t crc = Crc32c(0, &blank, sizeof(blank));
  crc = Crc32c(crc, file.data() + sizeof(blank), header_.header_bytes - sizeof(blank));
  if (crc != header_.header_crc) return fail(12, "the header's checksum does not match");
  if (header_.file_bytes != file.size())
    return fail(static_cast<int64_t>(file.size()),
                file.size() < header_.file_bytes ? "the file is cut off" : "there are bytes after the end");
  if (header_.rows == 0 || header_.rows > GF_MAX_SEGMENT_ROWS) return fail(32, "impossible number of rows");
  const uint64_t directory_bytes = uint64_t{header_.buffer_count} * sizeof(gf_buffer);
  if (header_.schema_offset < sizeof(header_) || header_.schema_offset > header_.header_bytes ||
      header_.schema_bytes > header_.header_bytes - header_.schema_offset)
    return fail(56, "the schema lies outside the header");
  if (header_.directory_offset < sizeof(header_) || header_.directory_offset > header_.header_bytes ||
      directory_bytes > header_.header_bytes - header_.directory_offset)
    return fail(72, "the directory lies outside the header");
  if (header_.checksum_offset < header_.header_bytes || header_.checksum_offset > file.size())
    return fail(80, "the checksums lie outside the file");
  if (header_.checksum_offset + 4 * (blocks() + 1) != file.size()) return fail(80, "the checksums lie outside the file");
  blocks_checked_.reset(new std::atomic<uint64_t>[blocks() / 64 + 1]());
  unchecked_ = static_cast<int64_t>(blocks());
  if (mirror_ != nullptr) GF_RETURN_IF_ERROR(mirror_->SetLayout(header_.header_bytes, header_.checksum_offset, blocks()));
  if (mirror_ == nullptr || !mirror_->guarded()) Recall();

  GF_RETURN_IF_ERROR(Schema::Parse(file.data() + header_.schema_offset, header_.schema_bytes, file.path(),
                                   static_cast<int64_t>(header_.schema_offset), &schema_));
  if (header_.buffer_count == 0) return fail(52, "there are no buffers");
  buffers_.resize(header_.buffer_count);
  std::memcpy(buffers_.data(), file.data() + header_.directory_offset, directory_bytes);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const gf_buffer& buffer = buffers_[i];
    if (buffer.offset % GF_BUFFER_ALIGNMENT != 0 || buffer.offset < header_.header_bytes ||
        buffer.offset > header_.checksum_offset || buffer.bytes > header_.checksum_offset - buffer.offset)
      return fail(static_cast<int64_t>(header_.directory_offset + 16 * i), "a buffer lies outside the data");
  }
  if (buffers_[0].bytes != header_.rows * 8)
    return fail(static_cast<int64_t>(header_.directory_offset), "the key hashes have the wrong size");
  hashes_ = reinterpret_cast<const uint64_t*>(file.data() + buffers_[0].offset);
  BufferWalk walk(file, buffers_, header_.directory_offset, mirror_ != nullptr ? this : nullptr);
  columns_.resize(schema_.columns.size());
  offsets_checked_.reset(new std::atomic<bool>[columns_.size()]());
  for (size_t i = 0; i < columns_.size(); ++i)
    GF_RETURN_IF_ERROR(walk.Build(schema_.columns[i].type, rows(), &columns_[i]));
  if (walk.used() != buffers_.size())
    return fail(static_cast<int64_t>(header_.directory_offset), "too many buffers for the schema");
  // XXH64 of eight bytes is a bijection: every step of it can be undone.
  hash_is_key_ = schema_.key.size() == 1 && schema_.columns[schema_.key[0]].type.encoded_width() == 8;
  return Status::Ok();
}

int Segment::FindColumn(uint32_t column_id) const {
  for (size_t i = 0; i < schema_.columns.size(); ++i)
    if (schema_.columns[i].id == column_id) return static_cast<int>(i);
  return -1;
}

int64_t Segment::Near(uint64_t hash) const {
  if (partial()) return ScaleTo(rows(), hash);  // a look at the hashes there may be a block that is missing
  const uint64_t* fence = fence_.load(std::memory_order_acquire);
  if (fence == nullptr && (fence = MakeFence()) == nullptr) {
    // Hashes are uniform: a row lies as far from another as its hash does, in the measure of all rows. Each look at
    // the hash where a row should be brings its place from n rows off to about the root of n.
    int64_t at = ScaleTo(rows(), hash);
    for (int look = 0; look < 2; ++look) {
      const uint64_t here = hashes_[at];
      const int64_t far = ScaleTo(rows(), here < hash ? hash - here : here - hash);
      at = here < hash ? std::min(at + far, rows() - 1) : std::max<int64_t>(at - far, 0);
    }
    return at;
  }
  return NearByFence(fence, hash);
}

int64_t Segment::NearByFence(const uint64_t* fence, uint64_t hash) const {
  const int64_t blocks = (rows() + kFenceStride - 1) / kFenceStride;
  const int64_t after = LowerBoundIn(fence, blocks, ScaleTo(blocks, hash), hash);  // the first block from this hash on
  if (after == 0) return 0;
  const int64_t first = (after - 1) * kFenceStride;
  const uint64_t low = fence[after - 1], high = after < blocks ? fence[after] : ~uint64_t{0};
  const int64_t size = std::min(kFenceStride, rows() - first);
  // In 32 bits, for a division that is quick: the ends are at least a block of rows apart, if hashes are uniform.
  const auto part = static_cast<uint32_t>((hash - low) >> 32), whole = static_cast<uint32_t>((high - low) >> 32);
  return first + std::min<int64_t>(size - 1, static_cast<uint64_t>(part) * static_cast<uint64_t>(size) / (uint64_t{whole} + 1));
}

const uint64_t* Segment::MakeFence() const {
  const int64_t worth = std::max<int64_t>(rows() / 512, 64);
  if (rows() < 16 * kFenceStride || searches_.fetch_add(1, std::memory_order_relaxed) != worth) return nullptr;
  const int64_t blocks = (rows() + kFenceStride - 1) / kFenceStride;
  std::unique_ptr<uint64_t[]> fence(new (std::nothrow) uint64_t[blocks]);
  if (fence == nullptr) return nullptr;
  // Gets that find their rows check no hashes, and as long as a block is unchecked, every one of them looks what is.
  (void)CheckHashes(0, rows());  // a search says what is wrong
  for (int64_t block = 0; block < blocks; ++block) fence[block] = hashes_[block * kFenceStride];
  fence_owner_ = std::move(fence);
  fence_.store(fence_owner_.get(), std::memory_order_release);
  return fence_owner_.get();
}

const uint64_t* Segment::MakeFilter() const {
  constexpr int64_t kRowsOfASearch = 16;  // which are entered in about the time that a search takes
  const int64_t worth = std::max<int64_t>(rows() / kRowsOfASearch, 64);
  if (questions_.fetch_add(1, std::memory_order_relaxed) != worth) return nullptr;
  if (!CheckHashes(0, rows()).ok()) return nullptr;  // a search says what is wrong
  std::unique_ptr<uint64_t[]> filter(new (std::nothrow) uint64_t[static_cast<size_t>(filter_words())]());
  if (filter == nullptr) return nullptr;
  for (int64_t row = 0; row < rows(); ++row) filter[FilterWord(hashes_[row])] |= FilterBits(hashes_[row]);
  filter_owner_ = std::move(filter);
  filter_.store(filter_owner_.get(), std::memory_order_release);
  return filter_owner_.get();
}

int64_t Segment::LowerBoundNear(int64_t at, uint64_t hash) const { return LowerBoundIn(hashes_, rows(), at, hash); }

Status Segment::PartitionRows(uint32_t first, uint32_t last, uint32_t partitions, int64_t* begin, int64_t* end) const {
  bool past_end;
  const uint64_t low = PartitionStart(first, partitions, &past_end);
  *begin = *end = rows();
  const bool missing = partial();
  if (!past_end && missing) GF_RETURN_IF_ERROR(LowerBoundPartial(low, begin));
  if (!past_end && !missing) *begin = LowerBound(low);
  const uint64_t high = PartitionStart(last, partitions, &past_end);
  if (!past_end && missing) GF_RETURN_IF_ERROR(LowerBoundPartial(high, end));
  if (!past_end && !missing) *end = LowerBound(high);
  *end = std::max(*begin, *end);
  GF_RETURN_IF_ERROR(CheckBound(*begin));
  return CheckBound(*end);
}

Status Segment::LowerBoundPartial(uint64_t hash, int64_t* row) const {
  Status status;
  const auto less = [&](int64_t i, uint64_t than) {
    if (status.ok()) status = CheckBytes(hashes_ + i, sizeof(uint64_t));
    return status.ok() && hashes_[i] < than;
  };
  *row = LowerBoundBy(less, rows(), ScaleTo(rows(), hash), hash);
  GF_RETURN_IF_ERROR(status);
  return CheckBound(*row);
}

Status Segment::FindPartial(uint64_t hash, const uint8_t* key, size_t key_bytes, int64_t* row) const {
  GF_RETURN_IF_ERROR(LowerBoundPartial(hash, row));
  for (; *row < rows(); ++*row) {
    GF_RETURN_IF_ERROR(CheckBytes(hashes_ + *row, sizeof(uint64_t)));
    if (hashes_[*row] != hash) break;
    if (hash_is_key_ && key_bytes == 8) return Status::Ok();
    for (const uint32_t position : schema_.key) GF_RETURN_IF_ERROR(CheckRows(columns_[position], *row, *row + 1));
    if (KeyEquals(schema_, columns_, *row, key, key_bytes)) return Status::Ok();
  }
  *row = -1;
  return Status::Ok();
}

void Segment::PrefetchCells(int64_t row) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (hash_is_key_ && i == schema_.key[0]) continue;  // a search does not read it
    const ColumnView& column = columns_[i];
    if (column.offsets != nullptr) {
      __builtin_prefetch(column.offsets + row * 8);
    } else if (column.data != nullptr) {
      __builtin_prefetch(column.data + row * column.type->width);
    }
  }
}

int64_t Segment::FindNear(int64_t near, uint64_t hash, const uint8_t* key, size_t key_bytes) const {
  for (int64_t row = LowerBoundNear(near, hash); row < rows() && hashes_[row] == hash; ++row)
    if ((hash_is_key_ && key_bytes == 8) || KeyEquals(schema_, columns_, row, key, key_bytes)) return row;
  return -1;
}

}  // namespace gridflow
