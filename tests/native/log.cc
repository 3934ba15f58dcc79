// The log: what was appended is there again, whatever was cut off; the memory table and the control page beside it.
#include "core/log.h"

#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <limits>
#include <thread>

#include "core/control.h"
#include "core/key_hash.h"
#include "core/log_replay.h"
#include "core/manifest.h"
#include "core/memory_table.h"
#include "native/files.h"
#include "native/random_rows.h"
#include "native/reseal.h"
#include "native/test.h"

namespace {

using gridflow::Code;
using gridflow::ControlPage;
using gridflow::KeyHash;
using gridflow::LogFile;
using gridflow::LogReplay;
using gridflow::MemoryTable;
using gridflow::ReplayTarget;
using gridflow::Status;
using test::Bytes;
using test::Random;

using Log = std::shared_ptr<LogFile>;
// Of each key the value, or null if it was removed.
using Memory = std::map<std::string, std::optional<std::string>>;

constexpr uint32_t kTable = 5;
constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();

std::string Operation(const std::string& key, const std::optional<std::string>& value, uint32_t table = kTable) {
  std::string out;
  test::Put(&out, gf_log_operation{table, static_cast<uint32_t>(key.size()),
                                   value ? static_cast<uint32_t>(value->size()) : GF_LOG_REMOVE});
  return out + key + value.value_or("");
}

// As the store appends: the payload in one piece.
void Append(LogFile* log, uint64_t lsn, const std::string& payload) {
  bool fits = false;
  CHECK_OK(log->Reserve(payload.size(), &fits));
  CHECK(fits);
  log->Append(lsn, payload.data(), payload.size(), nullptr, 0);
}

struct Replayed {
  Status status;
  Memory memory;
  uint64_t next_lsn = 0;
};

Memory Contents(const MemoryTable& table) {
  Memory contents;
  uint64_t least = 0;
  for (const gridflow::MemoryEntry& entry : table.Sorted()) {
    CHECK(entry.hash >= least);
    least = entry.hash;
    const gridflow::Operation operation = entry.operation;
    const std::string key(reinterpret_cast<const char*>(operation.key()), operation.key_bytes());
    CHECK(contents.count(key) == 0);
    contents[key] = std::nullopt;
    if (!operation.removal())
      contents[key] = std::string(reinterpret_cast<const char*>(operation.value()), operation.value_bytes());
  }
  CHECK_EQ(contents.size(), table.size());
  return contents;
}

Replayed Replay(const std::string& folder, bool strict = true, uint64_t until = kAll, uint64_t flushed = 0) {
  static const gridflow::Schema* schema = new gridflow::Schema(test::PlainSchema());
  MemoryTable memory;
  std::map<uint32_t, ReplayTarget> targets;
  targets[kTable].schema = schema;
  targets[kTable].memory = &memory;
  targets[kTable].flushed_lsn = flushed;
  LogReplay replay(folder);
  Replayed replayed;
  replayed.status = replay.Run(until, strict, &targets);
  replayed.memory = Contents(memory);
  replayed.next_lsn = replay.next_lsn();
  return replayed;
}

// A log of five records from lsn 10 on, and what is in memory after each.
struct Sample {
  test::Folder folder;
  std::string path, bytes;
  std::vector<size_t> begins, ends;   // of the records, without padding
  std::vector<Memory> memories = {{}};  // after so many records

  Sample() {
    Log log;
    CHECK_OK(LogFile::Create(folder.path(), 10, 0, false, &log));
    for (int64_t i = 0; i < 5; ++i) {
      std::string payload;
      Memory memory = memories.back();
      for (int64_t j = 0; j <= i % 3; ++j) {
        const std::string key = test::PlainKey(i + 2 * j);
        std::optional<std::string> value;
        if ((i + j) % 4 != 3) value = test::PlainValue("value " + std::string(static_cast<size_t>(5 * i + j), 'x'));
        payload += Operation(key, value);
        memory[key] = value;
      }
      payload += Operation("something", "else", kTable + 1);
      memories.push_back(memory);
      begins.push_back(log->tail());
      ends.push_back(log->tail() + sizeof(gf_log_record) + payload.size());
      Append(log.get(), static_cast<uint64_t>(10 + i), payload);
    }
    path = log->path();
    bytes = test::ReadFile(path).substr(0, ends.back() + 40);
  }

  void CheckRecords(const std::string& changed, size_t records) const {
    test::WriteFile(path, changed);
    for (bool strict : {true, false}) {
      const Replayed replayed = Replay(folder.path(), strict);
      CHECK_OK(replayed.status);
      CHECK_EQ(replayed.next_lsn, 10 + records);
      CHECK(replayed.memory == memories[records]);
    }
  }
};

TEST(what_was_appended_is_replayed) {
  const Sample sample;
  sample.CheckRecords(sample.bytes, 5);
  for (uint64_t until = 9; until < 20; ++until) {
    const Replayed replayed = Replay(sample.folder.path(), true, until);
    CHECK_OK(replayed.status);
    CHECK_EQ(replayed.next_lsn, std::min<uint64_t>(until + 1, 15));
    CHECK(replayed.memory == sample.memories[std::min<uint64_t>(until + 1, 15) - 10]);
  }
  CHECK(Replay(sample.folder.path(), true, kAll, 14).memory.empty());  // all is in segments
  CHECK_EQ(Replay(sample.folder.path(), true, kAll, 13).memory.size(), 2u);
}

TEST(a_torn_tail_is_dropped_wherever_it_is_torn) {
  const Sample sample;
  for (size_t cut = 0; cut <= sample.bytes.size(); ++cut) {
    if (cut < sizeof(gf_log_header)) {
      test::WriteFile(sample.path, sample.bytes.substr(0, cut));
      CHECK_CODE(Replay(sample.folder.path()).status, kCorrupt);
      continue;
    }
    size_t whole = 0, unchanged = 0;
    std::string zeroed = sample.bytes;
    zeroed.replace(cut, std::string::npos, sample.bytes.size() - cut, '\0');
    while (whole < 5 && sample.ends[whole] <= cut) ++whole;
    while (unchanged < 5 && zeroed.compare(0, sample.ends[unchanged], sample.bytes, 0, sample.ends[unchanged]) == 0) ++unchanged;
    sample.CheckRecords(sample.bytes.substr(0, cut), whole);
    sample.CheckRecords(zeroed, unchanged);
  }
}

TEST(a_hole_in_the_last_record_drops_it) {
  const Sample sample;
  for (size_t begin = sample.begins[4]; begin < sample.ends[4]; ++begin) {
    std::string holed = sample.bytes;
    for (size_t at = begin; at < std::min(begin + 16, sample.ends[4]); ++at) holed[at] = '\xA5';
    sample.CheckRecords(holed, 4);
  }
}

TEST(a_bit_that_flips_is_damage_but_in_the_last_record) {
  const Sample sample;
  for (size_t at = 0; at < sample.ends[4]; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = sample.bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ 1 << bit);
      size_t record = 0;
      while (at >= sample.ends[record]) ++record;
      if (at >= sizeof(gf_log_header) && at < sample.begins[record]) continue;  // padding
      if (at >= sample.begins[4]) {
        if (bit < 2) sample.CheckRecords(flipped, 4);
        continue;
      }
      test::WriteFile(sample.path, flipped);
      const Status status = Replay(sample.folder.path(), bit % 2 == 0).status;
      CHECK(status.code == Code::kCorrupt || (status.code == Code::kVersion && at >= 8 && at < 12));
    }
  }
}

TEST(a_log_goes_on_in_the_next_file) {
  const test::Folder folder;
  Memory memory;
  uint64_t lsn = 1;
  for (int file = 0; file < 4; ++file) {
    Log log;
    CHECK_OK(LogFile::Create(folder.path(), lsn, 0, file % 2 == 0, &log));
    CHECK_EQ(log->first_lsn(), lsn);
    for (int i = 0; i < 20; ++i, ++lsn) {
      const std::string key = test::PlainKey(i), value = test::PlainValue(std::to_string(lsn));
      const uint64_t before = log->tail();
      Append(log.get(), lsn, Operation(key, value));
      CHECK_OK(log->Sync(before, log->tail()));
      memory[key] = value;
    }
  }
  Replayed replayed = Replay(folder.path());
  CHECK_OK(replayed.status);
  CHECK(replayed.memory == memory);
  CHECK_EQ(replayed.next_lsn, lsn);
  // The end of a file may be torn only if the next one begins there: an owner died, and another went on.
  const std::string second = folder / gridflow::FileName(21, ".log");
  std::string bytes = test::ReadFile(second);
  size_t last = sizeof(gf_log_header);
  while (test::RecordEnd(bytes, last) < bytes.size() && test::LoadAt<uint64_t>(bytes, test::RecordEnd(bytes, last)) != 0)
    last = test::RecordEnd(bytes, last);
  CHECK_EQ(test::LoadAt<uint64_t>(bytes, last), 40u);
  bytes[last + 30] = static_cast<char>(bytes[last + 30] + 1);
  test::WriteFile(second, bytes);
  CHECK_CODE(Replay(folder.path(), true).status, kCorrupt);
  CHECK_CODE(Replay(folder.path(), false).status, kCorrupt);  // a reader must not pass over what is missing, either
  std::filesystem::remove(folder / gridflow::FileName(41, ".log"));
  std::filesystem::remove(folder / gridflow::FileName(61, ".log"));
  Log log;
  CHECK_OK(LogFile::Create(folder.path(), 40, 0, true, &log));
  Append(log.get(), 40, Operation(test::PlainKey(99), test::PlainValue("again")));
  replayed = Replay(folder.path());
  CHECK_OK(replayed.status);
  CHECK_EQ(replayed.next_lsn, 41u);
  CHECK(replayed.memory[test::PlainKey(99)] == test::PlainValue("again"));
}

TEST(a_log_of_no_files_or_of_no_records) {
  const test::Folder folder;
  Replayed replayed = Replay(folder.path());
  CHECK_OK(replayed.status);
  CHECK_EQ(replayed.next_lsn, 0u);
  CHECK_CODE(Replay(folder / "none").status, kNotFound);
  Log log;
  CHECK_OK(LogFile::Create(folder.path(), 7, 0, false, &log));
  replayed = Replay(folder.path());
  CHECK_OK(replayed.status);
  CHECK_EQ(replayed.next_lsn, 7u);
  CHECK(test::Names(folder.path()) == std::set<std::string>{"0000000000000007.log"});
}

TEST(a_file_grows_and_a_record_of_any_size_has_one) {
  const test::Folder folder;
  Log log;
  CHECK_OK(LogFile::Create(folder.path(), 1, 0, false, &log));
  uint64_t lsn = 1;
  Memory memory;
  for (size_t bytes : {100u, 65000u, 70000u, 5u << 20, 1u << 10, 20u << 20}) {
    for (int i = 0; i < 2; ++i) {
      const std::string key = test::PlainKey(static_cast<int64_t>(lsn)), value = test::PlainValue(std::string(bytes, 'x'));
      Append(log.get(), lsn++, Operation(key, value));
      memory[key] = value;
    }
  }
  bool fits = true;
  CHECK_OK(log->Reserve(20 << 20, &fits));
  CHECK(!fits);
  const std::string key = test::PlainKey(1000), value = test::PlainValue(std::string(70 << 20, 'y'));
  CHECK_OK(LogFile::Create(folder.path(), lsn, Operation(key, value).size(), false, &log));
  Append(log.get(), lsn++, Operation(key, value));
  memory[key] = value;
  const Replayed replayed = Replay(folder.path());
  CHECK_OK(replayed.status);
  CHECK_EQ(replayed.next_lsn, lsn);
  CHECK(replayed.memory == memory);
}

TEST(where_there_is_no_room_what_was_there_stays_and_writes_go_on_once_there_is) {
  const test::Folder folder;
  Log log, other;
  CHECK_OK(LogFile::Create(folder.path(), 1, 0, false, &log));
  const std::string key = test::PlainKey(1), value = test::PlainValue(std::string(200000, 'x'));
  Append(log.get(), 1, Operation(key, test::PlainValue("small")));
  bool fits;
  {
    const test::NoRoom full(100000);
    CHECK(!log->Reserve(Operation(key, value).size(), &fits).ok());
    CHECK(!LogFile::Create(folder.path(), 2, 1 << 20, false, &other).ok());
    CHECK_EQ(test::Names(folder.path()).size(), 1u);
    Append(log.get(), 2, Operation(key, test::PlainValue("fits still")));
  }
  Append(log.get(), 3, Operation(key, value));
  const Replayed replayed = Replay(folder.path());
  CHECK_OK(replayed.status);
  CHECK_EQ(replayed.next_lsn, 4u);
}

TEST(signals_do_not_fail_a_commit) {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  ::sigaction(SIGALRM, &action, nullptr);
  const struct itimerval often = {{0, 500}, {0, 500}}, never = {};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  const test::Folder folder;
  for (uint64_t lsn = 1; lsn <= 5; ++lsn) {
    Log log;
    CHECK_OK(LogFile::Create(folder.path(), lsn, 32 << 20, false, &log));  // takes longer than the timer
    bool fits;
    CHECK_OK(log->Reserve(60 << 20, &fits));
    std::filesystem::remove(log->path());
  }
  ::setitimer(ITIMER_REAL, &never, nullptr);
}

TEST(operations_that_do_not_fit_the_schema_are_damage) {
  const std::string key = test::PlainKey(1), value = test::PlainValue("text");
  std::string cut_off = Operation(key, value);
  cut_off.pop_back();
  std::string too_long = Operation(key, value);
  test::StoreAt(&too_long, 4, 0xFFFFFFFFu);
  for (const std::string& payload : {Operation("short", value), Operation(key + "x", value), Operation(key, value + "x"),
                                     Operation(key, ""), Operation("", std::nullopt), cut_off, too_long, std::string("bytes")}) {
    const test::Folder folder;
    Log log;
    CHECK_OK(LogFile::Create(folder.path(), 1, 0, false, &log));
    Append(log.get(), 1, payload);
    CHECK_CODE(Replay(folder.path()).status, kCorrupt);
  }
}

TEST(checking_a_log_that_is_written_meanwhile_finds_no_damage) {
  const test::Folder folder;
  std::atomic<bool> done{false};
  std::thread owner([&] {
    uint64_t lsn = 1;
    std::vector<std::string> files;
    for (int file = 0; file < 200; ++file) {
      Log log;
      CHECK_OK(LogFile::Create(folder.path(), lsn, 0, false, &log));
      files.push_back(log->path());
      for (int i = 0; i < 60; ++i, ++lsn) {
        Append(log.get(), lsn, Operation(test::PlainKey(i), test::PlainValue("text")));
        if (i % 3 == 0) std::this_thread::yield();
      }
      if (file >= 3) std::filesystem::remove(files[static_cast<size_t>(file) - 3]);  // the oldest first
    }
    done = true;
  });
  std::map<uint32_t, ReplayTarget> nothing;
  std::thread reader([&] {  // never strict: files that go while it looks are no error to it
    std::map<uint32_t, ReplayTarget> none;
    while (!done) {
      LogReplay replay(folder.path());
      for (int i = 0; i < 3 && !done; ++i) CHECK_OK(replay.Run(kAll, false, &none));
    }
  });
  while (!done) {  // from the start, then close behind the owner
    LogReplay replay(folder.path());
    for (Status status; status.ok() && !done;) {
      status = replay.Run(kAll, true, &nothing);
      CHECK(status.ok() || status.code == Code::kNotFound);
    }
  }
  owner.join();
  reader.join();
  CHECK_OK(Replay(folder.path()).status);
}

TEST(a_reader_goes_on_after_files_that_were_dropped) {
  const test::Folder folder;
  std::vector<std::string> files;
  uint64_t lsn = 1;
  for (int file = 0; file < 4; ++file) {
    Log log;
    CHECK_OK(LogFile::Create(folder.path(), lsn, 0, false, &log));
    files.push_back(log->path());
    for (int i = 0; i < 10; ++i, ++lsn)
      Append(log.get(), lsn, Operation(test::PlainKey(static_cast<int64_t>(lsn)), test::PlainValue("text")));
  }
  const gridflow::Schema schema = test::PlainSchema();
  MemoryTable memory;
  std::map<uint32_t, ReplayTarget> targets;
  targets[kTable].schema = &schema;
  targets[kTable].memory = &memory;
  LogReplay replay(folder.path()), strict(folder.path());
  CHECK_OK(replay.Run(5, false, &targets));
  std::map<uint32_t, ReplayTarget> nothing;
  CHECK_OK(strict.Run(5, true, &nothing));
  for (int file = 0; file < 3; ++file) std::filesystem::remove(files[static_cast<size_t>(file)]);
  CHECK_CODE(strict.Run(kAll, true, &nothing), kNotFound);
  CHECK_OK(replay.Run(35, false, &targets));
  CHECK_EQ(replay.next_lsn(), 36u);
  const Memory seen = Contents(memory);
  CHECK_EQ(seen.size(), 15u);  // the rest of the file that was open, then the one that is left
  for (int64_t key : {1, 10, 31, 35}) CHECK(seen.count(test::PlainKey(key)) == 1);
}

TEST(a_reader_sees_each_commit_once_it_is_announced) {
  const test::Folder folder;
  std::shared_ptr<ControlPage> page, seen;
  CHECK_OK(ControlPage::Create(folder / "control", 1, &page));
  CHECK_OK(ControlPage::Open(folder / "control", &seen));
  const std::string logs = folder.Make("log");
  const gridflow::Schema schema = test::PlainSchema();
  constexpr uint64_t kRecords = 20000;
  std::thread owner([&] {
    Log log;
    for (uint64_t lsn = 1; lsn <= kRecords; ++lsn) {
      if (lsn % 500 == 1) {
        CHECK_OK(LogFile::Create(logs, lsn, 0, false, &log));
        page->Bump();
      }
      const auto id = static_cast<int64_t>(lsn);
      Append(log.get(), lsn, Operation(test::PlainKey(id % 100), test::PlainValue(std::to_string(lsn))));
      page->Commit(lsn);
    }
  });
  MemoryTable memory;
  std::map<uint32_t, ReplayTarget> targets;
  targets[kTable].schema = &schema;
  targets[kTable].memory = &memory;
  LogReplay replay(logs);
  for (uint64_t committed = 0; committed < kRecords;) {
    committed = seen->committed_lsn();
    if (committed == 0) continue;
    CHECK_OK(replay.Run(committed, false, &targets));
    CHECK_EQ(replay.next_lsn(), committed + 1);
    const std::string key = test::PlainKey(static_cast<int64_t>(committed) % 100);
    const gridflow::MemoryEntry* entry = memory.Find(KeyHash(key.data(), key.size()), Bytes(key), key.size());
    CHECK(entry != nullptr);
    const std::string value = test::PlainValue(std::to_string(committed));
    CHECK(std::memcmp(entry->operation.value(), value.data(), value.size()) == 0);
  }
  owner.join();
  CHECK_EQ(seen->generation(), kRecords / 500);
}

TEST(a_memory_table_holds_what_a_map_holds) {
  Random random(1);
  for (int round = 0; round < 20; ++round) {
    const test::Folder folder;
    Log log;
    CHECK_OK(LogFile::Create(folder.path(), 1, 0, false, &log));
    MemoryTable tables[2];
    Memory maps[2];
    // Equal hashes for different keys, or hashes that all start in the same slots.
    auto hash_of = [&](const std::string& key) {
      const uint64_t hash = KeyHash(key.data(), key.size());
      return round % 4 == 0 ? 42 : round % 4 == 1 ? hash << 60 : round % 4 == 2 ? hash % 16 : hash;
    };
    uint64_t lsn = 1;
    const uint64_t keys = 1 + random.Below(round % 4 == 3 ? 2000 : 200);
    for (int which = 0; which < 2; ++which) {
      for (uint64_t i = random.Below(1000); i > 0; --i) {
        const std::string key = test::PlainKey(static_cast<int64_t>(random.Below(keys)));
        std::optional<std::string> value;
        if (random.Chance(70)) value = test::PlainValue(std::to_string(lsn));
        bool fits;
        const std::string payload = Operation(key, value);
        CHECK_OK(log->Reserve(payload.size(), &fits));
        CHECK(fits);
        const uint8_t* at = log->Append(lsn++, payload.data(), 3, payload.data() + 3, payload.size() - 3);
        tables[which].Keep(log);
        tables[which].Put(hash_of(key), gridflow::Operation(at));
        maps[which][key] = value;
      }
    }
    log.reset();  // the tables hold what they point into
    for (int which = 0; which < 2; ++which) CHECK(Contents(tables[which]) == maps[which]);
    tables[0].Absorb(tables[1]);
    for (const auto& [key, value] : maps[1]) maps[0][key] = value;
    tables[1] = MemoryTable();
    CHECK(Contents(tables[0]) == maps[0]);
    for (uint64_t id = 0; id < keys + 10; ++id) {
      const std::string key = test::PlainKey(static_cast<int64_t>(id));
      const gridflow::MemoryEntry* entry = tables[0].Find(hash_of(key), Bytes(key), key.size());
      const auto found = maps[0].find(key);
      CHECK_EQ(entry != nullptr, found != maps[0].end());
      if (entry != nullptr) CHECK_EQ(entry->operation.removal(), !found->second.has_value());
    }
  }
}

TEST(a_control_page_that_is_damaged_is_made_anew) {
  const test::Folder folder;
  const std::string path = folder / "control";
  std::shared_ptr<ControlPage> page, reader;
  CHECK_CODE(ControlPage::Open(path, &page), kNotFound);
  CHECK_OK(ControlPage::Create(path, 123, &page));
  CHECK_OK(ControlPage::Open(path, &reader));
  page->Bump();
  page->Commit(77);
  CHECK_EQ(reader->generation(), 1u);
  CHECK_EQ(reader->committed_lsn(), 77u);
  std::shared_ptr<ControlPage> next;
  CHECK_OK(ControlPage::Create(path, 124, &next));  // the next owner goes on counting
  next->Bump();
  CHECK_EQ(reader->generation(), 2u);
  const std::string good = test::ReadFile(path);
  CHECK_EQ(good.size(), GF_CONTROL_BYTES);
  for (const std::string& bad : {std::string(), good.substr(1), good + '\0', std::string(GF_CONTROL_BYTES, '\0')}) {
    test::WriteFile(path, bad);
    CHECK_CODE(ControlPage::Open(path, &reader), kCorrupt);
    CHECK_OK(ControlPage::Create(path, 125, &page));
    CHECK_OK(ControlPage::Open(path, &reader));
    CHECK_EQ(reader->generation(), 0u);
  }
}

}  // namespace
