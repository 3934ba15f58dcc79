// What a reader that follows a table is told: rows that are new or changed, whatever merges have moved; and when to
// look.
#include "core/snapshot_diff.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "core/control.h"
#include "native/grid.h"
#include "native/test.h"

namespace {

using gridflow::ControlPage;
using gridflow::LoadMode;
using gridflow::NewRows;
using gridflow::RowRange;
using gridflow::RowsBuilder;
using gridflow::Schema;
using gridflow::TableEdit;
using gridflow::TableSnapshot;
using test::Contents;
using test::Grid;
using test::PlainKey;
using test::PlainValue;
using test::Random;
using test::Rows;
using test::Version;

// What is new, by key; ranges are in order and of live rows, and no key is there twice.
Rows Told(const TableSnapshot& older, const TableSnapshot& newer) {
  std::vector<RowRange> ranges = {{7, 7, 7}};
  CHECK_OK(NewRows(older, newer, &ranges));
  Rows rows;
  int segment = 0;
  int64_t row = 0;
  for (const RowRange& range : ranges) {
    CHECK(range.begin < range.end && (range.segment > segment || (range.segment == segment && range.begin >= row)));
    segment = range.segment;
    const gridflow::SegmentRef& ref = newer.segments().at(static_cast<size_t>(segment));
    for (row = range.begin; row < range.end; ++row) {
      CHECK(ref.Live(row));
      std::string key, value;
      CHECK_OK(EncodeKey(newer.schema(), newer.columns(segment), row, &key));
      CHECK_OK(EncodeValue(newer.schema(), newer.columns(segment), row, &value));
      CHECK(rows.emplace(key, value).second);
    }
  }
  return rows;
}

void MergeSome(Random* random, Grid* grid, int percent) {
  TableEdit edit(grid->table, grid->version, false, 1);
  std::vector<int> chosen;
  for (size_t s = 0; s < grid->version->segments().size(); ++s)
    if (random->Chance(percent)) chosen.push_back(static_cast<int>(s));
  CHECK_OK(test::Merge(grid->table, grid->version, chosen, &edit));
  CHECK_OK(grid->Commit(&edit));
}

// Loads these rows of the plain schema as one segment.
void Load(Grid* grid, int64_t first, int64_t count, const std::string& text) {
  RowsBuilder builder(grid->schema);
  for (int64_t id = first; id < first + count; ++id) {
    test::AppendRow(&builder, PlainKey(id), PlainValue(text));
    grid->rows[PlainKey(id)] = PlainValue(text);
  }
  TableEdit edit(grid->table, grid->version, false, 1);
  int64_t rows;
  std::string duplicate;
  CHECK_OK(edit.AddRows({builder.Views()}, LoadMode::kReplace, &rows, &duplicate));
  CHECK_OK(grid->Commit(&edit));
}

TEST(every_change_is_told_and_nothing_that_a_merge_has_moved) {
  struct Held {
    Version version;
    Rows rows;
    std::set<std::string> put;  // since
  };
  Random random(1);
  for (int round = 0; round < 40; ++round) {
    test::Context() = "round " + std::to_string(round);
    Grid grid(round % 2 ? test::PlainSchema() : test::RandomSchema(&random, 4, 2));
    std::vector<Held> held = {{grid.version, grid.rows, {}}};
    for (int step = 0; step < 25; ++step) {
      const uint64_t what = random.Below(10);
      if (what == 0) {
        TableEdit edit(grid.table, grid.version, false, 1);
        edit.Clear();
        CHECK_OK(grid.Commit(&edit));
        grid.rows.clear();
      } else if (what < 5) {
        MergeSome(&random, &grid, 60);
      } else if (what < 7) {  // rows as they are, removed and put again or just put
        std::set<std::string> put;
        RowsBuilder builder(grid.schema);
        for (const auto& [key, value] : grid.rows) {
          if (!random.Chance(30)) continue;
          test::AppendRow(&builder, key, value);
          put.insert(key);
        }
        TableEdit edit(grid.table, grid.version, false, 1);
        int64_t rows;
        std::string duplicate;
        CHECK_OK(edit.AddRows({builder.Views()}, LoadMode::kReplace, &rows, &duplicate));
        CHECK_OK(grid.Commit(&edit));
        for (Held& one : held) one.put.insert(put.begin(), put.end());
      } else {
        std::set<std::string> put;
        TableEdit edit(grid.table, grid.version, false, 1);
        CHECK_OK(edit.AddMemory(*grid.Changes(&random, random.Below(60), &grid.rows, &put)));
        CHECK_OK(grid.Commit(&edit));
        for (Held& one : held) one.put.insert(put.begin(), put.end());
      }
      for (const Held& one : held) {
        const Rows told = Told(*one.version, *grid.version);
        for (const auto& [key, value] : grid.rows) {
          const auto before = one.rows.find(key);
          const bool same = before != one.rows.end() && before->second == value;
          CHECK(told.count(key) == 1 || same);
          CHECK(told.count(key) == 0 || !same || one.put.count(key) == 1);
        }
        for (const auto& [key, value] : told) CHECK(grid.rows.at(key) == value);
      }
      if (random.Chance(40)) held.push_back({grid.version, grid.rows, {}});
    }
    CHECK(Told(*grid.version, *grid.version).empty());
  }
  test::Context().clear();
}

TEST(rows_that_only_came_are_told_as_whole_segments) {
  Grid grid(test::PlainSchema());
  Load(&grid, 0, 1000, "old");
  const Version before = grid.version;
  Load(&grid, 1000, 500, "new");
  Load(&grid, 2000, 500, "new");
  std::vector<RowRange> ranges;
  CHECK_OK(NewRows(*before, *grid.version, &ranges));
  CHECK_EQ(ranges.size(), size_t{2});
  CHECK(ranges[0].segment == 1 && ranges[0].begin == 0 && ranges[0].end == 500);
  Random random(2);
  MergeSome(&random, &grid, 100);
  CHECK_EQ(grid.version->segments().size(), size_t{1});
  CHECK_EQ(Told(*before, *grid.version).size(), size_t{1000});
  Load(&grid, 0, 10, "new");
  CHECK_EQ(Told(*before, *grid.version).size(), size_t{1010});
}

TEST(an_altered_table_is_compared_as_it_reads_now) {
  Random random(3);
  Grid grid(test::PlainSchema());
  Load(&grid, 0, 100, "old");
  const Version before = grid.version;
  // A column that may be null, one that older rows have 7 in; TEXT goes.
  Schema schema = grid.schema;
  schema.columns.resize(4, schema.columns[0]);
  for (uint32_t id : {3u, 4u}) schema.columns[id - 1].id = id;
  schema.columns[2].type.name = "MAYBE";
  schema.columns[2].type.nullable = true;
  schema.columns[3].type.name = "SEVEN";
  schema.columns[3].fill = std::string("\7\0\0\0\0\0\0\0", 8);
  schema.columns.erase(schema.columns.begin() + 1);
  schema.Finish();
  {
    TableEdit edit(grid.table, grid.version, false, 1);
    edit.SetSchema(schema);
    CHECK_OK(grid.Commit(&edit));
  }
  CHECK(Told(*before, *grid.version).empty());
  MergeSome(&random, &grid, 100);  // writes SEVEN down
  CHECK(grid.version->segments()[0].segment.get() != before->segments()[0].segment.get());
  CHECK(Told(*before, *grid.version).empty());
  RowsBuilder builder(schema);
  const std::string null(1, '\0'), given = std::string(1, '\1') + PlainKey(5);
  test::AppendRow(&builder, PlainKey(1), null + PlainKey(7));   // as it was
  test::AppendRow(&builder, PlainKey(2), null + PlainKey(8));   // another SEVEN
  test::AppendRow(&builder, PlainKey(3), given + PlainKey(7));  // no null any more
  TableEdit edit(grid.table, grid.version, false, 1);
  int64_t rows;
  std::string duplicate;
  CHECK_OK(edit.AddRows({builder.Views()}, LoadMode::kReplace, &rows, &duplicate));
  CHECK_OK(grid.Commit(&edit));
  MergeSome(&random, &grid, 100);
  const Rows told = Told(*before, *grid.version);
  CHECK_EQ(told.size(), size_t{2});
  CHECK(told.count(PlainKey(2)) == 1 && told.count(PlainKey(3)) == 1);
}

TEST(a_grid_made_again_in_its_place_is_all_new) {
  Grid one(test::PlainSchema()), other(test::PlainSchema());
  Load(&one, 0, 100, "old");
  Load(&other, 0, 100, "new");
  CHECK_EQ(Told(*one.version, *other.version).size(), size_t{100});
  // With other columns under the same ids nothing can be compared.
  Schema schema = test::PlainSchema();
  schema.columns[1].type.kind = GF_BINARY;
  schema.Finish();
  Grid third(schema);
  Load(&third, 0, 100, "old");
  CHECK_EQ(Told(*one.version, *third.version).size(), size_t{100});
}

TEST(a_wait_ends_with_a_commit_a_version_a_cancellation_or_the_time) {
  test::Folder folder;
  std::shared_ptr<ControlPage> owner, reader;
  CHECK_OK(ControlPage::Create(folder / "control", 1, &owner));
  CHECK_OK(ControlPage::Open(folder / "control", &reader));
  const auto never = [] { return false; };
  ControlPage::Seen seen = reader->Now();
  CHECK(!reader->Wait(seen, 0, never));
  CHECK(!reader->Wait(seen, 3, never));
  int asked = 0;
  CHECK(!reader->Wait(seen, -1, [&] { return ++asked == 5; }));
  CHECK_EQ(asked, 5);
  owner->Bump();
  CHECK(reader->Wait(seen, 0, never));
  seen = reader->Now();
  owner->Commit(7);
  CHECK(reader->Wait(seen, -1, never));
  for (int i = 0; i < 20; ++i) {
    seen = reader->Now();
    std::thread writer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
      i % 2 ? owner->Bump() : owner->Commit(100 + static_cast<uint64_t>(i));
    });
    CHECK(reader->Wait(seen, -1, never));
    writer.join();
  }
}

}  // namespace
