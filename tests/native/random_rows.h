// Random schemas and rows, encoded here by the words of log_format.h and not by the code under test.
#ifndef GRIDFLOW_TESTS_NATIVE_RANDOM_ROWS_H_
#define GRIDFLOW_TESTS_NATIVE_RANDOM_ROWS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/row_codec.h"
#include "core/schema.h"

namespace test {

// splitmix64: the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t x = (state_ += 0x9E3779B97F4A7C15ull);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  }
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : Next() % n; }
  bool Chance(int percent) { return Below(100) < static_cast<uint64_t>(percent); }

 private:
  uint64_t state_;
};

template <typename T>
void Put(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// A scalar type; `last` is the last kind that may come.
inline gridflow::Type RandomScalar(Random* random, int last = GF_UUID) {
  gridflow::Type type;
  type.kind = static_cast<gf_kind>(1 + random->Below(static_cast<uint64_t>(last)));
  if (type.kind == GF_DECIMAL) type.precision = static_cast<uint8_t>(1 + random->Below(38)), type.scale = 1;
  if (type.kind == GF_TIMESTAMP) type.unit = static_cast<gf_unit>(random->Below(4)), type.utc = random->Chance(50);
  return type;
}

inline gridflow::Type RandomType(Random* random, int depth) {
  const uint64_t pick = random->Below(depth > 0 ? 10 : 6);
  gridflow::Type type;
  if (pick < 5) {
    type = RandomScalar(random);
  } else if (pick == 5) {
    type.kind = GF_TENSOR;
    type.element = static_cast<gf_kind>(1 + random->Below(GF_FLOAT64));
    for (uint64_t i = 1 + random->Below(3); i > 0; --i) type.dims.push_back(1 + static_cast<int64_t>(random->Below(4)));
  } else if (pick < 8) {
    type.kind = GF_LIST;
    type.children.push_back(RandomType(random, depth - 1));
  } else if (pick == 8) {
    type.kind = GF_STRUCT;
    for (uint64_t i = 1 + random->Below(3); i > 0; --i) type.children.push_back(RandomType(random, depth - 1));
  } else {
    type.kind = GF_MAP;
    type.children.push_back(RandomScalar(random));
    type.children.push_back(RandomType(random, depth - 1));
    type.children[1].nullable = random->Chance(50);
  }
  type.nullable = random->Chance(50);
  for (size_t i = 0; i < type.children.size(); ++i) type.children[i].name = "child" + std::to_string(i);
  if (type.kind == GF_MAP) type.children[0].nullable = false;
  return type;
}

inline std::string RandomItem(Random* random, const gridflow::Type& type);

inline gridflow::Schema RandomSchema(Random* random, int most_values = 6, int depth = 3) {
  gridflow::Schema schema;
  const size_t keys = 1 + random->Below(3), values = random->Below(static_cast<uint64_t>(most_values) + 1);
  for (size_t i = 0; i < keys + values; ++i) {
    gridflow::Column column;
    column.id = static_cast<uint32_t>(10 * i + random->Below(10));
    column.type = i < keys ? RandomScalar(random) : RandomType(random, depth);
    column.type.name = "c" + std::to_string(i);
    schema.columns.push_back(column);
  }
  for (size_t i = 0; i < keys; ++i) schema.key.push_back(static_cast<uint32_t>(i));
  // Key columns need not come first, nor in the table's order.
  const size_t moved = random->Below(schema.columns.size());
  std::swap(schema.columns[0], schema.columns[moved]);
  for (uint32_t& position : schema.key)
    position = position == 0 ? static_cast<uint32_t>(moved) : position == moved ? 0 : position;
  schema.Finish();
  for (uint32_t position : schema.value)
    if (random->Chance(10)) schema.columns[position].fill = RandomItem(random, schema.columns[position].type);
  return schema;
}


// A bitmap, and the items that are not null.
inline std::string RandomFields(Random* random, const std::vector<gridflow::Type>& types) {
  std::string bitmap, items;
  size_t bits = 0;
  for (const gridflow::Type& type : types) {
    if (type.nullable) {
      if (bits % 8 == 0) bitmap.push_back(0);
      const bool null = random->Chance(30);
      if (!null) bitmap.back() = static_cast<char>(bitmap.back() | 1 << (bits % 8));
      ++bits;
      if (null) continue;
    }
    items += RandomItem(random, type);
  }
  return bitmap + items;
}

inline std::string RandomText(Random* random) {
  static const char* const kPieces[] = {"a", "key", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "0123456789", ""};
  std::string text;
  for (uint64_t i = random->Below(5); i > 0; --i) text += kPieces[random->Below(7)];
  return text;
}

inline std::string RandomItem(Random* random, const gridflow::Type& type) {
  std::string out;
  switch (type.kind) {
    case GF_BOOL:
      out.push_back(static_cast<char>(random->Below(2)));
      break;
    case GF_STRING:
    case GF_BINARY: {
      std::string text = RandomText(random);
      if (type.kind == GF_BINARY && random->Chance(50)) text.push_back('\xFF');
      Put(&out, static_cast<uint32_t>(text.size()));
      out += text;
      break;
    }
    case GF_LIST:
    case GF_MAP: {
      const auto count = static_cast<uint32_t>(random->Chance(10) ? random->Below(40) : random->Below(4));
      const gridflow::Type& item = type.children.back();
      std::string bitmap(item.nullable ? (count + 7) / 8 : 0, '\0'), items;
      for (uint32_t i = 0; i < count; ++i) {
        if (type.kind == GF_MAP) items += RandomItem(random, type.children[0]);
        if (item.nullable) {
          if (random->Chance(30)) continue;
          bitmap[i / 8] = static_cast<char>(bitmap[i / 8] | 1 << (i % 8));
        }
        items += RandomItem(random, item);
      }
      Put(&out, count);
      out += bitmap + items;
      break;
    }
    case GF_STRUCT:
      out = RandomFields(random, type.children);
      break;
    default: {
      const bool small = type.kind != GF_TENSOR && random->Chance(70);  // so that keys come again
      for (int64_t i = 0; i < type.width; ++i) out.push_back(static_cast<char>(small ? 0 : random->Below(256)));
      if (small) out[0] = static_cast<char>(random->Below(16));
      if (type.kind == GF_TENSOR && type.element == GF_BOOL)
        for (char& byte : out) byte &= 1;
      if (gridflow::WrongFixed(type, reinterpret_cast<const uint8_t*>(out.data())) != nullptr) out.assign(out.size(), '\0');
    }
  }
  return out;
}

// A row's columns, each encoded or null.
using Cells = std::vector<std::optional<std::string>>;

inline Cells RandomCells(Random* random, const gridflow::Schema& schema) {
  Cells cells;
  for (const gridflow::Column& column : schema.columns) {
    cells.emplace_back();
    if (!column.type.nullable || random->Chance(70)) cells.back() = RandomItem(random, column.type);
  }
  return cells;
}

inline std::string KeyOf(const gridflow::Schema& schema, const Cells& cells) {
  std::string key;
  for (uint32_t position : schema.key) key += *cells[position];
  return key;
}

inline std::string ValueOf(const gridflow::Schema& schema, const Cells& cells) {
  std::string bitmap, items;
  size_t bits = 0;
  for (uint32_t position : schema.value) {
    if (schema.columns[position].type.nullable) {
      if (bits % 8 == 0) bitmap.push_back(0);
      if (cells[position]) bitmap.back() = static_cast<char>(bitmap.back() | 1 << (bits % 8));
      ++bits;
    }
    if (cells[position]) items += *cells[position];
  }
  return bitmap + items;
}

using Rows = std::map<std::string, std::string>;  // key to value

inline const uint8_t* Bytes(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// Ignores what the builder needs no more: the strings may go once it has them.
inline void AppendRow(gridflow::RowsBuilder* builder, const std::string& key, const std::string& value) {
  builder->Append(Bytes(key), Bytes(value));
}

// A table of one INT64 key and one nullable STRING.
inline gridflow::Schema PlainSchema() {
  gridflow::Schema schema;
  schema.columns.resize(2);
  schema.columns[0].id = 1;
  schema.columns[0].type.kind = GF_INT64;
  schema.columns[0].type.name = "ID";
  schema.columns[1].id = 2;
  schema.columns[1].type.kind = GF_STRING;
  schema.columns[1].type.nullable = true;
  schema.columns[1].type.name = "TEXT";
  schema.key = {0};
  schema.Finish();
  return schema;
}

inline std::string PlainKey(int64_t id) {
  std::string key;
  Put(&key, id);
  return key;
}

inline std::string PlainValue(const std::string& text) {
  std::string value(1, '\1');
  Put(&value, static_cast<uint32_t>(text.size()));
  return value + text;
}

}  // namespace test

#endif  // GRIDFLOW_TESTS_NATIVE_RANDOM_ROWS_H_
