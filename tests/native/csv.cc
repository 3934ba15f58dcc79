// CSV text of plain fields: what is read, what is refused, and that nothing outside the text is looked at.
#include <cmath>
#include <limits>

#include "core/csv_block.h"
#include "core/decimal_number.h"
#include "native/random_rows.h"
#include "native/test.h"

namespace {

using gridflow::ColumnView;
using gridflow::CsvBlock;
using gridflow::CsvLayout;
using test::Random;

gridflow::Type Of(gf_kind kind, gf_unit unit = GF_SECOND) {
  gridflow::Type type;
  type.kind = kind;
  type.nullable = true;
  type.unit = unit;
  type.Finish();
  return type;
}

CsvLayout LayoutOf(const std::vector<gridflow::Type>& types) {
  CsvLayout layout;
  layout.types = types;
  for (size_t i = 0; i < types.size(); ++i) layout.columns.push_back(static_cast<int>(i));
  return layout;
}

// Reads text that ends where its memory does, for the sanitizer to see who looks further.
std::shared_ptr<const CsvBlock> Read(const CsvLayout& layout, const std::string& text) {
  const std::vector<uint8_t> bytes(text.begin(), text.end());
  return CsvBlock::Read(layout, bytes.data(), bytes.size());
}

std::string Text(const ColumnView& column, int64_t row) {
  return std::string(reinterpret_cast<const char*>(column.data) + column.Offset(row),
                     static_cast<size_t>(column.Offset(row + 1) - column.Offset(row)));
}

template <typename T>
T Value(const ColumnView& column, int64_t row) {
  T value;
  std::memcpy(&value, column.Value(row), sizeof(value));
  return value;
}

TEST(records_become_columns) {
  CsvLayout layout = LayoutOf({Of(GF_INT64), Of(GF_FLOAT64), Of(GF_STRING), Of(GF_DATE), Of(GF_BOOL)});
  layout.columns.insert(layout.columns.begin() + 1, CsvLayout::kLeftOut);
  const auto block = Read(layout,
                          "-12,x,0.25,\"a,\n b\",1970-01-02,true\r\n"
                          "\n"
                          ",\"\",-1e3,plain text that is longer,2000-02-29,f\n"
                          "9223372036854775807,,,\"\",,");
  CHECK(block != nullptr);
  CHECK_EQ(block->rows(), 3);
  const std::vector<ColumnView>& columns = block->columns();
  CHECK_EQ(Value<int64_t>(columns[0], 0), -12);
  CHECK(columns[0].IsNull(1) && !columns[0].IsNull(2));
  CHECK_EQ(Value<int64_t>(columns[0], 2), std::numeric_limits<int64_t>::max());
  CHECK_EQ(Value<double>(columns[1], 0), 0.25);
  CHECK_EQ(Value<double>(columns[1], 1), -1000.0);
  CHECK_EQ(Text(columns[2], 0), "a,\n b");
  CHECK_EQ(Text(columns[2], 1), "plain text that is longer");
  CHECK(Text(columns[2], 2).empty() && !columns[2].IsNull(2));
  CHECK_EQ(Value<int32_t>(columns[3], 0), 1);
  CHECK_EQ(Value<int32_t>(columns[3], 1), 11016);
  CHECK(columns[4].Bit(0) && !columns[4].Bit(1) && columns[4].IsNull(2));
}

TEST(an_empty_text_is_null_where_it_is_said_to_be) {
  CsvLayout layout = LayoutOf({Of(GF_STRING), Of(GF_STRING)});
  CHECK(Read(layout, ",\"\"\n")->columns()[0].validity == nullptr);
  layout.null_texts = true;
  const auto block = Read(layout, ",\"\"\n");
  CHECK(block->columns()[0].IsNull(0) && !block->columns()[1].IsNull(0));
}

TEST(what_is_not_plain_is_refused) {
  const std::vector<std::pair<gridflow::Type, std::vector<std::string>>> cases = {
      {Of(GF_INT8), {"128", "-129", "1.0", " 1", "1 ", "+1", "-", "x", "\"1\"", "1,2", "1\r2", "0x1", "1e2"}},
      {Of(GF_UINT64), {"-1", "18446744073709551616", "99999999999999999999999999"}},
      {Of(GF_INT64), {"9223372036854775808", "-9223372036854775809"}},
      {Of(GF_FLOAT64), {"1.", ".5", "1e", "1e+", "nan", "inf", "1e400", "1e-400", "1.5.2", "1_0", "--1"}},
      {Of(GF_FLOAT32), {"1e39", "1e-46"}},
      {Of(GF_DATE), {"2023-02-29", "1900-02-29", "2023-13-01", "2023-00-01", "2023-1-1", "0000-01-01", "2023-01-01x"}},
      {Of(GF_TIMESTAMP), {"2023-01-01", "2023-01-01 24:00:00", "2023-01-01 00:60:00", "2023-01-01 00:00:00.5"}},
      {Of(GF_TIMESTAMP, GF_NANOSECOND), {"1600-01-01 00:00:00", "2300-01-01 00:00:00"}},
      {Of(GF_BOOL), {"yes", "2", "truer", "tRUE"}},
      {Of(GF_STRING), {"\"a\"\"b\"", "\"a", "\"a\"b", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3"}},
  };
  for (const auto& [type, fields] : cases)
    for (const std::string& field : fields) {
      test::Context() = field;
      CHECK(Read(LayoutOf({type}), field + "\n") == nullptr);
    }
  test::Context().clear();
  CHECK(Read(LayoutOf({Of(GF_INT8), Of(GF_INT8)}), "1\n") == nullptr);
  CHECK(CsvBlock::Reads(Of(GF_INT8)) && !CsvBlock::Reads(Of(GF_TIME)));
  CHECK(CsvBlock::Separates('\t') && !CsvBlock::Separates('-') && !CsvBlock::Separates('0'));
}

TEST(the_nearest_number_is_the_one_that_the_library_reads) {
  Random random(3);
  int refused = 0;
  constexpr int kNumbers = 200000;
  for (int i = 0; i < kNumbers; ++i) {
    const uint64_t digits = random.Next() >> random.Below(64);
    const int fraction = static_cast<int>(random.Below(28));
    const std::string text = std::to_string(digits) + "e-" + std::to_string(fraction);
    double number = 0;
    float narrow = 0;
    if (gridflow::NearestTo(digits, fraction, &number)) {
      CHECK_EQ(number, std::strtod(text.c_str(), nullptr));
    } else {
      ++refused;
    }
    if (gridflow::NearestTo(digits, fraction, &narrow)) CHECK_EQ(narrow, std::strtof(text.c_str(), nullptr));
  }
  CHECK(refused < kNumbers / 20);
}

TEST(no_text_leads_astray) {
  Random random(4);
  const std::string marks = ",,,\n\n\"\r-.eE0123456789ab T:\xc3\xa9\xff";
  const std::vector<gridflow::Type> types = {Of(GF_INT32),  Of(GF_FLOAT64), Of(GF_STRING), Of(GF_DATE),
                                             Of(GF_TIMESTAMP, GF_MICROSECOND), Of(GF_BOOL), Of(GF_BINARY)};
  int read = 0;
  for (int i = 0; i < 100000; ++i) {
    CsvLayout layout;
    for (uint64_t count = 1 + random.Below(3); count > 0; --count) {
      layout.columns.push_back(static_cast<int>(layout.types.size()));
      layout.types.push_back(types[random.Below(types.size())]);
    }
    layout.quote = random.Chance(80) ? '"' : -1;
    layout.null_texts = random.Chance(50);
    std::string text;
    for (uint64_t bytes = random.Below(30); bytes > 0; --bytes) text.push_back(marks[random.Below(marks.size())]);
    const auto block = Read(layout, text);
    if (block == nullptr) continue;
    ++read;
    for (const ColumnView& column : block->columns())
      for (int64_t row = 0; row < block->rows(); ++row)
        if (column.offsets != nullptr) CHECK(Text(column, row).size() <= text.size());
  }
  CHECK(read > 1000);
}

}  // namespace
