// Damaged files of every kind, with and without checksums that hide the damage, given to everything that reads them.
// The outcome is a Status: never a crash, a read outside a file or a buffer, or an allocation out of all proportion.
//
// GRIDFLOW_FUZZ_SECONDS=n goes on for n seconds a kind of file; GRIDFLOW_FUZZ_SEED=n begins with that seed (every change
// follows from its seed, and a failure names it).
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <chrono>
#include <climits>
#include <functional>

#include "core/arrow_c.h"
#include "core/catalog.h"
#include "core/control.h"
#include "core/key_hash.h"
#include "core/log_replay.h"
#include "core/segment_writer.h"
#include "core/small_segments.h"
#include "core/table_edit.h"
#include "native/files.h"
#include "native/random_rows.h"
#include "native/reseal.h"
#include "native/test.h"
#include "native/use.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
extern "C" const char* __asan_default_options() { return "max_allocation_size_mb=1024:abort_on_error=1"; }
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }
#else
#define ASAN_POISON_MEMORY_REGION(begin, bytes) ((void)(begin), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(begin, bytes) ((void)(begin), (void)(bytes))
#endif

// The kernel maps whole pages. What lies past the end of a file that is mapped to be read is poisoned here, so that the
// sanitizer sees who reads it; the linker sends core's calls this way (--wrap).
extern "C" void* __real_mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset);
extern "C" int __real_munmap(void* at, size_t bytes);
extern "C" void* __wrap_mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  void* mapped = __real_mmap(at, bytes, protection, flags, fd, offset);
  struct stat info;
  if (mapped == MAP_FAILED || protection != PROT_READ || ::fstat(fd, &info) != 0) return mapped;
  const size_t size = std::min(bytes, static_cast<size_t>(info.st_size)), page = 4096;
  ASAN_POISON_MEMORY_REGION(static_cast<char*>(mapped) + size, (page - size % page) % page);
  return mapped;
}
extern "C" int __wrap_munmap(void* at, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(at, (bytes + 4095) / 4096 * 4096);
  return __real_munmap(at, bytes);
}

namespace {

using gridflow::CheckKey;
using gridflow::CheckValue;
using gridflow::ColumnView;
using gridflow::KeyHash;
using gridflow::Manifest;
using gridflow::MemoryTable;
using gridflow::Operation;
using gridflow::RowsBuilder;
using gridflow::Schema;
using gridflow::Segment;
using gridflow::Status;
using gridflow::TableEdit;
using gridflow::TableSnapshot;
using test::Bytes;
using test::ForRows;
using test::IsModest;
using test::kCurrent;
using test::kTable;
using test::MakeSample;
using test::Random;
using test::Sample;
using test::UseRow;
using test::UseSegment;

// Calls `step` with a generator for each seed: `least` of them, more if there is time by the environment.
void Repeat(int least, const std::function<void(Random*)>& step) {
  const char* seconds = std::getenv("GRIDFLOW_FUZZ_SECONDS");
  const char* first = std::getenv("GRIDFLOW_FUZZ_SEED");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds != nullptr ? std::atoi(seconds) : 0);
  const uint64_t seed = first != nullptr ? std::strtoull(first, nullptr, 10) : 1;
  ::signal(SIGABRT, [](int) {  // what a sanitizer ends with
    std::fprintf(stderr, "\n%s\n", test::Context().c_str());
    std::_Exit(1);
  });
  for (uint64_t i = 0; i < static_cast<uint64_t>(least) || std::chrono::steady_clock::now() < end; ++i) {
    test::Context() = "GRIDFLOW_FUZZ_SEED=" + std::to_string(seed + i);
    Random random(seed + i);
    step(&random);
  }
  test::Context().clear();
}

uint64_t Extreme(Random* random, const std::string& bytes, uint64_t now) {
  const uint64_t values[] = {0,          1,          2,           7,           8,           63,          64,
                             65,         127,        128,         255,         0x7FFF,      0xFFFF,      0x7FFFFFFF,
                             0x80000000, 0xFFFFFFFE, 0xFFFFFFFF,  1ull << 32,  1ull << 40,  1ull << 61,  1ull << 62,
                             1ull << 63, ~0ull,      ~0ull - 7,   ~0ull - 63,  now + 1,     now - 1,     now + 8,
                             now - 8,    now * 2,    now / 2,     bytes.size(), bytes.size() - 1,        bytes.size() + 1,
                             random->Below(bytes.size() + 1),     random->Next()};
  return values[random->Below(sizeof(values) / sizeof(values[0]))];
}

// Changes the bytes in one to four places; `fields` are where numbers stand.
std::string Mutate(Random* random, std::string bytes, const std::vector<size_t>& fields) {
  for (uint64_t n = 1 + random->Below(4); n > 0 && !bytes.empty(); --n) {
    size_t at = random->Below(bytes.size());
    if (!fields.empty() && random->Chance(60)) at = fields[random->Below(fields.size())];
    at = std::min(at, bytes.size() - 1);
    switch (random->Below(12)) {
      case 0:
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random->Below(8));
        break;
      case 2:
        bytes[at] = static_cast<char>(Extreme(random, bytes, static_cast<uint8_t>(bytes[at])));
        break;
      case 3:
        test::StoreAt(&bytes, at, static_cast<uint16_t>(Extreme(random, bytes, test::LoadAt<uint16_t>(bytes, at))));
        break;
      case 4:
      case 5:
        test::StoreAt(&bytes, at, static_cast<uint32_t>(Extreme(random, bytes, test::LoadAt<uint32_t>(bytes, at))));
        break;
      case 6:
      case 7:
        test::StoreAt(&bytes, at, Extreme(random, bytes, test::LoadAt<uint64_t>(bytes, at)));
        break;
      case 8:  // a piece from elsewhere
        for (size_t i = 0, from = random->Below(bytes.size()); i < 1 + random->Below(64); ++i)
          if (at + i < bytes.size() && from + i < bytes.size()) bytes[at + i] = bytes[from + i];
        break;
      case 9:
        if (random->Chance(30)) bytes.resize(at);
        break;
      case 10:
        if (random->Chance(30)) bytes.append(random->Below(200), static_cast<char>(random->Next()));
        break;
      default:
        bytes.insert(at, random->Below(16), '\0');
        if (random->Chance(50)) bytes.erase(at, random->Below(32));
    }
  }
  return bytes;
}

// Where the numbers of a segment stand: in the header, the schema, the directory, and at random in the data.
std::vector<size_t> SegmentFields(Random* random, const std::string& bytes) {
  const auto header = test::LoadAt<gf_segment_header>(bytes, 0);
  std::vector<size_t> fields;
  for (size_t at = 0; at < sizeof(header); at += 4) fields.push_back(at);
  for (size_t at = 0; at < header.schema_bytes; at += 1 + random->Below(4)) fields.push_back(header.schema_offset + at);
  for (size_t i = 0; i < header.buffer_count; ++i) {
    const size_t entry = header.directory_offset + i * sizeof(gf_buffer);
    const auto buffer = test::LoadAt<gf_buffer>(bytes, entry);
    fields.insert(fields.end(), {entry, entry + 8, buffer.offset, buffer.offset + 8, buffer.offset + random->Below(buffer.bytes + 1),
                                 buffer.offset + buffer.bytes - std::min<uint64_t>(8, buffer.bytes)});
  }
  return fields;
}

const std::vector<Sample>& Samples() {
  static const auto* samples = [] {
    auto* made = new std::vector<Sample>;
    Random random(1);
    while (made->size() < 12) made->push_back(MakeSample(&random));
    return made;
  }();
  return *samples;
}

const Sample& Pick(Random* random) { return Samples()[random->Below(Samples().size())]; }

TEST(damaged_segments) {
  const test::Folder folder;
  Repeat(3000, [&](Random* random) {
    const Sample& sample = Pick(random);
    for (const auto& [name, bytes] : sample.files) {
      if (name.find(".seg") == std::string::npos || random->Chance(50)) continue;
      std::string bad = Mutate(random, bytes, SegmentFields(random, bytes));
      if (random->Chance(85)) {
        if (random->Chance(70)) test::StoreAt(&bad, offsetof(gf_segment_header, file_bytes), uint64_t{bad.size()});
        test::ResealSegment(&bad);
      }
      test::WriteFile(folder / name, bad);
      UseSegment(random, folder / name, folder / "out");
    }
  });
}

void UseVersion(Random* random, const std::string& grid, const Sample& sample) {
  const std::string folder = grid + "/tables/1";
  std::shared_ptr<const TableSnapshot> version;
  if (!TableSnapshot::Open(grid, kTable, kCurrent, &version).ok()) return;
  const Schema& schema = version->schema();
  int64_t live = 0;
  std::vector<int> indexes;
  for (size_t s = 0; s < version->segments().size(); ++s) {
    const gridflow::SegmentRef& ref = version->segments()[s];
    for (int64_t row = 0; row < ref.segment->rows(); ++row) live += ref.Live(row);
    ForRows(random, ref.segment->rows(), [&](int64_t row) {
      std::string key, value;
      if (EncodeKey(schema, version->columns(static_cast<int>(s)), row, &key).ok() &&
          EncodeValue(schema, version->columns(static_cast<int>(s)), row, &value).ok())
        UseRow(schema, key, value);
    });
    indexes.push_back(static_cast<int>(s));
  }
  CHECK_EQ(live, version->live_rows());
  for (const std::string& key : sample.keys) {
    int segment;
    int64_t row;
    if (version->Find(KeyHash(key.data(), key.size()), Bytes(key), key.size(), &segment, &row).ok())
      CHECK(segment >= -1 && segment < static_cast<int>(version->segments().size()));
  }
  if (!IsModest(schema)) return;
  RowsBuilder builder(schema);
  if (schema.Serialize() == sample.schema.Serialize())
    for (int i = 0; i < 5; ++i) {
      const test::Cells cells = test::RandomCells(random, schema);
      test::AppendRow(&builder, test::KeyOf(schema, cells), test::ValueOf(schema, cells));
    }
  TableEdit edit(folder, version, false, 1);
  int64_t rows;
  std::string duplicate;
  const auto mode = random->Chance(50) ? gridflow::LoadMode::kReplace : gridflow::LoadMode::kInsert;
  gridflow::SegmentMerge merge(folder, version, indexes, false);
  bool usable;
  if (random->Chance(70) && !(merge.Run(1, false).ok() && edit.Replace(&merge, &usable).ok())) return;
  if (random->Chance(50)) edit.FoldSmall(gridflow::kSmallBytes);
  if (random->Chance(50)) edit.ListDeletions(0);
  if (builder.rows() > 0 && !edit.AddRows({builder.Views()}, mode, &rows, &duplicate).ok()) return;
  if (edit.Commit(version->manifest().flushed_lsn, &version).ok())
    CHECK_OK(TableSnapshot::Open(grid, kTable, kCurrent, &version));
}

TEST(damaged_versions_of_a_table) {
  Repeat(2000, [&](Random* random) {
    const test::Folder grid;
    const std::string folder = grid.Make("tables/1");
    const Sample& sample = Pick(random);
    for (const auto& [name, bytes] : sample.files) {
      std::string bad = bytes;
      const bool segment = name.find(".seg") != std::string::npos, bitmap = name.find(".del") != std::string::npos;
      if (random->Chance(segment ? 15 : 40)) {
        std::vector<size_t> fields;
        if (segment) fields = SegmentFields(random, bytes);
        for (size_t at = 0; !segment && at < bytes.size(); at += 4) fields.push_back(at);
        bad = Mutate(random, bytes, fields);
        if (random->Chance(90)) segment ? test::ResealSegment(&bad) : bitmap ? test::ResealDeletions(&bad) : test::ResealFrame(&bad);
      }
      test::WriteFile(folder + "/" + name, bad);
    }
    UseVersion(random, grid.path(), sample);
  });
}

TEST(damaged_logs) {
  const test::Folder folder;
  Repeat(2000, [&](Random* random) {
    const Sample& sample = Pick(random);
    std::vector<size_t> fields;
    for (size_t at = 0; at < sizeof(gf_log_header); at += 4) fields.push_back(at);
    for (size_t at = sizeof(gf_log_header); at + 64 < sample.log.size(); at = test::RecordEnd(sample.log, at))
      for (size_t field = 0; field < 40; field += 4) fields.push_back(at + field);
    std::string bad = Mutate(random, sample.log, fields);
    if (random->Chance(80)) test::ResealLog(&bad);
    test::WriteFile(folder / "0000000000000001.log", bad);
    if (random->Chance(30)) test::WriteFile(folder / "0000000000000010.log", Mutate(random, sample.log, fields));
    for (bool strict : {true, false}) {
      MemoryTable memory;
      std::map<uint32_t, gridflow::ReplayTarget> targets;
      targets[kTable].schema = &sample.schema;
      targets[kTable].memory = &memory;
      targets[kTable].flushed_lsn = random->Below(4);
      gridflow::LogReplay replay(folder.path());
      const uint64_t until = random->Chance(70) ? ~0ull : random->Below(50);
      const Status status = replay.Run(until, strict, &targets);
      if (status.ok() && random->Chance(20)) (void)replay.Run(~0ull, strict, &targets);
      for (const gridflow::MemoryEntry& entry : memory.Sorted()) {
        const Operation operation = entry.operation;
        const std::string key(reinterpret_cast<const char*>(operation.key()), operation.key_bytes());
        CHECK_OK(CheckKey(sample.schema, Bytes(key), key.size()));
        CHECK(memory.Find(entry.hash, Bytes(key), key.size()) != nullptr);
        if (operation.removal()) continue;
        const std::string value(reinterpret_cast<const char*>(operation.value()), operation.value_bytes());
        CHECK_OK(CheckValue(sample.schema, Bytes(value), value.size()));
        UseRow(sample.schema, key, value);
      }
    }
    std::filesystem::remove(folder / "0000000000000010.log");
  });
}

TEST(damaged_catalogs_and_control_pages) {
  const test::Folder folder;
  gridflow::Catalog catalog;
  for (uint32_t i = 0; i < 6; ++i) catalog.tables.push_back({catalog.next_table_id++, "TABLE" + std::to_string(i), "{\"a\": 1}"});
  CHECK_OK(catalog.Write(folder / "catalog", false));
  for (uint8_t kind : {GF_CHANGE_TAG, GF_CHANGE_PUT, GF_CHANGE_REMOVE}) {
    gridflow::CatalogChange change = {++catalog.version, catalog.next_table_id, kind, catalog.tables[kind], "v", 3};
    CHECK_OK(gridflow::Catalog::Append(folder / "catalog", change, false, &catalog.end));
  }
  std::shared_ptr<gridflow::ControlPage> page;
  CHECK_OK(gridflow::ControlPage::Create(folder / "control", 1, &page));
  const std::string good = test::ReadFile(folder / "catalog"), control = test::ReadFile(folder / "control");
  std::vector<size_t> fields;
  for (size_t at = 0; at < good.size(); at += 4) fields.push_back(at);
  Repeat(5000, [&](Random* random) {
    std::string bad = Mutate(random, good, fields);
    if (random->Chance(85)) test::ResealFrame(&bad);
    test::WriteFile(folder / "catalog", bad);
    if (gridflow::Catalog::Read(folder / "catalog", &catalog).ok())
      for (const gridflow::CatalogEntry& entry : catalog.tables) CHECK(catalog.Find(entry.name) == &entry);
    catalog.Find("SQL_PUBLIC_TABLE1");
    test::WriteFile(folder / "control", Mutate(random, control, {0, 8, 16, 24}));
    if (gridflow::ControlPage::Open(folder / "control", &page).ok()) (void)(page->generation() + page->committed_lsn());
    CHECK_OK(gridflow::ControlPage::Create(folder / "control", 2, &page));
    page->Bump();
    page->Commit(page->committed_lsn() + 1);
  });
}

TEST(bytes_that_are_no_rows) {
  Repeat(30000, [&](Random* random) {
    const Schema schema = test::RandomSchema(random, 5, 3);
    const test::Cells cells = test::RandomCells(random, schema);
    std::string key = test::KeyOf(schema, cells), value = test::ValueOf(schema, cells);
    if (random->Chance(10)) {
      key = std::string(random->Below(40), '\0');
      for (char& byte : key) byte = static_cast<char>(random->Next());
    } else if (random->Chance(50)) {
      key = Mutate(random, key, {0, 4});
    }
    value = Mutate(random, value, {0, 1, 2, 3, 4, 5, 8});
    key.shrink_to_fit();  // a read past the end is one past the buffer
    value.shrink_to_fit();
    UseRow(schema, key, value);
  });
}

TEST(bytes_that_are_no_schemas) {
  Repeat(20000, [&](Random* random) {
    const Schema schema = test::RandomSchema(random, 5, 4);
    const std::string good = schema.Serialize();
    std::string bad = Mutate(random, good, {0, 4, 8, 12, 16, 20, 24, good.size() - 8, good.size() - 4});
    const std::vector<uint8_t> exact(Bytes(bad), Bytes(bad) + bad.size());
    Schema parsed, again;
    if (!Schema::Parse(exact.data(), exact.size(), "file", 0, &parsed).ok()) return;
    const std::string bytes = parsed.Serialize();
    CHECK_OK(Schema::Parse(Bytes(bytes), bytes.size(), "file", 0, &again));
    CHECK(again.Serialize() == bytes);
    const test::Cells cells = test::RandomCells(random, schema);
    UseRow(parsed, test::KeyOf(schema, cells), test::ValueOf(schema, cells));
  });
}

}  // namespace
