// Versions of a table: edits against a map, crashes at every step, manifests and the catalog.
#include "core/table_edit.h"

#include <signal.h>
#include <sys/wait.h>

#include "core/catalog.h"
#include "core/failpoint.h"
#include "core/frame.h"
#include "core/key_hash.h"
#include "core/log.h"
#include "native/files.h"
#include "native/grid.h"
#include "native/random_rows.h"
#include "native/reseal.h"
#include "native/test.h"

namespace {

using gridflow::Catalog;
using gridflow::KeptVersions;
using gridflow::KeyHash;
using gridflow::LoadMode;
using gridflow::LogFile;
using gridflow::Manifest;
using gridflow::MemoryTable;
using gridflow::Operation;
using gridflow::RowsBuilder;
using gridflow::Schema;
using gridflow::Status;
using gridflow::TableEdit;
using gridflow::TableSnapshot;
using test::Bytes;
using test::Contents;
using test::Grid;
using test::kCurrent;
using test::kTable;
using test::Random;
using test::Rows;
using test::Version;

// Of compressed copies, which nobody makes here.
bool IsCopy(const std::string& name) { return std::filesystem::path(name).extension() == ".lz4"; }

std::vector<gridflow::ColumnView> RandomBatch(Random* random, const Schema& schema, RowsBuilder* builder, size_t rows,
                                              std::vector<std::pair<std::string, std::string>>* out) {
  for (size_t i = 0; i < rows; ++i) {
    const test::Cells cells = test::RandomCells(random, schema);
    out->emplace_back(test::KeyOf(schema, cells), test::ValueOf(schema, cells));
    test::AppendRow(builder, out->back().first, out->back().second);
  }
  return builder->Views();
}

TEST(edits_do_to_a_table_what_they_do_to_a_map) {
  Random random(1);
  for (int round = 0; round < 25; ++round) {
    Grid grid(test::RandomSchema(&random, 4, 2));
    for (int step = 0; step < 25; ++step) {
      const Version before = grid.version;
      const Rows rows_before = grid.rows;
      TableEdit edit(grid.table, grid.version, round % 8 == 0, 1 + round % 2);
      Rows rows = grid.rows;
      bool good = true;
      for (uint64_t parts = 1 + random.Below(2); parts > 0 && good; --parts) {  // one edit may hold several
        const uint64_t what = random.Below(10);
        if (what < 4) {
          const auto memory = grid.Changes(&random, random.Below(60), &rows);
          CHECK_OK(edit.AddMemory(*memory));
        } else if (what < 8) {
          RowsBuilder builder(grid.schema);
          std::vector<std::pair<std::string, std::string>> batch;
          const auto views = RandomBatch(&random, grid.schema, &builder, random.Below(what == 7 ? 4 : 60), &batch);
          std::set<std::string> keys;
          bool fresh = true;
          for (const auto& [key, value] : batch) fresh &= keys.insert(key).second && rows.count(key) == 0;
          int64_t loaded;
          std::string duplicate = "before";
          const Status status =
              edit.AddRows({views}, what < 6 ? LoadMode::kReplace : LoadMode::kInsert, &loaded, &duplicate);
          good = what < 6 || fresh;
          if (!good) {
            CHECK_CODE(status, kInvalid);
            CHECK(keys.count(duplicate) == 1);
            break;
          }
          CHECK_OK(status);
          CHECK(duplicate.empty());
          CHECK_EQ(loaded, static_cast<int64_t>(keys.size()));
          for (const auto& [key, value] : batch) rows[key] = value;
        } else if (parts == 1 && rows == grid.rows) {
          std::vector<int> chosen;
          for (size_t s = 0; s < grid.version->segments().size(); ++s)
            if (random.Chance(60)) chosen.push_back(static_cast<int>(s));
          CHECK_OK(test::Merge(grid.table, grid.version, chosen, &edit));
        }
      }
      if (good && random.Chance(90)) {
        CHECK_OK(grid.Commit(&edit));
        CHECK_EQ(grid.version->manifest().version, before->manifest().version + 1);
        CHECK_EQ(grid.version->manifest().flushed_lsn, grid.lsn);
        grid.rows = rows;
      } else {
        continue;  // without a commit its files go when it does
      }
      CHECK(Contents(*before) == rows_before);  // whoever holds the old version still reads it
      if (step % 5 == 4) {
        TableEdit all(grid.table, grid.version, false, 1);
        std::vector<int> every;
        for (size_t s = 0; s < grid.version->segments().size(); ++s) every.push_back(static_cast<int>(s));
        CHECK_OK(test::Merge(grid.table, grid.version, every, &all));
        CHECK_OK(grid.Commit(&all));
        CHECK(grid.version->segments().size() == (grid.rows.empty() ? 0u : 1u));
      }
      grid.Check();
    }
  }
}

TEST(changed_rows_are_found_where_they_lie_now) {
  Random random(31);
  int conflicts = 0, changed_after_a_merge = 0;
  for (int round = 0; round < 120; ++round) {
    Grid grid(test::RandomSchema(&random, 4, 2));
    auto write = [&] {
      TableEdit edit(grid.table, grid.version, false, 1);
      Rows rows = grid.rows;
      CHECK_OK(edit.AddMemory(*grid.Changes(&random, 1 + random.Below(40), &rows)));
      CHECK_OK(grid.Commit(&edit));
      grid.rows = rows;
    };
    for (uint64_t writes = 1 + random.Below(4); writes > 0; --writes) write();
    const Version seen = grid.version;
    const Rows rows_seen = grid.rows;
    // Some live rows of that version, in any order, and new values for some columns.
    std::vector<gridflow::RowRef> chosen;
    for (size_t s = 0; s < seen->segments().size(); ++s)
      for (int64_t row = 0; row < seen->segments()[s].segment->rows(); ++row)
        if (seen->segments()[s].Live(row) && random.Chance(50))
          chosen.emplace_back(static_cast<uint32_t>(s), static_cast<uint32_t>(row));
    if (random.Chance(30)) std::reverse(chosen.begin(), chosen.end());
    gridflow::RowChanges changes;
    changes.seen = seen;
    changes.rows = gridflow::RowOrderView(chosen);
    changes.removes = random.Chance(30);
    changes.positions.assign(grid.schema.columns.size(), -1);
    for (const uint32_t position : grid.schema.value)
      if (random.Chance(60)) changes.positions[position] = static_cast<int>(position);
    RowsBuilder builder(grid.schema);
    for (size_t i = 0; i < chosen.size(); ++i) {
      const test::Cells cells = test::RandomCells(&random, grid.schema);
      test::AppendRow(&builder, test::KeyOf(grid.schema, cells), test::ValueOf(grid.schema, cells));
    }
    changes.sources = {builder.Views()};
    Rows rows_changed;
    std::set<std::string> removed;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const auto& kept = seen->columns(static_cast<int>(chosen[i].source));
      std::string key, value;
      CHECK_OK(EncodeKey(grid.schema, kept, chosen[i].row, &key));
      CHECK_OK(gridflow::EncodeValue(
          grid.schema,
          [&](uint32_t position) -> gridflow::Cell {
            if (changes.positions[position] < 0) return {&kept[position], chosen[i].row};
            return {&changes.sources[0][position], static_cast<int64_t>(i)};
          },
          &value));
      if (changes.removes) removed.insert(key);
      if (!changes.removes) rows_changed[key] = value;
    }
    // Others write, or merge, or both.
    const bool writes = random.Chance(30), merges = random.Chance(50);
    if (writes) write();
    if (merges) {
      TableEdit merge(grid.table, grid.version, false, 1);
      std::vector<int> segments;
      for (size_t s = 0; s < grid.version->segments().size(); ++s)
        if (random.Chance(70)) segments.push_back(static_cast<int>(s));
      if (!segments.empty()) CHECK_OK(test::Merge(grid.table, grid.version, segments, &merge));
      CHECK_OK(grid.Commit(&merge));
    }
    bool lost = false;  // whether a write of somebody else would be
    auto is_lost = [&](const std::string& key) {
      const auto now = grid.rows.find(key);
      return now == grid.rows.end() || now->second != rows_seen.at(key);
    };
    for (const auto& [key, value] : rows_changed) lost |= is_lost(key);
    for (const std::string& key : removed) lost |= is_lost(key);
    TableEdit edit(grid.table, grid.version, false, 1 + round % 2);
    std::string conflict;
    const Status status = edit.ChangeRows(changes, &conflict);
    if (!status.ok()) {
      CHECK_CODE(status, kInvalid);
      CHECK(writes && (rows_changed.count(conflict) + removed.count(conflict)) == 1);
      ++conflicts;
      continue;
    }
    CHECK(!lost);
    CHECK_OK(grid.Commit(&edit));
    changed_after_a_merge += merges && !chosen.empty();
    for (const auto& [key, value] : rows_changed) grid.rows[key] = value;
    for (const std::string& key : removed) grid.rows.erase(key);
    grid.Check();
    // A row twice, or one that is gone, is refused.
    if (chosen.empty()) continue;
    TableEdit again(grid.table, grid.version, false, 1);
    std::vector<gridflow::RowRef> twice = {chosen[0], chosen[0]};
    changes.rows = gridflow::RowOrderView(twice);
    changes.removes = true;
    CHECK_CODE(again.ChangeRows(changes, &conflict), kInvalid);
    CHECK(conflict.empty());
  }
  CHECK(conflicts > 3 && changed_after_a_merge > 10);
}

TEST(an_edit_that_is_not_committed_leaves_nothing) {
  Random random(2);
  Grid grid(test::PlainSchema());
  for (int i = 0; i < 10; ++i) {
    TableEdit edit(grid.table, grid.version, false, 1);
    CHECK_OK(edit.AddMemory(*grid.Changes(&random, 50, i % 2 == 0 ? &grid.rows : nullptr)));
    if (i % 2 == 0) CHECK_OK(grid.Commit(&edit));
  }
  grid.Check();
}

TEST(a_preview_shows_what_is_not_published_and_leaves_nothing) {
  Random random(11);
  Grid grid(test::PlainSchema());
  const std::string elsewhere = grid.folder.Make("elsewhere");
  for (int round = 0; round < 8; ++round) {
    Rows rows = grid.rows;
    const auto memory = grid.Changes(&random, 60, &rows);
    Version preview;
    {
      TableEdit edit(elsewhere, grid.version, false, 1);
      CHECK_OK(edit.AddMemory(*memory));
      CHECK_OK(edit.Preview(&preview));
    }
    CHECK(test::Names(elsewhere).empty());
    CHECK(Contents(*preview) == rows);
    grid.Check();
    TableEdit edit(grid.table, grid.version, false, 1);
    CHECK_OK(edit.AddMemory(*memory));
    CHECK_OK(grid.Commit(&edit));
    CHECK(Contents(*preview) == rows);
    grid.rows = rows;
  }
}

TEST(versions_that_are_kept_stay_as_they_were) {
  Random random(12);
  for (int round = 0; round < 12; ++round) {
    Grid grid(test::RandomSchema(&random, 4, 2));
    auto kept = std::make_unique<KeptVersions>(grid.table, round % 4 == 0);
    std::map<uint64_t, Rows> history = {{1, {}}};  // of every version there ever was
    std::multiset<uint64_t> chosen;  // one for each tag
    std::set<uint64_t> there;        // what must be kept
    uint64_t last = 0;
    const auto settle = [&] {
      std::vector<uint64_t> untagged;
      for (const uint64_t number : there)
        if (chosen.count(number) == 0) untagged.push_back(number);
      if (!untagged.empty() && untagged.back() == grid.version->manifest().version) {
        there.erase(untagged.back());
        untagged.pop_back();
      }
      for (size_t i = 0; i + last < untagged.size(); ++i) there.erase(untagged[i]);
    };
    const auto let_go = [&](bool told = false) {
      settle();
      if (!told) kept->Want({chosen.begin(), chosen.end()}, last);
      for (const std::string& path : kept->Release(grid.version->manifest(), {}))
        CHECK(std::filesystem::remove(path) || IsCopy(path));
    };
    for (int step = 0; step < 40; ++step) {
      const uint64_t current = grid.version->manifest().version;
      const uint64_t what = random.Below(10);
      if (what == 0) {
        CHECK_OK(kept->Keep(grid.version->manifest()));
        there.insert(current);
        chosen.insert(current);
        const bool told = random.Chance(70);
        if (told) kept->Tag(current);
        let_go(told);
      } else if (what == 1 && !chosen.empty()) {
        const auto gone = std::next(chosen.begin(), static_cast<int64_t>(random.Below(chosen.size())));
        const bool told = random.Chance(70);
        if (told) kept->Untag(*gone);
        chosen.erase(gone);
        let_go(told);
      } else if (what == 2) {
        last = random.Below(4);
        let_go();
      } else if (what == 3) {  // the next owner
        kept = std::make_unique<KeptVersions>(grid.table, false);
        for (const std::string& name : test::Names(grid.table))
          if (name.size() == 25) CHECK_OK(kept->Take(std::stoull(name.substr(0, 16), nullptr, 16)));
        let_go();
      } else {
        Rows rows = grid.rows;
        TableEdit edit(grid.table, grid.version, round % 4 == 0, 1, kept.get());
        if (what == 4) {
          edit.Clear();
          rows.clear();
        } else if (what < 7) {
          std::vector<int> merged;
          for (size_t s = 0; s < grid.version->segments().size(); ++s)
            if (random.Chance(60)) merged.push_back(static_cast<int>(s));
          CHECK_OK(test::Merge(grid.table, grid.version, merged, &edit));
        } else {
          CHECK_OK(edit.AddMemory(*grid.Changes(&random, random.Below(60), &rows)));
        }
        const bool of_reader = random.Chance(30);
        if (of_reader) edit.LetGoOfBase();
        if (random.Chance(90)) {
          CHECK_OK(grid.Commit(&edit));
          grid.rows = rows;
          history[grid.version->manifest().version] = rows;
          if (last > 0 && !of_reader) there.insert(current);
          settle();
        }
      }
      std::set<std::string> names = grid.version->manifest().Files();
      names.insert("manifest");
      const uint64_t now = grid.version->manifest().version;
      for (const auto& [number, rows] : history) {
        Version version;
        const Status status = TableSnapshot::Open(grid.folder.path(), kTable, number, &version);
        // A number that was not kept when it was the current one is not there later, whatever is wanted then.
        if (status.code == gridflow::Code::kGone) {
          CHECK(number != now && there.count(number) == 0);
          continue;
        }
        CHECK_OK(status);
        CHECK(number == now || there.count(number) == 1);
        CHECK_EQ(version->manifest().version, number);
        CHECK(Contents(*version) == rows);
        if (number == now && chosen.count(number) == 0) continue;
        names.insert(gridflow::FileName(number, ".manifest"));
        names.merge(version->manifest().Files());
      }
      for (auto name = names.begin(); name != names.end();) name = IsCopy(*name) ? names.erase(name) : std::next(name);
      CHECK(test::Names(grid.table) == names);
    }
    Version version;
    CHECK_CODE(TableSnapshot::Open(grid.folder.path(), kTable, 1000, &version), kGone);
    CHECK_CODE(TableSnapshot::Open(grid.folder.path(), 99, 1, &version), kNotFound);
  }
}

TEST(a_kept_version_that_is_damaged_is_corrupt) {
  Random random(13);
  Grid grid(test::PlainSchema());
  KeptVersions kept(grid.table, false);
  for (int i = 0; i < 2; ++i) {
    TableEdit edit(grid.table, grid.version, false, 1, &kept);
    CHECK_OK(edit.AddMemory(*grid.Changes(&random, 50, nullptr)));
    CHECK_OK(grid.Commit(&edit));
    if (i == 0) CHECK_OK(kept.Keep(grid.version->manifest()));
    kept.Want({2}, 0);
  }
  Version version;
  CHECK_OK(TableSnapshot::Open(grid.folder.path(), kTable, 2, &version));
  const std::string path = grid.table + "/" + gridflow::FileName(2, ".manifest");
  std::filesystem::copy(path, grid.table + "/" + gridflow::FileName(1, ".manifest"));
  CHECK_CODE(TableSnapshot::Open(grid.folder.path(), kTable, 1, &version), kCorrupt);  // it is another version's
  CHECK_CODE(kept.Take(1), kCorrupt);
  std::filesystem::remove(version->segments()[0].segment->path());
  CHECK_CODE(TableSnapshot::Open(grid.folder.path(), kTable, 2, &version), kCorrupt);
  std::filesystem::resize_file(path, 40);
  CHECK_CODE(TableSnapshot::Open(grid.folder.path(), kTable, 2, &version), kCorrupt);
}

TEST(removing_every_row_leaves_a_table_of_no_segments) {
  Random random(3);
  Grid grid(test::PlainSchema());
  RowsBuilder builder(grid.schema);
  for (int64_t id = 0; id < 100; ++id) test::AppendRow(&builder, test::PlainKey(id), test::PlainValue("text"));
  for (int round = 0; round < 3; ++round) {
    TableEdit load(grid.table, grid.version, false, 1);
    int64_t rows;
    std::string duplicate;
    CHECK_OK(load.AddRows({builder.Views()}, LoadMode::kInsert, &rows, &duplicate));
    CHECK_OK(grid.Commit(&load));
    CHECK_EQ(grid.version->live_rows(), 100);
    MemoryTable memory;
    std::shared_ptr<LogFile> log;
    CHECK_OK(LogFile::Create(grid.logs, grid.lsn + 1, 0, false, &log));
    for (int64_t id = 0; id < 200; ++id) {  // keys that are not there, too
      std::string payload;
      gridflow::AppendRemoval(kTable, test::PlainKey(id), &payload);
      bool fits;
      CHECK_OK(log->Reserve(payload.size(), &fits));
      const uint8_t* at = log->Append(++grid.lsn, payload.data(), payload.size(), nullptr, 0);
      memory.Keep(log);
      memory.Put(Operation(at));
    }
    TableEdit flush(grid.table, grid.version, false, 1);
    CHECK_OK(flush.AddMemory(memory));
    CHECK_OK(grid.Commit(&flush));
    CHECK(grid.version->segments().empty());
    grid.Check();
  }
}

TEST(a_call_that_fails_leaves_the_old_version) {
  Random random(4);
  for (const char* point : {"segment.data=full", "file.written=full", "file.written=io@2", "manifest.write=full"}) {
    Grid grid(test::PlainSchema());
    for (int round = 0; round < 4; ++round) {
      Rows rows = grid.rows;
      const auto memory = grid.Changes(&random, 80, &rows);
      if (round > 0) {
        TableEdit fails(grid.table, grid.version, false, 1);
        CHECK_OK(gridflow::ProcessFailpoints().Set(point));
        Status status = fails.AddMemory(*memory);
        Version next;
        if (status.ok()) status = fails.Commit(grid.lsn, &next);
        CHECK_OK(gridflow::ProcessFailpoints().Set(""));
        CHECK(!status.ok() && next == nullptr);
      }
      grid.Check();
      TableEdit works(grid.table, grid.version, false, 1);
      CHECK_OK(works.AddMemory(*memory));
      CHECK_OK(grid.Commit(&works));
      grid.rows = rows;
      grid.Check();
    }
  }
}

TEST(a_crash_anywhere_leaves_the_old_or_the_new_version_and_the_next_owner_goes_on) {
  Random random(5);
  for (const char* point : {"segment.data", "segment.rename", "file.written", "file.renamed", "manifest.write", "manifest.written"}) {
    Grid grid(test::PlainSchema());
    for (int round = 0; round < 6; ++round) {
      Rows rows = grid.rows;
      const auto memory = grid.Changes(&random, 80, &rows);
      // Twice: once killed, and then by the next owner, who finds what the first left behind.
      const pid_t child = round == 0 ? 0 : ::fork();
      if (child == 0) {
        // At the first pass of a file, the second, ...: the bitmaps come before the manifest.
        const std::string pass = std::strncmp(point, "file", 4) == 0 ? "@" + std::to_string(1 + round % 2) : "";
        if (round > 0) CHECK_OK(gridflow::ProcessFailpoints().Set(point + std::string("=kill") + pass));
        TableEdit edit(grid.table, grid.version, false, 1);
        CHECK_OK(edit.AddMemory(*memory));
        CHECK_OK(grid.Commit(&edit));
        if (round > 0) std::_Exit(0);
        grid.rows = rows;
        continue;
      }
      int state = 0;
      CHECK(::waitpid(child, &state, 0) == child);
      CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL);
      const uint64_t before = grid.version->manifest().version;
      CHECK_OK(TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &grid.version));
      const bool committed = grid.version->manifest().version == before + 1;
      CHECK(committed || grid.version->manifest().version == before);
      CHECK(Contents(*grid.version) == (committed ? rows : grid.rows));
      if (std::strncmp(point, "file", 4) != 0) CHECK_EQ(committed, std::strcmp(point, "manifest.written") == 0);
      if (!committed) {  // the log is replayed
        TableEdit edit(grid.table, grid.version, false, 1);
        CHECK_OK(edit.AddMemory(*memory));
        CHECK_OK(grid.Commit(&edit));
      }
      grid.rows = rows;
      CHECK(Contents(*grid.version) == rows);
      // Orphans may lie about until the owner sweeps, but never under a name that the manifest gives to another file.
      for (const gridflow::SegmentRef& ref : grid.version->segments()) CHECK_OK(ref.segment->Verify());
    }
    Version again;
    CHECK_OK(TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &again));
    CHECK(Contents(*again) == grid.rows);
  }
}

TEST(a_commit_whose_manifest_cannot_be_read_again_keeps_its_files) {
  Random random(6);
  Grid grid(test::PlainSchema());
  TableEdit edit(grid.table, grid.version, true, 1);
  CHECK_OK(edit.AddMemory(*grid.Changes(&random, 80, &grid.rows)));
  CHECK_OK(grid.Commit(&edit));
  {
    TableEdit lost(grid.table, grid.version, true, 1);
    CHECK_OK(lost.AddMemory(*grid.Changes(&random, 80, nullptr)));
    const std::set<std::string> files = test::Names(grid.table);
    // The manifest is in nobody's power to read: it may name the new files.
    std::filesystem::remove(grid.table + "/manifest");
    CHECK_OK(gridflow::ProcessFailpoints().Set("file.written=io@2"));
    Version next;
    CHECK(!lost.Commit(grid.lsn, &next).ok());
    CHECK_OK(gridflow::ProcessFailpoints().Set(""));
    CHECK(next == nullptr && files.size() > 2);
  }
  CHECK(test::Names(grid.table).size() >= 3);
}

TEST(a_reader_that_loses_the_race_with_a_merge_reads_again) {
  Random random(7);
  Grid grid(test::PlainSchema());
  CHECK_CODE(TableSnapshot::Open(grid.folder.path(), 99, kCurrent, &grid.version), kNotFound);
  for (int i = 0; i < 3; ++i) {
    TableEdit edit(grid.table, grid.version, false, 1);
    CHECK_OK(edit.AddMemory(*grid.Changes(&random, 80, &grid.rows)));
    CHECK_OK(grid.Commit(&edit));
  }
  const pid_t child = ::fork();
  if (child == 0) {
    for (int i = 0; i < 150; ++i) {
      TableEdit edit(grid.table, grid.version, false, 1);
      const size_t segments = grid.version->segments().size();
      if (segments > 1) {
        std::vector<int> all;
        for (size_t s = 0; s < segments; ++s) all.push_back(static_cast<int>(s));
        CHECK_OK(test::Merge(grid.table, grid.version, all, &edit));
      } else {
        CHECK_OK(edit.AddMemory(*grid.Changes(&random, 40, nullptr)));
      }
      CHECK_OK(grid.Commit(&edit));
    }
    std::_Exit(0);
  }
  int state = 0;
  while (::waitpid(child, &state, WNOHANG) == 0) {
    Version version;
    CHECK_OK(TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &version));
    Contents(*version);
  }
  CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  CHECK_OK(TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &grid.version));
  std::filesystem::remove(grid.version->segments()[0].segment->path());
  Version version;
  CHECK_CODE(TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &version), kCorrupt);  // it is missing for good
}

TEST(a_segment_of_other_columns_than_the_manifest_names_is_corrupt) {
  Random random(8);
  Grid grid(test::PlainSchema());
  TableEdit edit(grid.table, grid.version, false, 1);
  CHECK_OK(edit.AddMemory(*grid.Changes(&random, 20, nullptr)));
  CHECK_OK(grid.Commit(&edit));
  const Manifest good = grid.version->manifest();
  auto opened = [&](const Schema& schema) {
    Manifest manifest = good;
    manifest.schema = schema;
    CHECK_OK(manifest.Write(grid.table + "/manifest", false));
    Version version;
    const Status status = TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &version);
    if (status.ok()) Contents(*version);
    return status;
  };
  Schema schema = grid.schema;
  schema.columns[1].type.name = "RENAMED";
  CHECK_OK(opened(schema));
  schema.columns.push_back({3, schema.columns[1].type});  // a column that is younger than the segment
  schema.Finish();
  CHECK_OK(opened(schema));
  schema.columns[2].type.nullable = false;
  CHECK_CODE(opened(schema), kCorrupt);
  for (int i = 0; i < 100; ++i) {  // unless there is a value for the rows that lack it
    schema.columns[2].type = test::RandomType(&random, 3);
    schema.columns[2].type.name = "FILLED";
    schema.Finish();
    schema.columns[2].fill = test::RandomItem(&random, schema.columns[2].type);
    if (schema.columns[2].fill.empty()) continue;
    schema.columns[2].id = static_cast<uint32_t>(100 + i);
    Manifest manifest = good;
    manifest.schema = schema;
    CHECK_OK(manifest.Write(grid.table + "/manifest", false));
    Version version;
    CHECK_OK(TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &version));
    const gridflow::ColumnView& column = version->columns(0)[2];
    for (int64_t row = 0; row < version->segments()[0].segment->rows(); ++row) {
      std::string cell;
      CHECK(!column.IsNull(row));
      CHECK_OK(EncodeCell(column, row, &cell));
      CHECK(cell == schema.columns[2].fill);
    }
    schema.columns[2].fill += "x";
    manifest.schema = schema;
    CHECK_OK(manifest.Write(grid.table + "/manifest", false));
    CHECK_CODE(TableSnapshot::Open(grid.folder.path(), kTable, kCurrent, &version), kCorrupt);
  }
  schema = grid.schema;
  schema.columns[1].type.nullable = false;
  CHECK_CODE(opened(schema), kCorrupt);
  schema = grid.schema;
  schema.columns[1].type.kind = GF_INT64;
  schema.Finish();
  CHECK_CODE(opened(schema), kCorrupt);
  schema = grid.schema;
  std::swap(schema.columns[0].id, schema.columns[1].id);
  CHECK_CODE(opened(schema), kCorrupt);
}

TEST(a_manifest_there_and_back) {
  const test::Folder folder;
  Random random(9);
  for (int i = 0; i < 200; ++i) {
    Manifest manifest, again;
    manifest.table_id = static_cast<uint32_t>(random.Next());
    manifest.partitions = 1 + static_cast<uint32_t>(random.Below(0xFFFFFFFF));
    manifest.version = random.Next();
    manifest.flushed_lsn = random.Next();
    manifest.schema = test::RandomSchema(&random);
    for (gridflow::Column& column : manifest.schema.columns)
      if (random.Chance(20)) column.default_value = test::RandomItem(&random, column.type);
    for (uint64_t n = random.Below(5); n > 0; --n) {
      gf_manifest_segment segment = {manifest.next_file_id++, 0, 1 + random.Below(1000), 0, 0};
      if (random.Chance(50)) {
        if (random.Chance(50)) segment.bitmap_id = manifest.next_file_id++;
        segment.deletions_id = manifest.next_file_id++;
        segment.deleted = 1 + random.Below(segment.rows);
      }
      manifest.segments.push_back(segment);
    }
    CHECK_OK(manifest.Write(folder / "manifest", i % 10 == 0));
    CHECK_OK(Manifest::Read(folder / "manifest", &again));
    CHECK_EQ(again.table_id, manifest.table_id);
    CHECK_EQ(again.partitions, manifest.partitions);
    CHECK_EQ(again.version, manifest.version);
    CHECK_EQ(again.flushed_lsn, manifest.flushed_lsn);
    CHECK_EQ(again.next_file_id, manifest.next_file_id);
    CHECK_EQ(again.schema.Serialize(), manifest.schema.Serialize());
    CHECK_EQ(again.schema.HasDefaults(), manifest.schema.HasDefaults());
    CHECK_EQ(again.segments.size(), manifest.segments.size());
    if (!again.segments.empty())
      CHECK(std::memcmp(again.segments.data(), manifest.segments.data(), again.segments.size() * sizeof(gf_manifest_segment)) == 0);
    const std::string bytes = test::ReadFile(folder / "manifest");
    const size_t at = random.Below(bytes.size());
    for (const std::string& bad : {bytes.substr(0, at), bytes + '\0'}) {
      test::WriteFile(folder / "bad", bad);
      CHECK_CODE(Manifest::Read(folder / "bad", &again), kCorrupt);
    }
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    test::WriteFile(folder / "bad", flipped);
    CHECK(!Manifest::Read(folder / "bad", &again).ok());
  }
  Catalog catalog;
  CHECK_CODE(Catalog::Read(folder / "manifest", &catalog), kCorrupt);
}

TEST(a_manifest_that_would_let_a_sealed_file_be_replaced_is_corrupt) {
  const test::Folder folder;
  Manifest manifest, again;
  manifest.partitions = 1;
  manifest.schema = test::PlainSchema();
  manifest.next_file_id = 5;
  const gf_manifest_segment good = {4, 3, 10, 2, 0};
  for (const gf_manifest_segment& bad :
       {gf_manifest_segment{5, 3, 10, 2, 0}, {4, 5, 10, 2, 0}, {4, 3, 0, 0, 0}, {4, 3, 10, 11, 0}, {4, 0, 10, 2, 0},
        {4, 3, 10, 0, 0}, {4, 3, GF_MAX_SEGMENT_ROWS + 1, 2, 0}, {4, 3, 10, 2, 5}, {4, 0, 10, 0, 3}}) {
    manifest.segments = {bad};
    CHECK_OK(manifest.Write(folder / "manifest", false));
    CHECK_CODE(Manifest::Read(folder / "manifest", &again), kCorrupt);
  }
  manifest.segments = {good, good};
  CHECK_OK(manifest.Write(folder / "manifest", false));
  CHECK_CODE(Manifest::Read(folder / "manifest", &again), kCorrupt);
  manifest.segments = {good};
  CHECK_OK(manifest.Write(folder / "manifest", false));
  CHECK_OK(Manifest::Read(folder / "manifest", &again));
}

TEST(a_manifest_of_the_first_version_is_read) {
  const test::Folder folder;
  gridflow::FrameWriter writer;
  writer.Put(uint32_t{7});
  writer.Put(uint32_t{1024});
  for (uint64_t number : {3u, 100u, 9u}) writer.Put(number);  // version, flushed_lsn, next_file_id
  writer.PutText(test::PlainSchema().Serialize());
  writer.Put(uint32_t{2});
  for (uint64_t number : {2u, 7u, 10u, 4u, 5u, 0u, 20u, 0u}) writer.Put(number);
  test::WriteFile(folder / "manifest", writer.Frame(GF_MANIFEST_MAGIC, 1));
  Manifest manifest;
  CHECK_OK(Manifest::Read(folder / "manifest", &manifest));
  CHECK_EQ(manifest.segments.size(), 2u);
  const gf_manifest_segment &first = manifest.segments[0], &second = manifest.segments[1];
  CHECK(first.segment_id == 2 && first.deletions_id == 7 && first.rows == 10 && first.deleted == 4 && first.bitmap_id == 0);
  CHECK(second.segment_id == 5 && second.deletions_id == 0 && second.rows == 20 && second.bitmap_id == 0);
  test::WriteFile(folder / "manifest", writer.Frame(GF_MANIFEST_MAGIC, 2));
  CHECK_CODE(Manifest::Read(folder / "manifest", &manifest), kCorrupt);
  test::WriteFile(folder / "manifest", writer.Frame(GF_MANIFEST_MAGIC, 4));
  CHECK_CODE(Manifest::Read(folder / "manifest", &manifest), kVersion);
}

TEST(a_catalog_there_and_back) {
  const test::Folder folder;
  Random random(10);
  for (int i = 0; i < 100; ++i) {
    Catalog catalog, again;
    catalog.version = random.Next();
    for (uint64_t n = random.Below(6); n > 0; --n)
      catalog.tables.push_back({catalog.next_table_id++, "T" + std::to_string(n), test::RandomText(&random)});
    CHECK_OK(catalog.Write(folder / "catalog", false));
    CHECK_OK(Catalog::Read(folder / "catalog", &again));
    CHECK_EQ(again.next_table_id, catalog.next_table_id);
    CHECK_EQ(again.version, catalog.version);
    CHECK_EQ(again.tables.size(), catalog.tables.size());
    for (const gridflow::CatalogEntry& entry : catalog.tables) {
      for (const std::string& name : {entry.name, "SQL_PUBLIC_" + entry.name}) {
        const gridflow::CatalogEntry* found = again.Find(name);
        CHECK(found != nullptr && found->table_id == entry.table_id && found->options == entry.options);
      }
      CHECK(again.Find("SQL_PUBLIC_" + entry.name + "x") == nullptr && again.Find("") == nullptr);
    }
  }
  Catalog catalog;
  catalog.next_table_id = 3;
  for (const std::vector<gridflow::CatalogEntry>& bad :
       {std::vector<gridflow::CatalogEntry>{{3, "A", ""}}, {{1, "A", ""}, {2, "A", ""}}, {{1, "A", ""}, {1, "B", ""}}}) {
    catalog.tables = bad;
    CHECK_OK(catalog.Write(folder / "catalog", false));
    CHECK_CODE(Catalog::Read(folder / "catalog", &catalog), kCorrupt);
  }
}

gridflow::CatalogChange RandomChange(Random* random, const Catalog& before) {
  gridflow::CatalogChange change;
  change.version = before.version + 1;
  change.next_table_id = before.next_table_id;
  const uint64_t what = before.tables.empty() ? 0 : random->Below(4);
  change.kind = static_cast<uint8_t>(what < 2 ? GF_CHANGE_PUT : what == 2 ? GF_CHANGE_REMOVE : GF_CHANGE_TAG);
  if (what == 0) {
    change.entry = {change.next_table_id++, "T" + std::to_string(before.next_table_id), test::RandomText(random)};
  } else {
    change.entry = before.tables[random->Below(before.tables.size())];
    if (what == 1) change.entry.options = test::RandomText(random);
    change.tag = "v" + std::to_string(random->Below(3));
    change.tagged = random->Below(4);
  }
  return change;
}

// What the words of catalog_format.h say that a change does.
void Apply(const gridflow::CatalogChange& change, Catalog* catalog) {
  catalog->version = change.version;
  catalog->next_table_id = change.next_table_id;
  const auto place = std::find_if(catalog->tables.begin(), catalog->tables.end(),
                                  [&](const auto& entry) { return entry.table_id == change.entry.table_id; });
  if (change.kind == GF_CHANGE_REMOVE) {
    catalog->tables.erase(place);
  } else if (change.kind == GF_CHANGE_TAG) {
    place->tags[change.tag] = change.tagged;
  } else if (place == catalog->tables.end()) {
    catalog->tables.push_back(change.entry);
  } else {
    place->options = change.entry.options;
    place->tags.clear();
  }
}

bool Same(const Catalog& a, const Catalog& b) {
  return a.version == b.version && a.next_table_id == b.next_table_id &&
         std::equal(a.tables.begin(), a.tables.end(), b.tables.begin(), b.tables.end(), [](const auto& x, const auto& y) {
           return x.table_id == y.table_id && x.name == y.name && x.options == y.options && x.tags == y.tags;
         });
}

TEST(a_catalog_grows_by_changes_and_each_end_of_one_is_told_from_damage) {
  const test::Folder folder;
  const std::string path = folder / "catalog", other = folder / "other";
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    Catalog catalog, again;
    CHECK_OK(catalog.Write(path, false));
    std::vector<std::pair<uint64_t, Catalog>> ends = {{catalog.end, catalog}};
    for (int step = 0; step < 12; ++step) {
      if (random.Chance(10)) {
        for (gridflow::CatalogEntry& entry : catalog.tables) entry.tags.clear();
        CHECK_OK(catalog.Write(path, false));
        ends.clear();
      } else {
        if (random.Chance(20)) {  // what a crash has left of a change that was never acknowledged
          std::string left = test::ReadFile(path) + std::string(random.Below(40), '\0');
          uint64_t end = catalog.end;
          if (random.Chance(50)) {
            test::WriteFile(other, test::ReadFile(path));
            CHECK_OK(Catalog::Append(other, RandomChange(&random, catalog), false, &end));
            const std::string whole = test::ReadFile(other);
            left = whole.substr(0, catalog.end + random.Below(whole.size() - catalog.end));
          }
          test::WriteFile(path, left);
          CHECK_OK(Catalog::Read(path, &again));
          CHECK(Same(again, catalog) && again.end == catalog.end);
        }
        const gridflow::CatalogChange change = RandomChange(&random, catalog);
        CHECK_OK(Catalog::Append(path, change, step % 4 == 0, &catalog.end));
        Apply(change, &catalog);
      }
      CHECK_OK(Catalog::Read(path, &again));
      CHECK(Same(again, catalog) && again.end == catalog.end && again.body_bytes == catalog.body_bytes);
      CHECK_EQ(test::ReadFile(path).size(), catalog.end);
      ends.emplace_back(catalog.end, catalog);
    }
    // Cut anywhere, the changes before are there. Any other byte is damage, and no other catalog, but for the last change,
    // which may have been torn.
    const std::string whole = test::ReadFile(path);
    const uint64_t body = ends.front().first;
    for (int i = 0; i < 40; ++i) {
      const uint64_t at = body + random.Below(whole.size() - body + 1);
      test::WriteFile(other, whole.substr(0, at));
      const auto last = std::find_if(ends.rbegin(), ends.rend(), [&](const auto& end) { return end.first <= at; });
      CHECK_OK(Catalog::Read(other, &again));
      CHECK(Same(again, last->second));
      if (at == whole.size()) continue;
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << random.Below(8)));
      test::WriteFile(other, flipped);
      const auto& before = ends[ends.size() - 2];
      if (at < before.first) {
        CHECK_CODE(Catalog::Read(other, &again), kCorrupt);
      } else {
        CHECK_OK(Catalog::Read(other, &again));
        CHECK(Same(again, before.second) && again.end == before.first);
      }
    }
    gridflow::CatalogChange skips = RandomChange(&random, catalog);
    ++skips.version;
    CHECK_OK(Catalog::Append(path, skips, false, &catalog.end));
    CHECK_CODE(Catalog::Read(path, &again), kCorrupt);
  }
}

TEST(a_change_that_cannot_be_written_leaves_the_catalog_as_it_was) {
  const test::Folder folder;
  Catalog catalog, again;
  CHECK_OK(catalog.Write(folder / "catalog", false));
  gridflow::CatalogChange change;
  change.version = 1, change.next_table_id = 2, change.kind = GF_CHANGE_PUT, change.entry = {1, "T", "{}"};
  for (const char* point : {"catalog.append", "catalog.appended"}) {
    CHECK_OK(gridflow::ProcessFailpoints().Set(std::string(point) + "=full"));
    uint64_t end = catalog.end;
    CHECK_CODE(Catalog::Append(folder / "catalog", change, false, &end), kFull);
    CHECK_OK(gridflow::ProcessFailpoints().Set(""));
    CHECK_EQ(end, catalog.end);
    CHECK_EQ(test::ReadFile(folder / "catalog").size(), catalog.end);
    CHECK_OK(Catalog::Read(folder / "catalog", &again));
    CHECK(again.tables.empty());
  }
}

TEST(a_catalog_of_before_changes_is_read_and_can_only_be_replaced) {
  const test::Folder folder;
  Catalog catalog, again;
  catalog.tables = {{1, "T", "{}"}};
  catalog.next_table_id = 2;
  CHECK_OK(catalog.Write(folder / "catalog", false));
  std::string bytes = test::ReadFile(folder / "catalog");
  bytes[8] = 1;
  test::ResealFrame(&bytes);
  test::WriteFile(folder / "catalog", bytes);
  CHECK_OK(Catalog::Read(folder / "catalog", &again));
  CHECK_EQ(again.tables.size(), size_t{1});
  CHECK_EQ(again.end, uint64_t{0});
  test::WriteFile(folder / "catalog", bytes + '\0');
  CHECK_CODE(Catalog::Read(folder / "catalog", &again), kCorrupt);
}

}  // namespace
