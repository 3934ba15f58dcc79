#include "core/row_codec.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace gridflow {
namespace {

constexpr uint64_t kMaxBytes = 0xFFFFFFFEull;  // lengths and counts are uint32, and one value marks a removal

template <typename T>
void Put(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <typename T>
T Load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

bool IsSet(const uint8_t* bits, size_t i) { return (bits[i >> 3] >> (i & 7)) & 1; }

// Room for a bitmap of `bits` bits at the end of `out`; returns where it starts.
size_t PutBitmap(std::string* out, size_t bits) {
  const size_t at = out->size();
  out->append((bits + 7) / 8, '\0');
  return at;
}

void SetBit(std::string* out, size_t bitmap, size_t i) { (*out)[bitmap + i / 8] |= static_cast<char>(1 << (i % 8)); }

Status Damaged(const ColumnView& column) {
  return {Code::kCorrupt, "column " + column.type->name + " has impossible offsets", "", -1};
}

Status EncodeItem(const ColumnView& column, int64_t row, std::string* out);

// The fields of a struct, or the value columns of a row: `at(i)` is the cell of the i-th.
template <typename At>
Status EncodeFields(size_t count, const At& at, std::string* out) {
  size_t nullable = 0;
  for (size_t i = 0; i < count; ++i) nullable += at(i).column->type->nullable;
  const size_t bitmap = PutBitmap(out, nullable);
  size_t bit = 0;
  for (size_t i = 0; i < count; ++i) {
    const Cell cell = at(i);
    const ColumnView& column = *cell.column;
    if (column.type->nullable) {
      const size_t mine = bit++;
      if (column.missing() || column.IsNull(cell.row)) continue;
      SetBit(out, bitmap, mine);
    }
    GF_RETURN_IF_ERROR(EncodeItem(column, cell.row, out));
  }
  return Status::Ok();
}

Status EncodeItem(const ColumnView& column, int64_t row, std::string* out) {
  const Type& type = *column.type;
  int64_t start, end;
  switch (type.layout()) {
    case Layout::kBits:
      out->push_back(column.Bit(row) ? 1 : 0);
      return Status::Ok();
    case Layout::kBytes:
      if (!CheckedRange(column, row, &start, &end)) return Damaged(column);
      if (static_cast<uint64_t>(end - start) > kMaxBytes) return Status::Invalid("a value of 4 GiB or more");
      Put(out, static_cast<uint32_t>(end - start));
      out->append(reinterpret_cast<const char*>(column.data + start), static_cast<size_t>(end - start));
      return Status::Ok();
    case Layout::kList: {
      if (!CheckedRange(column, row, &start, &end)) return Damaged(column);
      const ColumnView& item = column.children[0];
      Put(out, static_cast<uint32_t>(end - start));
      const size_t bitmap = item.type->nullable ? PutBitmap(out, static_cast<size_t>(end - start)) : 0;
      for (int64_t i = start; i < end; ++i) {
        if (item.type->nullable) {
          if (item.IsNull(i)) continue;
          SetBit(out, bitmap, static_cast<size_t>(i - start));
        }
        GF_RETURN_IF_ERROR(EncodeItem(item, i, out));
      }
      return Status::Ok();
    }
    case Layout::kMap: {
      if (!CheckedRange(column, row, &start, &end)) return Damaged(column);
      const ColumnView &key = column.children[0], &value = column.children[1];
      Put(out, static_cast<uint32_t>(end - start));
      const size_t bitmap = value.type->nullable ? PutBitmap(out, static_cast<size_t>(end - start)) : 0;
      for (int64_t i = start; i < end; ++i) {
        GF_RETURN_IF_ERROR(EncodeItem(key, i, out));
        if (value.type->nullable) {
          if (value.IsNull(i)) continue;
          SetBit(out, bitmap, static_cast<size_t>(i - start));
        }
        GF_RETURN_IF_ERROR(EncodeItem(value, i, out));
      }
      return Status::Ok();
    }
    case Layout::kStruct:
      return EncodeFields(
          column.children.size(), [&](size_t i) -> Cell { return {&column.children[i], row}; }, out);
    case Layout::kFixed:
      out->append(reinterpret_cast<const char*>(column.Value(row)), static_cast<size_t>(type.width));
      break;
  }
  return Status::Ok();
}

constexpr std::array<__int128, kMostDigits + 1> PowersOfTen() {
  std::array<__int128, kMostDigits + 1> all = {};
  all[0] = 1;
  for (size_t i = 1; i < all.size(); ++i) all[i] = all[i - 1] * 10;
  return all;
}

constexpr std::array<__int128, kMostDigits + 1> kPowersOfTen = PowersOfTen();

// Walks encoded bytes and never past `end`.
class Checker {
 public:
  Checker(const uint8_t* p, size_t bytes) : p_(p), end_(p + bytes) {}

  bool Item(const Type& type) {
    switch (type.layout()) {
      case Layout::kBits:
        return Have(1) && *p_++ <= 1;
      case Layout::kBytes: {
        uint32_t bytes;
        if (!Count(&bytes) || !Have(bytes)) return false;
        if (type.kind == GF_STRING && !IsUtf8(p_, bytes)) return false;
        p_ += bytes;
        return true;
      }
      case Layout::kList: {
        const Type& item = type.children[0];
        uint32_t count;
        const uint8_t* bitmap;
        if (!Count(&count) || !Bitmap(item.nullable ? count : 0, &bitmap)) return false;
        if (!Plausible(item, count)) return false;
        for (uint32_t i = 0; i < count; ++i)
          if ((!item.nullable || IsSet(bitmap, i)) && !Item(item)) return false;
        return true;
      }
      case Layout::kMap: {
        const Type &key = type.children[0], &value = type.children[1];
        uint32_t count;
        const uint8_t* bitmap;
        if (!Count(&count) || !Bitmap(value.nullable ? count : 0, &bitmap)) return false;
        for (uint32_t i = 0; i < count; ++i) {
          if (!Item(key)) return false;
          if ((!value.nullable || IsSet(bitmap, i)) && !Item(value)) return false;
        }
        return true;
      }
      case Layout::kStruct: {
        size_t nullable = 0, bit = 0;
        for (const Type& child : type.children) nullable += child.nullable;
        const uint8_t* bitmap;
        if (!Bitmap(nullable, &bitmap)) return false;
        for (const Type& child : type.children)
          if ((!child.nullable || IsSet(bitmap, bit++)) && !Item(child)) return false;
        return true;
      }
      case Layout::kFixed:
        if (!Have(static_cast<uint64_t>(type.width)) || WrongFixed(type, p_) != nullptr) return false;
        p_ += type.width;
        break;
    }
    return true;
  }

  bool Bitmap(size_t bits, const uint8_t** bitmap) {
    *bitmap = p_;
    if (!Have((bits + 7) / 8)) return false;
    p_ += (bits + 7) / 8;
    return true;
  }
  bool done() const { return p_ == end_; }

 private:
  bool Have(uint64_t bytes) const { return static_cast<uint64_t>(end_ - p_) >= bytes; }
  bool Count(uint32_t* count) {
    if (!Have(4)) return false;
    *count = Load<uint32_t>(p_);
    p_ += 4;
    return true;
  }
  // An item that is not null takes a byte at least; nullable ones are bounded by their bitmap.
  bool Plausible(const Type& item, uint32_t count) const { return item.nullable || Have(count); }

  const uint8_t *p_, *end_;
};

}  // namespace

const char* WrongFixed(const Type& type, const uint8_t* p) {
  constexpr int64_t kDay = 86400000000;  // microseconds
  switch (type.kind) {
    case GF_DECIMAL: {
      const auto value = Load<__int128>(p);
      const __int128 end = kPowersOfTen[type.precision];
      return value < end && value > -end ? nullptr : "a decimal of more digits than its type has";
    }
    case GF_TIME:
      return Load<uint64_t>(p) < kDay ? nullptr : "a time that is of no day";
    case GF_TIMESTAMP:
      return Load<int64_t>(p) != INT64_MIN ? nullptr : "a timestamp that is no moment";
    case GF_TENSOR:
      if (type.element == GF_BOOL && std::any_of(p, p + type.width, [](uint8_t value) { return value > 1; }))
        return "a boolean in a tensor that is neither 0 nor 1";
      return nullptr;
    case GF_BOOL:
    case GF_INT8:
    case GF_INT16:
    case GF_INT32:
    case GF_INT64:
    case GF_UINT8:
    case GF_UINT16:
    case GF_UINT32:
    case GF_UINT64:
    case GF_FLOAT16:
    case GF_FLOAT32:
    case GF_FLOAT64:
    case GF_STRING:
    case GF_BINARY:
    case GF_DATE:
    case GF_UUID:
    case GF_LIST:
    case GF_STRUCT:
    case GF_MAP:
      break;
  }
  return nullptr;
}

bool IsUtf8(const uint8_t* p, size_t bytes) {
  const uint8_t* end = p + bytes;
  while (p < end) {
    if (end - p >= 8 && (Load<uint64_t>(p) & 0x8080808080808080ull) == 0) {
      p += 8;
      continue;
    }
    const uint8_t lead = *p++;
    if (lead < 0x80) continue;
    int more;
    uint32_t code, least;
    if ((lead & 0xE0) == 0xC0) {
      more = 1, code = lead & 0x1F, least = 0x80;
    } else if ((lead & 0xF0) == 0xE0) {
      more = 2, code = lead & 0x0F, least = 0x800;
    } else if ((lead & 0xF8) == 0xF0) {
      more = 3, code = lead & 0x07, least = 0x10000;
    } else {
      return false;
    }
    if (end - p < more) return false;
    for (; more > 0; --more, ++p) {
      if ((*p & 0xC0) != 0x80) return false;
      code = (code << 6) | (*p & 0x3F);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
  }
  return true;
}

Status EncodeCell(const ColumnView& column, int64_t row, std::string* out) { return EncodeItem(column, row, out); }

Status EncodeKey(const Schema& schema, const std::vector<ColumnView>& columns, int64_t row, std::string* out) {
  for (uint32_t position : schema.key) GF_RETURN_IF_ERROR(EncodeItem(columns[position], row, out));
  return Status::Ok();
}

Status EncodeValue(const Schema& schema, const std::vector<ColumnView>& columns, int64_t row, std::string* out) {
  return EncodeFields(
      schema.value.size(), [&](size_t i) -> Cell { return {&columns[schema.value[i]], row}; }, out);
}

Status EncodeValue(const Schema& schema, const std::function<Cell(uint32_t)>& cell, std::string* out) {
  return EncodeFields(
      schema.value.size(), [&](size_t i) { return cell(schema.value[i]); }, out);
}

Status CheckKey(const Schema& schema, const uint8_t* key, size_t bytes) {
  Checker checker(key, bytes);
  for (uint32_t position : schema.key)
    if (!checker.Item(schema.columns[position].type))
      return Status::Invalid("malformed key: column " + schema.columns[position].type.name);
  return checker.done() ? Status::Ok() : Status::Invalid("malformed key: bytes after its end");
}

Status CheckValue(const Schema& schema, const uint8_t* value, size_t bytes) {
  Checker checker(value, bytes);
  size_t nullable = 0, bit = 0;
  for (uint32_t position : schema.value) nullable += schema.columns[position].type.nullable;
  const uint8_t* bitmap;
  if (!checker.Bitmap(nullable, &bitmap)) return Status::Invalid("malformed row: it ends early");
  for (uint32_t position : schema.value) {
    const Type& type = schema.columns[position].type;
    if (type.nullable && !IsSet(bitmap, bit++)) continue;
    if (!checker.Item(type)) return Status::Invalid("malformed row: column " + type.name);
  }
  return checker.done() ? Status::Ok() : Status::Invalid("malformed row: bytes after its end");
}

Status CheckCell(const Type& type, const uint8_t* cell, size_t bytes) {
  Checker checker(cell, bytes);
  return checker.Item(type) && checker.done() ? Status::Ok() : Status::Invalid("malformed value of column " + type.name);
}

ColumnBuilder::ColumnBuilder(const Type& type) : type_(type) {
  for (const Type& child : type.children) children_.emplace_back(child);
  const Layout layout = type.layout();
  if (layout == Layout::kBytes || layout == Layout::kList) offsets_.resize(8);
  if (layout == Layout::kMap) offsets_.resize(4);
}

void ColumnBuilder::PushValid(bool valid) {
  if (length_ % 8 == 0) validity_.push_back(0);
  if (valid)
    validity_.back() |= static_cast<uint8_t>(1 << (length_ % 8));
  else
    ++nulls_;
  ++length_;
}

void ColumnBuilder::PushOffset() {
  const int64_t end = children_.empty() ? static_cast<int64_t>(data_.size()) : children_[0].length();
  const size_t width = type_.kind == GF_MAP ? 4 : 8;
  offsets_.resize(offsets_.size() + width);
  std::memcpy(offsets_.data() + offsets_.size() - width, &end, width);  // little endian: the low half for a map
}

void ColumnBuilder::AppendNull() {
  switch (type_.layout()) {
    case Layout::kBits:
      if (length_ % 8 == 0) data_.push_back(0);
      break;
    case Layout::kFixed:
      data_.resize(data_.size() + static_cast<size_t>(type_.width));
      break;
    case Layout::kStruct:
      for (ColumnBuilder& child : children_) child.AppendNull();
      break;
    case Layout::kBytes:
    case Layout::kList:
    case Layout::kMap:
      PushOffset();
      break;
  }
  // A field that cannot be null, in a struct that is: its value counts for nothing and is not marked.
  PushValid(!type_.nullable);
}

const uint8_t* ColumnBuilder::Append(const uint8_t* p) {
  switch (type_.layout()) {
    case Layout::kBits:
      if (length_ % 8 == 0) data_.push_back(0);
      if (*p++) data_.back() |= static_cast<uint8_t>(1 << (length_ % 8));
      break;
    case Layout::kBytes: {
      const uint32_t bytes = Load<uint32_t>(p);
      data_.insert(data_.end(), p + 4, p + 4 + bytes);
      p += 4 + static_cast<size_t>(bytes);
      PushOffset();
      break;
    }
    case Layout::kList: {
      const uint32_t count = Load<uint32_t>(p);
      p += 4;
      const bool nullable = type_.children[0].nullable;
      const uint8_t* bitmap = p;
      if (nullable) p += (static_cast<size_t>(count) + 7) / 8;
      for (uint32_t i = 0; i < count; ++i) {
        if (nullable && !IsSet(bitmap, i))
          children_[0].AppendNull();
        else
          p = children_[0].Append(p);
      }
      PushOffset();
      break;
    }
    case Layout::kMap: {
      const uint32_t count = Load<uint32_t>(p);
      p += 4;
      const bool nullable = type_.children[1].nullable;
      const uint8_t* bitmap = p;
      if (nullable) p += (static_cast<size_t>(count) + 7) / 8;
      for (uint32_t i = 0; i < count; ++i) {
        p = children_[0].Append(p);
        if (nullable && !IsSet(bitmap, i))
          children_[1].AppendNull();
        else
          p = children_[1].Append(p);
      }
      PushOffset();
      break;
    }
    case Layout::kStruct: {
      size_t nullable = 0, bit = 0;
      for (const Type& child : type_.children) nullable += child.nullable;
      const uint8_t* bitmap = p;
      p += (nullable + 7) / 8;
      for (size_t i = 0; i < children_.size(); ++i) {
        if (type_.children[i].nullable && !IsSet(bitmap, bit++))
          children_[i].AppendNull();
        else
          p = children_[i].Append(p);
      }
      break;
    }
    case Layout::kFixed:
      data_.insert(data_.end(), p, p + type_.width);
      p += type_.width;
      break;
  }
  PushValid(true);
  return p;
}

ColumnView ColumnBuilder::View() const {
  ColumnView view;
  view.type = &type_;
  view.length = length_;
  view.validity = nulls_ > 0 ? validity_.data() : nullptr;
  view.offsets = offsets_.empty() ? nullptr : offsets_.data();
  view.data = data_.data();
  view.limit = children_.empty() ? static_cast<int64_t>(data_.size()) : children_[0].length();
  for (const ColumnBuilder& child : children_) view.children.push_back(child.View());
  return view;
}

RowsBuilder::RowsBuilder(const Schema& schema) : schema_(schema) {
  for (const Column& column : schema.columns) columns_.emplace_back(column.type);
}

void RowsBuilder::Append(const uint8_t* key, const uint8_t* value) {
  for (uint32_t position : schema_.key) key = columns_[position].Append(key);
  size_t nullable = 0, bit = 0;
  for (uint32_t position : schema_.value) nullable += schema_.columns[position].type.nullable;
  const uint8_t* bitmap = value;
  value += (nullable + 7) / 8;
  for (uint32_t position : schema_.value) {
    if (schema_.columns[position].type.nullable && !IsSet(bitmap, bit++))
      columns_[position].AppendNull();
    else
      value = columns_[position].Append(value);
  }
  ++rows_;
}

std::vector<ColumnView> RowsBuilder::Views() const {
  std::vector<ColumnView> views;
  for (const ColumnBuilder& column : columns_) views.push_back(column.View());
  return views;
}

}  // namespace gridflow
