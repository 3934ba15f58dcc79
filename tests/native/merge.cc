// Merges beside writers, the order of rows whose hashes are the same, and how many small segments there may be.
#include "core/segment_merge.h"

#include <algorithm>

#include "core/key_hash.h"
#include "core/merge_order.h"
#include "core/small_segments.h"
#include "native/files.h"
#include "native/grid.h"
#include "native/random_rows.h"
#include "native/test.h"

namespace {

using gridflow::KeyHash;
using gridflow::KeyOrder;
using gridflow::LoadMode;
using gridflow::RowRef;
using gridflow::RowsBuilder;
using gridflow::Schema;
using gridflow::SegmentMerge;
using gridflow::SmallSegment;
using gridflow::SortedRun;
using gridflow::Source;
using gridflow::TableEdit;
using test::Bytes;
using test::Contents;
using test::Grid;
using test::Random;
using test::Rows;
using test::Version;

std::vector<int> RandomSegments(Random* random, const Version& version) {
  std::vector<int> chosen;
  for (size_t s = 0; s < version->segments().size(); ++s)
    if (random->Chance(60)) chosen.push_back(static_cast<int>(s));
  return chosen;
}

std::vector<SmallSegment> Sizes(const Version& version) {
  std::vector<SmallSegment> sizes;
  for (const gridflow::SegmentRef& ref : version->segments()) sizes.push_back({ref.segment->bytes(), 0});
  return sizes;
}

TEST(a_merge_beside_writers_does_to_a_table_what_it_does_to_a_map) {
  Random random(1);
  int used = 0, useless = 0, late = 0;
  for (int round = 0; round < 20; ++round) {
    Grid grid(test::RandomSchema(&random, 4, 2));
    for (int step = 0; step < 20; ++step) {
      auto write = [&] {
        TableEdit edit(grid.table, grid.version, false, 1);
        if (random.Chance(40)) edit.FoldSmall(random.Below(4000));
        if (random.Chance(60)) edit.ListDeletions(0);
        if (random.Chance(5)) {
          edit.Clear();
          grid.rows.clear();
        } else {
          CHECK_OK(edit.AddMemory(*grid.Changes(&random, random.Below(60), &grid.rows)));
        }
        CHECK_OK(grid.Commit(&edit));
      };
      write();
      SegmentMerge merge(grid.table, grid.version, RandomSegments(&random, grid.version), random.Chance(20));
      const auto writes = [&] {
        for (uint64_t i = random.Below(3); i > 0; --i) write();
      };
      writes();
      CHECK_OK(merge.Run(1, random.Chance(50)));
      bool usable = true;
      for (uint64_t i = random.Below(3); i > 0 && usable; --i) {
        writes();
        usable = merge.CatchUp(*grid.version);
      }
      writes();
      const uint64_t known = merge.deleted();
      TableEdit edit(grid.table, grid.version, false, 1);
      const bool was = usable;
      CHECK_OK(edit.Replace(&merge, &usable));
      CHECK(was || !usable);
      late += usable && merge.deleted() > known;
      ++(usable ? used : useless);
      if (usable) {
        CHECK_OK(grid.Commit(&edit));
      }
      CHECK(Contents(*grid.version) == grid.rows);
    }
    grid.Check();
  }
  CHECK(used > 100 && useless > 20 && late > 20);
}

TEST(a_merge_that_is_cancelled_or_not_used_leaves_nothing) {
  Random random(2);
  Grid grid(test::PlainSchema());
  for (int i = 0; i < 4; ++i) {
    TableEdit edit(grid.table, grid.version, false, 1);
    CHECK_OK(edit.AddMemory(*grid.Changes(&random, 50, &grid.rows)));
    CHECK_OK(grid.Commit(&edit));
  }
  {
    SegmentMerge merge(grid.table, grid.version, {0, 1, 2, 3}, false);
    merge.Cancel();
    CHECK_CODE(merge.Run(1, false), kCancelled);
  }
  grid.Check();
  {
    SegmentMerge merge(grid.table, grid.version, {0, 1, 2, 3}, false);
    CHECK_OK(merge.Run(1, true));
    CHECK(test::Names(grid.table).count("merge.tmp") == 1);
  }
  grid.Check();
}

TEST(few_segments_are_small_however_a_table_is_written) {
  Random random(3);
  for (int round = 0; round < 30; ++round) {
    Grid grid(test::RandomSchema(&random, 4, 2));
    const uint64_t small = 1 + random.Below(60000);
    for (int step = 0; step < 40; ++step) {
      TableEdit edit(grid.table, grid.version, false, 1);
      edit.FoldSmall(small);
      edit.ListDeletions(random.Below(4));
      const size_t before = grid.version->segments().size();
      Rows rows = grid.rows;
      const uint64_t most = random.Chance(10) ? 400 : 20;
      for (uint64_t parts = 1 + random.Below(2); parts > 0; --parts)
        CHECK_OK(edit.AddMemory(*grid.Changes(&random, random.Below(most), &rows)));
      CHECK_OK(grid.Commit(&edit));
      grid.rows = rows;
      CHECK(gridflow::FewAreSmall(Sizes(grid.version), small));
      CHECK(grid.version->segments().size() <= before + 2);
      CHECK(Contents(*grid.version) == grid.rows);
    }
    grid.Check();
  }
}

TEST(deletions_by_lists_do_to_a_table_what_they_do_to_a_map) {
  Random random(5);
  int lists = 0, bitmaps = 0, on_none = 0;
  uint64_t written = 0, whole = 0;
  for (int round = 0; round < 10; ++round) {
    Grid grid(test::PlainSchema());
    Rows rows;
    for (int part = 0; part < 2; ++part) {
      TableEdit edit(grid.table, grid.version, false, 1);
      CHECK_OK(edit.AddMemory(*grid.Changes(&random, 1500, &grid.rows)));
      CHECK_OK(grid.Commit(&edit));
    }
    for (int step = 0; step < 40; ++step) {
      if (random.Chance(5)) {
        SegmentMerge merge(grid.table, grid.version, RandomSegments(&random, grid.version), false);
        CHECK_OK(merge.Run(1, false));
        TableEdit edit(grid.table, grid.version, false, 1);
        edit.ListDeletions(0);
        bool usable;
        CHECK_OK(edit.Replace(&merge, &usable));
        CHECK_OK(grid.Commit(&edit));
      }
      TableEdit edit(grid.table, grid.version, false, 1);
      edit.ListDeletions(0);
      edit.FoldSmall(2000);
      CHECK_OK(edit.AddMemory(*grid.Changes(&random, 1 + random.Below(random.Chance(10) ? 60 : 3), &grid.rows)));
      const Version before = grid.version;
      CHECK_OK(grid.Commit(&edit));
      written += edit.bitmap_bytes();
      for (size_t s = 0; s < grid.version->segments().size(); ++s) {
        const gridflow::SegmentRef& ref = grid.version->segments()[s];
        if (ref.deletions == nullptr) continue;
        whole += static_cast<uint64_t>(ref.segment->rows()) / 8;
        ++(ref.deletions->is_list() ? lists : bitmaps);
        on_none += ref.deletions->is_list() && ref.deletions->bitmap() == nullptr;
      }
      CHECK(Contents(*grid.version) == grid.rows);
      if (step % 10 == 0) grid.Check();
    }
    grid.Check();
  }
  CHECK(lists > 50 && bitmaps > 50 && on_none > 10);
  CHECK(2 * written < whole);
}

TEST(few_stay_small_where_many_were) {
  Random random(4);
  for (int round = 0; round < 2000; ++round) {
    std::vector<SmallSegment> sizes;
    for (uint64_t i = random.Below(40); i > 0; --i) {
      const uint64_t file = 500 + random.Below(2000);
      sizes.push_back({file, random.Below(file)});
    }
    const uint64_t small = random.Below(2500), fresh = random.Below(2500);
    const std::vector<size_t> taken = gridflow::TakenOver(sizes, fresh, small);
    if (fresh >= small) CHECK(taken.empty());
    std::vector<SmallSegment> stay = {{fresh, fresh}};
    uint64_t bytes = fresh, largest = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (std::count(taken.begin(), taken.end(), i) == 0) {
        stay.push_back(sizes[i]);
        continue;
      }
      CHECK(sizes[i].file_bytes < small);
      bytes += sizes[i].live_bytes;
      largest = std::max(largest, sizes[i].live_bytes);
    }
    if (fresh >= small) continue;
    CHECK(gridflow::FewAreSmall(stay, small));
    for (const SmallSegment& one : stay)  // those that stay are larger than those that do not
      CHECK(one.file_bytes >= small || one.live_bytes >= largest || &one == &stay[0]);
  }
}

TEST(a_row_is_moved_a_logarithm_of_times) {
  // 20,000 flushes of one size: what is moved until nothing is small, and how many segments there are meanwhile.
  constexpr uint64_t kUnit = 1000, kSmall = 1 << 20;
  std::vector<SmallSegment> sizes;
  uint64_t moved = 0;
  for (int flush = 0; flush < 20000; ++flush) {
    uint64_t bytes = kUnit;
    std::vector<size_t> taken = gridflow::TakenOver(sizes, bytes, kSmall);
    std::sort(taken.rbegin(), taken.rend());
    for (size_t i : taken) {
      bytes += sizes[i].live_bytes;
      moved += sizes[i].live_bytes;
      sizes.erase(sizes.begin() + static_cast<ptrdiff_t>(i));
    }
    sizes.push_back({bytes, bytes});
    CHECK(gridflow::FewAreSmall(sizes, kSmall));
  }
  CHECK(moved < 10 * 20000 * kUnit);  // 10 = log2(kSmall / kUnit)
}

uint64_t Inverse(uint64_t odd) {
  uint64_t inverse = odd;  // right in its last three bits, and in twice as many each time
  for (int i = 0; i < 5; ++i) inverse *= 2 - odd * inverse;
  return inverse;
}

// What XXH64 has before it takes in the last 8 of 40 bytes, made of its result.
uint64_t BeforeLast(std::string bytes) {
  using namespace gridflow::hash_internal;
  uint64_t hash = KeyHash(bytes.data(), bytes.size());
  hash = (hash ^ (hash >> 32)) * Inverse(kPrime3);
  hash = (hash ^ (hash >> 29) ^ (hash >> 58)) * Inverse(kPrime2);
  hash ^= hash >> 33;
  return Rotate((hash - kPrime4) * Inverse(kPrime1), 64 - 27);
}

// Keys of 40 bytes whose hashes are all the same.
std::vector<std::string> Colliding(Random* random, size_t count) {
  using namespace gridflow::hash_internal;
  std::vector<std::string> keys;
  uint64_t wanted = 0;
  for (size_t i = 0; i < count; ++i) {
    std::string key;
    for (int word = 0; word < 4; ++word) test::Put(&key, random->Next());
    test::Put(&key, uint64_t{0});  // to which the round of a word of 0 adds nothing
    const uint64_t before = BeforeLast(key);
    if (i == 0) wanted = before;
    const uint64_t round = before ^ wanted;
    const uint64_t word = Rotate(round * Inverse(kPrime1), 64 - 31) * Inverse(kPrime2);
    key.resize(32);
    test::Put(&key, word);
    keys.push_back(key);
    CHECK_EQ(KeyHash(key.data(), key.size()), KeyHash(keys[0].data(), keys[0].size()));
  }
  return keys;
}

TEST(rows_of_one_hash_are_ordered_by_their_keys_whoever_writes_them) {
  Random random(5);
  for (int round = 0; round < 100; ++round) {
    Schema schema = test::PlainSchema();
    schema.columns[0].type = {};
    schema.columns[0].type.kind = GF_UUID;  // two of them, and a number, are the 40 bytes of a key
    schema.columns[0].type.nullable = false;
    const auto column = [&](const char* name, gf_kind kind, uint32_t id) {
      gridflow::Column one = schema.columns[0];
      one.type.kind = kind;
      one.type.name = name;
      one.id = id;
      return one;
    };
    schema.columns[0].type.name = "A";
    schema.columns.insert(schema.columns.begin() + 1, {column("B", GF_UUID, 101), column("C", GF_INT64, 102)});
    schema.key = {0, 1, 2};
    CHECK_OK(Schema::Parse(Bytes(schema.Serialize()), schema.Serialize().size(), "", 0, &schema));
    Grid grid(schema);
    const std::vector<std::string> keys = Colliding(&random, 12);
    for (int step = 0; step < 6; ++step) {
      std::map<std::string, std::string> chosen;
      for (uint64_t i = 1 + random.Below(8); i > 0; --i)
        chosen[keys[random.Below(keys.size())]] = test::PlainValue(std::to_string(step));
      TableEdit edit(grid.table, grid.version, false, 1);
      if (random.Chance(30)) edit.FoldSmall(1 << 20);
      if (random.Chance(50)) {
        RowsBuilder builder(schema);
        std::vector<std::pair<std::string, std::string>> rows(chosen.begin(), chosen.end());
        for (size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[random.Below(i)]);
        test::AppendRow(&builder, rows[0].first, test::PlainValue("superseded"));
        for (const auto& [key, value] : rows) test::AppendRow(&builder, key, value);
        int64_t count;
        std::string duplicate;
        CHECK_OK(edit.AddRows({builder.Views()}, LoadMode::kReplace, &count, &duplicate));
        CHECK_EQ(count, static_cast<int64_t>(chosen.size()));
      } else {
        CHECK_OK(edit.AddMemory(*grid.Puts(chosen)));
      }
      CHECK_OK(grid.Commit(&edit));
      for (const auto& [key, value] : chosen) grid.rows[key] = value;
      if (random.Chance(30)) {
        TableEdit merged(grid.table, grid.version, false, 1);
        CHECK_OK(test::Merge(grid.table, grid.version, RandomSegments(&random, grid.version), &merged));
        CHECK_OK(grid.Commit(&merged));
      }
      grid.Check();
      for (size_t s = 0; s < grid.version->segments().size(); ++s) {
        std::string last, key;
        const gridflow::Segment& segment = *grid.version->segments()[s].segment;
        for (int64_t row = 0; row < segment.rows(); ++row, last = key) {
          key.clear();
          CHECK_OK(EncodeKey(schema, grid.version->columns(static_cast<int>(s)), row, &key));
          CHECK(row == 0 || segment.hashes()[row - 1] < segment.hashes()[row] || last < key);
        }
      }
    }
  }
}

TEST(runs_are_merged_as_a_sort_would) {
  Random random(6);
  const Schema schema = test::PlainSchema();
  for (int round = 0; round < 500; ++round) {
    const size_t count = random.Below(6);
    std::vector<Source> sources;
    std::vector<RowsBuilder> builders;
    std::vector<std::vector<uint64_t>> hashes(count);
    std::vector<std::vector<uint8_t>> deleted(count);
    std::vector<SortedRun> runs;
    std::vector<std::tuple<uint64_t, std::string, size_t, int64_t>> expected;
    builders.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      builders.emplace_back(schema);
      const uint64_t rows = random.Below(40);
      deleted[i].resize(rows / 8 + 1);
      for (uint64_t row = 0; row < rows; ++row) hashes[i].push_back(random.Below(30));
      std::sort(hashes[i].begin(), hashes[i].end());
      const bool some = random.Chance(50);
      for (uint64_t row = 0; row < rows; ++row) {
        const std::string key = test::PlainKey(static_cast<int64_t>(random.Next()));
        test::AppendRow(&builders[i], key, test::PlainValue(""));
        if (some && random.Chance(40)) {
          deleted[i][row / 8] |= static_cast<uint8_t>(1 << (row % 8));
        } else {
          expected.emplace_back(hashes[i][row], key, i, static_cast<int64_t>(row));
        }
      }
      sources.push_back(builders[i].Views());
      runs.push_back({hashes[i].data(), static_cast<int64_t>(rows), some ? deleted[i].data() : nullptr, nullptr});
    }
    std::sort(expected.begin(), expected.end());
    KeyOrder merged;
    CHECK_OK(MergeRuns(schema, sources, runs, nullptr, &merged));
    CHECK_EQ(merged.order.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto& [hash, key, source, row] = expected[i];
      CHECK_EQ(merged.hashes[i], hash);
      CHECK(merged.order[i].source == source && merged.order[i].row == row);
    }
  }
}

}  // namespace
