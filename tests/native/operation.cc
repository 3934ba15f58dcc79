// Operations of the log: what is built is what log_format.h says, is walked as it was built, and nothing else passes.
#include "core/operation.h"

#include <vector>

#include "core/memory_table.h"
#include "native/random_rows.h"
#include "native/test.h"

using gridflow::AppendRemoval;
using gridflow::CheckOperation;
using gridflow::MemoryTable;
using gridflow::Operation;
using gridflow::OperationBuilder;
using gridflow::OperationChecker;
using gridflow::OperationWalk;
using gridflow::Schema;
using gridflow::Status;
using test::Bytes;
using test::Random;

constexpr uint32_t kTable = 7;

struct Row {
  uint32_t table_id;
  std::string key;
  std::optional<std::string> value;
};

// The bytes by the words of log_format.h.
std::string BytesOf(const Row& row) {
  std::string out;
  test::Put(&out, row.table_id);
  test::Put(&out, static_cast<uint32_t>(row.key.size()));
  test::Put(&out, row.value ? static_cast<uint32_t>(row.value->size()) : 0xFFFFFFFFu);
  return out + row.key + row.value.value_or("");
}

std::string Build(const std::vector<Row>& rows) {
  std::string out;
  for (const Row& row : rows) {
    if (!row.value) {
      AppendRemoval(row.table_id, row.key, &out);
      continue;
    }
    OperationBuilder builder(&out);
    out += row.key;
    builder.EndKey();
    out += *row.value;
    CHECK(builder.EndPut(row.table_id));
  }
  return out;
}

std::vector<Row> RandomRows(Random* random, const Schema& schema, size_t count) {
  std::vector<Row> rows;
  for (size_t i = 0; i < count; ++i) {
    const test::Cells cells = test::RandomCells(random, schema);
    rows.push_back({kTable, test::KeyOf(schema, cells), std::nullopt});
    if (random->Chance(70)) rows.back().value = test::ValueOf(schema, cells);
  }
  return rows;
}

void CheckSame(Operation operation, const Row& row) {
  CHECK_EQ(operation.table_id(), row.table_id);
  CHECK_EQ(operation.removal(), !row.value.has_value());
  CHECK(std::string(reinterpret_cast<const char*>(operation.key()), operation.key_bytes()) == row.key);
  CHECK(std::string(reinterpret_cast<const char*>(operation.value()), operation.value_bytes()) == row.value.value_or(""));
  CHECK_EQ(operation.all_bytes(), BytesOf(row).size());
  CHECK_EQ(operation.key_hash(), gridflow::KeyHash(row.key.data(), row.key.size()));
}

// What the checker says of bytes, which lie in a block of their own size: a sanitizer sees whoever reads past it.
Status CheckAll(const Schema& schema, const std::string& bytes, size_t* count) {
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  OperationChecker operations(exact.data(), exact.size());
  Operation operation;
  for (*count = 0; operations.Next(&operation); ++*count) GF_RETURN_IF_ERROR(CheckOperation(schema, operation));
  return operations.status();
}

TEST(what_is_built_is_walked) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    const Schema schema = test::RandomSchema(&random);
    const std::vector<Row> rows = RandomRows(&random, schema, random.Below(20));
    std::string expected;
    for (const Row& row : rows) expected += BytesOf(row);
    const std::string built = Build(rows);
    CHECK(built == expected);
    size_t count = 0;
    for (OperationWalk walk(built.data(), built.size()); !walk.AtEnd(); walk.Next())
      CheckSame(walk.operation(), rows[count++]);
    CHECK_EQ(count, rows.size());
    CHECK_OK(CheckAll(schema, built, &count));
    CHECK_EQ(count, rows.size());
  }
}

TEST(a_builder_appends_behind_what_is_there) {
  std::string out = Build({{1, "first", "1"}});
  const size_t before = out.size();
  OperationBuilder builder(&out);
  out += "second";
  builder.EndKey();
  CHECK(builder.EndPut(2));  // of no columns but the key's
  CHECK(builder.key() == "second");
  CheckSame(Operation(Bytes(out) + before), {2, "second", ""});
}

TEST(operations_that_end_early_are_not_given_out) {
  const std::vector<Row> rows = {{kTable, "key", "value"}, {kTable, "other", std::nullopt}};
  const std::string whole = Build(rows);
  const size_t first = BytesOf(rows[0]).size();
  for (size_t bytes = 0; bytes <= whole.size(); ++bytes) {
    const std::vector<uint8_t> exact(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes));
    OperationChecker operations(exact.data(), exact.size());
    Operation operation;
    CHECK_EQ(operations.Next(&operation), bytes >= first);
    if (bytes >= first) {
      CheckSame(operation, rows[0]);
      CHECK_EQ(operations.Next(&operation), bytes == whole.size());
    }
    if (bytes == whole.size()) CheckSame(operation, rows[1]);
    CHECK(!operations.Next(&operation));  // it goes no further
    const bool at_an_end = bytes == 0 || bytes == first || bytes == whole.size();
    CHECK_EQ(operations.status().message, at_an_end ? "" : "a malformed operation: it ends early");
  }
}

TEST(a_checker_of_one_table_takes_its_operations_only) {
  const std::string put = Build({{kTable, "key", "value"}}), removal = Build({{kTable, "key", std::nullopt}});
  const std::string wrong = "a malformed operation for table T";
  auto message = [](const std::string& bytes, uint32_t table_id, bool is_removal) {
    const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
    OperationChecker operations(exact.data(), exact.size(), table_id, is_removal, "T");
    Operation operation;
    const bool passed = operations.Next(&operation);
    CHECK_EQ(passed, operation.bytes() != nullptr);
    CHECK_EQ(operations.status().ok(), passed || bytes.empty());
    return operations.status().message;
  };
  CHECK_EQ(message("", kTable, false), "");
  CHECK_EQ(message(put, kTable, false), "");
  CHECK_EQ(message(removal, kTable, true), "");
  CHECK_EQ(message(put, kTable, true), wrong);
  CHECK_EQ(message(removal, kTable, false), wrong);
  CHECK_EQ(message(put, kTable + 1, false), wrong);
  for (size_t bytes = 1; bytes < put.size(); ++bytes)
    CHECK_EQ(message(put.substr(0, bytes), kTable, false),
             bytes < Operation::kHeaderBytes ? "a malformed operation: it ends early" : wrong);
}

TEST(bytes_that_do_not_fit_the_schema_are_named) {
  const Schema schema = test::PlainSchema();
  const std::string key = test::PlainKey(1), value = test::PlainValue("text");
  auto message = [&](const Row& row) {
    size_t count;
    return CheckAll(schema, BytesOf(row), &count).message;
  };
  CHECK_EQ(message({kTable, key, value}), "");
  CHECK_EQ(message({kTable, key, std::nullopt}), "");
  CHECK_EQ(message({kTable, key.substr(1), value}), "malformed key: column ID");
  CHECK_EQ(message({kTable, key + "x", std::nullopt}), "malformed key: bytes after its end");
  CHECK_EQ(message({kTable, key, ""}), "malformed row: it ends early");
  CHECK_EQ(message({kTable, key, value.substr(0, 4)}), "malformed row: column TEXT");
  CHECK_EQ(message({kTable, key, test::PlainValue("\xFF")}), "malformed row: column TEXT");
  CHECK_EQ(message({kTable, key, value + "x"}), "malformed row: bytes after its end");
}

// Whatever is changed, cut off or added: the checker reads no byte outside, and what it passes can be walked and used.
TEST(mutated_bytes_do_no_harm) {
  Random random(2);
  size_t passed = 0, refused = 0;
  for (int round = 0; round < 20000; ++round) {
    const Schema schema = test::RandomSchema(&random, 3, 2);
    std::string bytes = Build(RandomRows(&random, schema, 1 + random.Below(3)));
    for (uint64_t i = 1 + random.Below(2); i > 0; --i) {
      const uint64_t at = random.Below(bytes.size());
      if (random.Chance(50) && bytes.size() >= 12) {
        const uint32_t field = static_cast<uint32_t>(random.Chance(50) ? random.Below(100) : 0xFFFFFFFFu - random.Below(9));
        std::memcpy(&bytes[random.Below(3) * 4], &field, sizeof(field));  // of the first header
      } else if (random.Chance(50)) {
        bytes[at] = static_cast<char>(random.Next());
      } else if (random.Chance(50)) {
        bytes.resize(at);
      } else {
        bytes.insert(at, 1, static_cast<char>(random.Next()));
      }
      if (bytes.empty()) break;
    }
    size_t count;
    if (!CheckAll(schema, bytes, &count).ok()) {
      ++refused;
      continue;
    }
    ++passed;
    gridflow::RowsBuilder builder(schema);
    size_t walked = 0;
    for (OperationWalk walk(bytes.data(), bytes.size()); !walk.AtEnd(); walk.Next(), ++walked)
      if (!walk.operation().removal()) builder.Append(walk.operation().key(), walk.operation().value());
    CHECK_EQ(walked, count);
  }
  CHECK(passed > 1000 && refused > 1000);
}

TEST(a_memory_table_takes_the_operations_of_one_table) {
  const std::vector<Row> rows = {{1, "a", "1"}, {1, "b", std::nullopt}, {1, "a", "2"}, {2, "a", "3"}, {1, "c", "4"}};
  const std::string bytes = Build(rows);
  const auto kept = std::make_shared<const std::string>(bytes);
  MemoryTable first, second;
  first.Keep(kept);
  second.Keep(kept);
  OperationWalk walk(kept->data(), kept->size());
  first.PutRun(&walk);
  CHECK_EQ(first.size(), 2u);
  CheckSame(first.Find(gridflow::KeyHash("a", 1), Bytes("a"), 1)->operation, rows[2]);
  CheckSame(first.Find(gridflow::KeyHash("b", 1), Bytes("b"), 1)->operation, rows[1]);
  second.PutRun(&walk);
  CHECK_EQ(second.size(), 1u);
  CHECK_EQ(walk.operation().table_id(), 1u);
  first.PutRun(&walk);
  CHECK_EQ(first.size(), 3u);
  CHECK(walk.AtEnd());
  CHECK_EQ(first.bytes() + second.bytes(), bytes.size());
}
