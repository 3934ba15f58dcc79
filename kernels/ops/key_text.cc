#include "ops/key_text.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "ops/decimal.h"

namespace gridflow {
namespace ops {
namespace {

constexpr size_t kMostBytes = 80;  // of one text

template <typename T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

std::string CellText(const ColumnView& column, int64_t row) {
  const Type& type = *column.type;
  switch (type.kind) {
    case GF_BOOL:
      return column.Bit(row) ? "TRUE" : "FALSE";
    case GF_INT8:
      return absl::StrCat(static_cast<int>(Load<int8_t>(column.Value(row))));
    case GF_INT16:
      return absl::StrCat(Load<int16_t>(column.Value(row)));
    case GF_INT32:
    case GF_DATE:
      return absl::StrCat(Load<int32_t>(column.Value(row)));
    case GF_INT64:
    case GF_TIME:
    case GF_TIMESTAMP:
      return absl::StrCat(Load<int64_t>(column.Value(row)));
    case GF_UINT8:
      return absl::StrCat(static_cast<int>(Load<uint8_t>(column.Value(row))));
    case GF_UINT16:
      return absl::StrCat(Load<uint16_t>(column.Value(row)));
    case GF_UINT32:
      return absl::StrCat(Load<uint32_t>(column.Value(row)));
    case GF_UINT64:
      return absl::StrCat(Load<uint64_t>(column.Value(row)));
    case GF_FLOAT32:
      return absl::StrCat(Load<float>(column.Value(row)));
    case GF_FLOAT64:
      return absl::StrCat(Load<double>(column.Value(row)));
    case GF_DECIMAL: {
      char text[kDecimalChars];
      return std::string(text, FormatDecimal(column.Value(row), type.scale, text));
    }
    case GF_STRING:
    case GF_BINARY: {
      int64_t start, end;
      if (!CheckedRange(column, row, &start, &end)) return "damaged";
      const absl::string_view bytes(reinterpret_cast<const char*>(column.data + start), static_cast<size_t>(end - start));
      const absl::string_view shown = bytes.substr(0, kMostBytes);
      const char* more = bytes.size() > kMostBytes ? "..." : "";
      if (type.kind == GF_BINARY) return absl::StrCat("X'", absl::BytesToHexString(shown), "'", more);
      return absl::StrCat("'", absl::Utf8SafeCEscape(shown), "'", more);
    }
    case GF_FLOAT16:
    case GF_UUID:
    case GF_TENSOR:  // it and those below are in no key
    case GF_LIST:
    case GF_STRUCT:
    case GF_MAP:
      break;
  }
  return absl::StrCat("X'", absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(column.Value(row)),
                                                                     static_cast<size_t>(type.width))), "'");
}

}  // namespace

std::string KeyText(const Segment& segment, int64_t row) {
  std::string text;
  for (uint32_t position : segment.schema().key) {
    const ColumnView& column = segment.column(static_cast<int>(position));
    const Status status = segment.CheckRows(column, row, row + 1);
    const bool readable = status.ok() || status.code == Code::kCorrupt;
    absl::StrAppend(&text, text.empty() ? "" : ", ", column.type->name, " = ",
                    readable ? CellText(column, row) : "unreadable", status.ok() ? "" : " (if that is not damaged, too)");
  }
  return text;
}

}  // namespace ops
}  // namespace gridflow
