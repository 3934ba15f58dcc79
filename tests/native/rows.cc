// Schemas and encoded rows, there and back.
#include <sys/resource.h>

#include <cstring>

#include "core/row_codec.h"
#include "native/random_rows.h"
#include "native/test.h"

namespace {

using gridflow::CheckKey;
using gridflow::CheckValue;
using gridflow::Schema;
using gridflow::Type;
using test::Bytes;
using test::Random;

Type Of(gf_kind kind, bool nullable = false) {
  Type type;
  type.kind = kind;
  type.nullable = nullable;
  return type;
}

Schema WithValue(const Type& type) {
  Schema schema = test::PlainSchema();
  schema.columns[1].type = type;
  schema.Finish();
  return schema;
}

gridflow::Status Parse(const std::string& bytes, Schema* out) {
  return Schema::Parse(Bytes(bytes), bytes.size(), "file", 1000, out);
}

bool Same(const Type& a, const Type& b) {
  bool same = a.kind == b.kind && a.nullable == b.nullable && a.utc == b.utc && a.element == b.element && a.unit == b.unit &&
              a.precision == b.precision && a.scale == b.scale && a.name == b.name && a.dims == b.dims &&
              a.width == b.width && a.children.size() == b.children.size();
  for (size_t i = 0; same && i < a.children.size(); ++i) same = Same(a.children[i], b.children[i]);
  return same;
}

TEST(a_schema_there_and_back) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const Schema schema = test::RandomSchema(&random);
    Schema again;
    CHECK_OK(Parse(schema.Serialize(), &again));
    CHECK_EQ(again.columns.size(), schema.columns.size());
    for (size_t c = 0; c < schema.columns.size(); ++c) {
      CHECK_EQ(again.columns[c].id, schema.columns[c].id);
      CHECK(Same(again.columns[c].type, schema.columns[c].type));
      CHECK_EQ(again.Find(schema.columns[c].type.name), static_cast<int>(c));
    }
    CHECK(again.key == schema.key && again.value == schema.value);
    CHECK_EQ(again.Serialize(), schema.Serialize());
    CHECK_EQ(again.Find("no such column"), -1);
  }
}

TEST(a_schema_that_is_cut_off_or_goes_on_is_corrupt) {
  Random random(2);
  for (int i = 0; i < 100; ++i) {
    const std::string bytes = test::RandomSchema(&random).Serialize();
    Schema schema;
    for (size_t cut = 0; cut < bytes.size(); ++cut) CHECK_CODE(Parse(bytes.substr(0, cut), &schema), kCorrupt);
    CHECK_CODE(Parse(bytes + '\0', &schema), kCorrupt);
  }
}

TEST(an_impossible_schema_is_corrupt) {
  Schema schema = test::PlainSchema(), out;
  schema.columns[1].id = schema.columns[0].id;
  CHECK_CODE(Parse(schema.Serialize(), &out), kCorrupt);
  for (const std::vector<uint32_t>& key : {std::vector<uint32_t>{}, {2}, {0, 0}, {1}, {0, 1, 0}}) {
    schema = test::PlainSchema();
    schema.key = key;  // none, too high, twice, nullable
    CHECK_CODE(Parse(schema.Serialize(), &out), kCorrupt);
  }
  Type tensor = Of(GF_TENSOR);
  tensor.element = GF_FLOAT32;
  for (const std::vector<int64_t>& dims : {std::vector<int64_t>{}, {0}, {-1}, {int64_t{1} << 31}, {1 << 16, 1 << 16}}) {
    tensor.dims = dims;
    CHECK_CODE(Parse(WithValue(tensor).Serialize(), &out), kCorrupt);
  }
  tensor.dims = {3};
  tensor.element = GF_STRING;
  CHECK_CODE(Parse(WithValue(tensor).Serialize(), &out), kCorrupt);
  Type list = Of(GF_LIST);
  CHECK_CODE(Parse(WithValue(list).Serialize(), &out), kCorrupt);  // of nothing
  list.children = {Of(GF_INT8), Of(GF_INT8)};
  CHECK_CODE(Parse(WithValue(list).Serialize(), &out), kCorrupt);
  CHECK_CODE(Parse(WithValue(Of(GF_STRUCT)).Serialize(), &out), kCorrupt);
  Type map = Of(GF_MAP);
  map.children = {Of(GF_INT8, true), Of(GF_INT8)};
  CHECK_CODE(Parse(WithValue(map).Serialize(), &out), kCorrupt);  // a key that may be null
  map.children[0] = list;
  CHECK_CODE(Parse(WithValue(map).Serialize(), &out), kCorrupt);
  Type decimal = Of(GF_DECIMAL);
  for (const auto& [precision, scale] : {std::pair<int, int>{0, 0}, {39, 0}, {2, 3}, {255, 255}}) {
    decimal.precision = static_cast<uint8_t>(precision), decimal.scale = static_cast<uint8_t>(scale);
    CHECK_CODE(Parse(WithValue(decimal).Serialize(), &out), kCorrupt);
  }
  schema = test::PlainSchema();
  schema.columns[1].type.name = "\xFF";
  CHECK_CODE(Parse(schema.Serialize(), &out), kCorrupt);
  Type deep = Of(GF_INT8);
  for (int i = 0; i < 1000; ++i) {
    Type outer = Of(GF_LIST);
    outer.children = {deep};
    deep = outer;
  }
  CHECK_CODE(Parse(WithValue(deep).Serialize(), &out), kCorrupt);
}

TEST(a_small_schema_cannot_ask_for_much_memory) {
  // Each level says that it has as many children as bytes are left for, and only the first is there.
  const size_t filler = 8 << 20;
  std::string bytes;
  test::Put(&bytes, uint32_t{1});
  test::Put(&bytes, uint32_t{1});
  for (int depth = 0; depth < 60; ++depth) {
    gf_type_node node = {};
    node.kind = GF_STRUCT;
    node.child_count = static_cast<uint32_t>(filler / sizeof(node));
    test::Put(&bytes, node);
  }
  bytes.append(filler, '\0');
  Schema schema;
  struct rusage before, after;
  ::getrusage(RUSAGE_SELF, &before);
  CHECK_CODE(Parse(bytes, &schema), kCorrupt);
  ::getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 256 << 10);  // KiB
}

TEST(rows_there_and_back) {
  Random random(3);
  for (int i = 0; i < 400; ++i) {
    const Schema schema = test::RandomSchema(&random);
    gridflow::RowsBuilder builder(schema);
    std::vector<std::pair<std::string, std::string>> rows;
    for (uint64_t n = random.Below(30); n > 0; --n) {
      const test::Cells cells = test::RandomCells(&random, schema);
      const std::string key = test::KeyOf(schema, cells), value = test::ValueOf(schema, cells);
      CHECK_OK(CheckKey(schema, Bytes(key), key.size()));
      CHECK_OK(CheckValue(schema, Bytes(value), value.size()));
      builder.Append(Bytes(key), Bytes(value));
      rows.emplace_back(key, value);
    }
    CHECK_EQ(builder.rows(), static_cast<int64_t>(rows.size()));
    const std::vector<gridflow::ColumnView> views = builder.Views();
    for (size_t row = 0; row < rows.size(); ++row) {
      std::string key, value;
      CHECK_OK(EncodeKey(schema, views, static_cast<int64_t>(row), &key));
      CHECK_OK(EncodeValue(schema, views, static_cast<int64_t>(row), &value));
      CHECK(key == rows[row].first);
      CHECK(value == rows[row].second);
    }
  }
}

TEST(rows_that_end_early_or_late_are_refused) {
  Random random(4);
  for (int i = 0; i < 300; ++i) {
    const Schema schema = test::RandomSchema(&random);
    const test::Cells cells = test::RandomCells(&random, schema);
    std::string key = test::KeyOf(schema, cells), value = test::ValueOf(schema, cells);
    // Each in a buffer of just its size, so that a read past the end is seen.
    for (size_t cut = 0; cut < key.size(); ++cut) {
      const std::vector<uint8_t> part(Bytes(key), Bytes(key) + cut);
      CHECK_CODE(CheckKey(schema, part.data(), cut), kInvalid);
    }
    for (size_t cut = 0; cut < value.size(); ++cut) {
      const std::vector<uint8_t> part(Bytes(value), Bytes(value) + cut);
      CHECK_CODE(CheckValue(schema, part.data(), cut), kInvalid);
    }
    key.push_back('\0');
    value.push_back('\0');
    CHECK_CODE(CheckKey(schema, Bytes(key), key.size()), kInvalid);
    CHECK_CODE(CheckValue(schema, Bytes(value), value.size()), kInvalid);
  }
}

TEST(counts_that_cannot_be_are_refused) {
  Type items = Of(GF_LIST);
  for (const Type& item : {Of(GF_BOOL), Of(GF_STRING), Of(GF_INT64, true), Of(GF_STRING, true)}) {
    items.children = {item};
    const Schema schema = WithValue(items);
    for (uint32_t count : {1u, 9u, 0x10000u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFF8u, 0xFFFFFFFFu}) {
      std::string value;
      test::Put(&value, count);
      CHECK_CODE(CheckValue(schema, Bytes(value), value.size()), kInvalid);
    }
  }
  Schema schema = WithValue(Of(GF_STRING));
  for (uint32_t bytes : {2u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    std::string value;
    test::Put(&value, bytes);
    value += "a";
    CHECK_CODE(CheckValue(schema, Bytes(value), value.size()), kInvalid);
  }
  schema = WithValue(Of(GF_BOOL));
  CHECK_OK(CheckValue(schema, Bytes(std::string("\1")), 1));
  CHECK_CODE(CheckValue(schema, Bytes(std::string("\2")), 1), kInvalid);
}

TEST(values_that_no_column_has_are_refused) {
  const auto check = [](const Type& type, const std::string& bytes) {
    return CheckValue(WithValue(type), Bytes(bytes), bytes.size());
  };
  const auto number = [](auto value) {
    std::string bytes;
    test::Put(&bytes, value);
    return bytes;
  };
  Type decimal = Of(GF_DECIMAL);
  decimal.precision = 3, decimal.scale = 1;
  for (const int value : {0, 999, -999}) CHECK_OK(check(decimal, number(static_cast<__int128>(value))));
  for (const int value : {1000, -1000}) CHECK_CODE(check(decimal, number(static_cast<__int128>(value))), kInvalid);
  decimal.precision = 38;
  CHECK_CODE(check(decimal, std::string(15, '\xFF') + "\x7F"), kInvalid);
  const int64_t day = 86400000000;
  CHECK_OK(check(Of(GF_TIME), number(day - 1)));
  for (const int64_t value : {day, int64_t{-1}}) CHECK_CODE(check(Of(GF_TIME), number(value)), kInvalid);
  CHECK_OK(check(Of(GF_TIMESTAMP), number(INT64_MAX)));
  CHECK_CODE(check(Of(GF_TIMESTAMP), number(INT64_MIN)), kInvalid);
}

TEST(a_struct_that_is_null_has_fields_that_cannot_be) {
  Type list = Of(GF_LIST), outer = Of(GF_STRUCT, true);
  list.children = {Of(GF_INT16)};
  outer.children = {list, Of(GF_BOOL), Of(GF_STRING), Of(GF_UUID)};
  const Schema schema = WithValue(outer);
  gridflow::RowsBuilder builder(schema);
  const std::string null(1, '\0');
  for (int64_t id = 0; id < 20; ++id) test::AppendRow(&builder, test::PlainKey(id), null);
  const std::vector<gridflow::ColumnView> views = builder.Views();
  for (int64_t row = 0; row < 20; ++row) {
    std::string value;
    CHECK(views[1].IsNull(row));
    CHECK(!views[1].children[0].IsNull(row));
    CHECK_OK(EncodeValue(schema, views, row, &value));
    CHECK(value == null);
  }
}

TEST(what_is_utf8_and_what_is_not) {
  auto utf8 = [](const std::string& text) {
    const std::vector<uint8_t> exact(Bytes(text), Bytes(text) + text.size());
    return gridflow::IsUtf8(exact.data(), exact.size());
  };
  for (const char* good : {"", "ascii", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    for (size_t shift = 0; shift < 10; ++shift) CHECK(utf8(std::string(shift, 'x') + good + "xxxxxxxxx"));
  for (const char* bad : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2x", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
                          "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE",
                          "\xFF"})
    for (size_t shift = 0; shift < 10; ++shift) {
      CHECK(!utf8(std::string(shift, 'x') + bad));
      CHECK(!utf8(std::string(shift, 'x') + bad + "xxxxxxxxx"));
    }
  CHECK(utf8(std::string("nul\0nul", 7)));
}

}  // namespace
