#include "core/csv_block.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "core/bits.h"
#include "core/csv_fields.h"
#include "core/row_codec.h"

namespace gridflow {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101ull, kHighs = 0x8080808080808080ull;

// Whether one of eight bytes is zero: as a bit above 0x7F of the first such byte, and maybe of later ones.
uint64_t ZeroBytes(uint64_t eight) { return (eight - kOnes) & ~eight & kHighs; }

}  // namespace

// Goes through a block's text once, and through that of its texts a second time: then their sizes are known.
class CsvReader {
 public:
  CsvReader(const CsvLayout& layout, const uint8_t* text, size_t bytes, CsvBlock* block)
      : layout_(layout), text_(text), end_(text + bytes), block_(block), columns_(layout.types.size()) {}

  bool Run() {
    // A record has a byte for each of its fields, but for the last one of all: what ends a line may stand in a text, too.
    const size_t most = static_cast<size_t>(end_ - text_) / std::max<size_t>(layout_.columns.size(), 1);
    capacity_ = std::min(CountByte(text_, static_cast<size_t>(end_ - text_), '\n'), most) + 1;
    if (static_cast<size_t>(end_ - text_) > UINT32_MAX) return false;
    Start();
    if (reads_text_ && !IsUtf8(text_, static_cast<size_t>(end_ - text_))) return false;
    const uint8_t* p = text_;
    while (p < end_) {
      if (EndsLine(&p)) continue;  // a line that is empty is no record
      if (!ReadRecord(&p)) return false;
      ++rows_;
    }
    block_->rows_ = static_cast<int64_t>(rows_);
    Finish();
    return true;
  }

 private:
  // Where a text lies within the block's.
  struct Place {
    uint32_t begin, bytes;
  };
  struct Column {
    const Type* type;
    uint8_t* values = nullptr;  // of a text: its offsets
    uint8_t* validity = nullptr;
    bool has_nulls = false;   // only then `validity` is written
    HugeArray<Place> places;  // of a text
    bool is_text() const { return places.data() != nullptr; }
  };

  // Bytes of the values of a column, or of its offsets, for as many rows as there may be.
  size_t ValueBytes(const Type& type) const {
    const Layout layout = type.layout();
    if (layout == Layout::kBytes) return (capacity_ + 1) * 8;
    return layout == Layout::kBits ? (capacity_ + 7) / 8 : capacity_ * static_cast<size_t>(type.width);
  }

  // Room for all columns in one piece, each in its own lines of the cache.
  void Start() {
    size_t bytes = 0;
    for (const Type& type : block_->types_) bytes += Aligned(ValueBytes(type)) + Aligned(ValidityBytes());
    block_->values_ = HugeArray<uint8_t>(bytes);
    uint8_t* at = block_->values_.data();
    for (size_t i = 0; i < columns_.size(); ++i) {
      Column& column = columns_[i];
      column.type = &block_->types_[i];
      column.values = at;
      at += Aligned(ValueBytes(*column.type));
      column.validity = at;
      at += Aligned(ValidityBytes());
      if (column.type->layout() == Layout::kBits) std::memset(column.values, 0, ValueBytes(*column.type));
      if (column.type->layout() != Layout::kBytes) continue;
      column.places = HugeArray<Place>(capacity_);
      reads_text_ = true;
    }
  }

  size_t ValidityBytes() const { return (capacity_ + 7) / 8; }
  static size_t Aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

  // Steps over the end of a line.
  bool EndsLine(const uint8_t** at) const {
    const uint8_t* p = *at;
    if (*p == '\r' && end_ - p > 1) ++p;
    if (*p != '\n') return false;
    *at = p + 1;
    return true;
  }

  bool ReadRecord(const uint8_t** at) {
    const size_t fields = layout_.columns.size();
    const uint8_t* p = *at;
    for (size_t i = 0; i < fields; ++i) {
      if (!ReadField(layout_.columns[i], &p)) return false;
      if (i + 1 == fields) break;
      if (p == end_ || *p != layout_.delimiter) return false;
      ++p;
    }
    *at = p;
    return p == end_ || EndsLine(at);
  }

  // Reads what stands between `*at`, which may be the end of all, and the mark after it.
  bool ReadField(int index, const uint8_t** at) {
    Place place;
    if (index == CsvLayout::kLeftOut) return ReadText(at, &place);
    Column& column = columns_[static_cast<size_t>(index)];
    if (column.is_text()) {
      const uint8_t* const begin = *at;
      if (!ReadText(at, &column.places[rows_])) return false;
      if (*at == begin && layout_.null_texts) ReadNull(&column);
      return true;
    }
    if (*at == end_ || **at == layout_.delimiter || **at == '\n' || **at == '\r') {
      ReadNull(&column);
      return true;
    }
    switch (column.type->kind) {
      case GF_INT8: return ReadInteger(at, end_, Value<int8_t>(column));
      case GF_INT16: return ReadInteger(at, end_, Value<int16_t>(column));
      case GF_INT32: return ReadInteger(at, end_, Value<int32_t>(column));
      case GF_INT64: return ReadInteger(at, end_, Value<int64_t>(column));
      case GF_UINT8: return ReadInteger(at, end_, Value<uint8_t>(column));
      case GF_UINT16: return ReadInteger(at, end_, Value<uint16_t>(column));
      case GF_UINT32: return ReadInteger(at, end_, Value<uint32_t>(column));
      case GF_UINT64: return ReadInteger(at, end_, Value<uint64_t>(column));
      case GF_FLOAT32: return ReadFloat(at, end_, Value<float>(column));
      case GF_FLOAT64: return ReadFloat(at, end_, Value<double>(column));
      case GF_DATE: return ReadDate(at, end_, Value<int32_t>(column));
      case GF_TIMESTAMP: return ReadTimestamp(at, end_, column.type->unit, Value<int64_t>(column));
      case GF_BOOL: {
        bool value;
        if (!ReadBool(at, end_, &value)) return false;
        if (value) column.values[rows_ / 8] |= static_cast<uint8_t>(1 << (rows_ % 8));
        return true;
      }
      default: return false;
    }
  }

  template <typename T>
  T* Value(const Column& column) const {
    return reinterpret_cast<T*>(column.values) + rows_;
  }

  void ReadNull(Column* column) {
    if (!column->has_nulls) std::memset(column->validity, 0xFF, ValidityBytes());
    column->has_nulls = true;
    column->validity[rows_ / 8] &= static_cast<uint8_t>(~(1 << (rows_ % 8)));
    if (column->type->width > 0) {
      const auto width = static_cast<size_t>(column->type->width);
      std::memset(column->values + rows_ * width, 0, width);
    }
  }

  bool ReadText(const uint8_t** at, Place* out) const {
    const uint8_t* p = *at;
    if (layout_.quote >= 0 && p < end_ && *p == layout_.quote) {
      const uint8_t* const begin = ++p;
      const uint64_t quotes = kOnes * static_cast<uint8_t>(layout_.quote);
      for (; end_ - p >= 8; p += 8) {
        const uint64_t marks = ZeroBytes(LoadWord(p) ^ quotes);
        if (marks == 0) continue;
        p += __builtin_ctzll(marks) / 8;
        break;
      }
      while (p < end_ && *p != layout_.quote) ++p;
      if (p == end_) return false;
      *out = {static_cast<uint32_t>(begin - text_), static_cast<uint32_t>(p - begin)};
      *at = p + 1;  // a second quote is no mark that ends a field
      return true;
    }
    const uint8_t* const begin = p;
    const uint64_t delimiters = kOnes * layout_.delimiter;
    for (; end_ - p >= 8; p += 8) {
      const uint64_t eight = LoadWord(p);
      const uint64_t marks =
          ZeroBytes(eight ^ delimiters) | ZeroBytes(eight ^ (kOnes * '\n')) | ZeroBytes(eight ^ (kOnes * '\r'));
      if (marks == 0) continue;
      p += __builtin_ctzll(marks) / 8;
      break;
    }
    while (p < end_ && *p != layout_.delimiter && *p != '\n' && *p != '\r') ++p;
    *out = {static_cast<uint32_t>(begin - text_), static_cast<uint32_t>(p - begin)};
    *at = p;
    return true;
  }

  void Finish() {
    size_t bytes = 0;
    for (const Column& column : columns_)
      if (column.is_text()) bytes += OffsetsOf(column);
    block_->texts_ = HugeArray<uint8_t>(bytes);
    uint8_t* texts = block_->texts_.data();
    for (const Column& column : columns_) {
      ColumnView view;
      view.type = column.type;
      view.length = static_cast<int64_t>(rows_);
      view.validity = column.has_nulls ? column.validity : nullptr;
      view.data = column.values;
      if (column.is_text()) {
        view.offsets = column.values;
        view.limit = view.Offset(view.length);
        view.data = texts != nullptr ? texts : column.values;
        texts = CopyTexts(column, texts);
      }
      block_->columns_.push_back(std::move(view));
    }
  }

  // Writes the offsets of a column of texts. Returns the bytes of them all.
  size_t OffsetsOf(const Column& column) const {
    int64_t sum = 0;
    for (size_t row = 0; row < rows_; sum += column.places[row++].bytes) *Offset(column, row) = sum;
    *Offset(column, rows_) = sum;
    return static_cast<size_t>(sum);
  }

  static int64_t* Offset(const Column& column, size_t row) { return reinterpret_cast<int64_t*>(column.values) + row; }

  // Copies the texts of a column. Returns where they end.
  uint8_t* CopyTexts(const Column& column, uint8_t* out) const {
    constexpr size_t kShort = 16;  // to copy so many bytes takes less than to tell how many there are
    const uint8_t* const last = block_->texts_.data() + block_->texts_.size();
    for (size_t row = 0; row < rows_; ++row) {
      const Place place = column.places[row];
      const uint8_t* from = text_ + place.begin;
      if (place.bytes <= kShort && static_cast<size_t>(end_ - from) >= kShort && static_cast<size_t>(last - out) >= kShort)
        std::memcpy(out, from, kShort);  // what is too much is written over
      else
        std::copy_n(from, place.bytes, out);
      out += place.bytes;
    }
    return out;
  }

  const CsvLayout& layout_;
  const uint8_t* const text_;
  const uint8_t* const end_;
  CsvBlock* const block_;
  std::vector<Column> columns_;
  size_t capacity_ = 0, rows_ = 0;
  bool reads_text_ = false;
};

bool CsvBlock::Reads(const Type& type) {
  switch (type.kind) {
    case GF_BOOL:
    case GF_INT8:
    case GF_INT16:
    case GF_INT32:
    case GF_INT64:
    case GF_UINT8:
    case GF_UINT16:
    case GF_UINT32:
    case GF_UINT64:
    case GF_FLOAT32:
    case GF_FLOAT64:
    case GF_STRING:
    case GF_BINARY:
    case GF_DATE:
      return true;
    case GF_TIMESTAMP:
      return !type.utc;
    case GF_FLOAT16:
    case GF_DECIMAL:
    case GF_TIME:
    case GF_UUID:
    case GF_TENSOR:
    case GF_LIST:
    case GF_STRUCT:
    case GF_MAP:
      break;
  }
  return false;
}

bool CsvBlock::Separates(uint8_t delimiter) { return std::memchr(",;|\t", delimiter, 4) != nullptr; }

std::shared_ptr<const CsvBlock> CsvBlock::Read(const CsvLayout& layout, const uint8_t* text, size_t bytes) {
  try {
    std::shared_ptr<CsvBlock> block(new CsvBlock(layout));
    return CsvReader(layout, text, bytes, block.get()).Run() ? block : nullptr;
  } catch (const std::bad_alloc&) {  // there may be memory for the rows that come of it, one after the other
    return nullptr;
  }
}

}  // namespace gridflow
