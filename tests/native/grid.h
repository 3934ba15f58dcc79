// A grid of one table, edited as its owner does, and what must be in it.
#ifndef GRIDFLOW_TESTS_NATIVE_GRID_H_
#define GRIDFLOW_TESTS_NATIVE_GRID_H_

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/key_hash.h"
#include "core/log.h"
#include "core/table_edit.h"
#include "native/files.h"
#include "native/random_rows.h"
#include "native/test.h"

namespace test {

using gridflow::KeyHash;
using gridflow::LogFile;
using gridflow::Manifest;
using gridflow::MemoryTable;
using gridflow::Operation;
using gridflow::Schema;
using gridflow::Status;
using gridflow::TableEdit;
using gridflow::TableSnapshot;

constexpr uint32_t kTable = 1;
constexpr uint64_t kCurrent = TableSnapshot::kCurrent;
using Version = std::shared_ptr<const TableSnapshot>;

// Looks all keys up together, and each between keys that are not there: those are not found, and these where they are.
inline void CheckTogether(const TableSnapshot& version, const std::vector<std::string>& keys,
                          const std::vector<std::pair<int, int64_t>>& places) {
  constexpr size_t kKeys = TableSnapshot::kTogether / 2;
  for (size_t begin = 0; begin < keys.size(); begin += kKeys) {
    std::vector<std::string> asked;
    std::vector<uint64_t> hashes;
    for (size_t i = begin; i < std::min(begin + kKeys, keys.size()); ++i) {
      asked.insert(asked.end(), {keys[i], keys[i] + '\0'});
      for (size_t j = asked.size() - 2; j < asked.size(); ++j) hashes.push_back(KeyHash(asked[j].data(), asked[j].size()));
    }
    std::vector<int> segments(asked.size());
    std::vector<int64_t> rows(asked.size());
    CHECK_OK(version.FindTogether(hashes.data(), asked.data(), asked.size(), segments.data(), rows.data()));
    for (size_t i = 0; i < asked.size(); i += 2) {
      CHECK(std::make_pair(segments[i], rows[i]) == places[begin + i / 2]);
      CHECK_EQ(segments[i + 1], -1);
    }
  }
}

// Everything live in a version; no key twice, each found where it is.
inline Rows Contents(const TableSnapshot& version) {
  Rows rows;
  std::vector<std::string> keys;
  std::vector<std::pair<int, int64_t>> places;
  int64_t live = 0;
  for (size_t s = 0; s < version.segments().size(); ++s) {
    const gridflow::SegmentRef& ref = version.segments()[s];
    for (int64_t row = 0; row < ref.segment->rows(); ++row) {
      if (!ref.Live(row)) continue;
      ++live;
      std::string key, value;
      CHECK_OK(EncodeKey(version.schema(), version.columns(static_cast<int>(s)), row, &key));
      CHECK_OK(EncodeValue(version.schema(), version.columns(static_cast<int>(s)), row, &value));
      CHECK(rows.emplace(key, value).second);
      int segment;
      int64_t found;
      CHECK_OK(version.Find(KeyHash(key.data(), key.size()), Bytes(key), key.size(), &segment, &found));
      CHECK(segment == static_cast<int>(s) && found == row);
      keys.push_back(key);
      places.emplace_back(segment, found);
    }
  }
  CheckTogether(version, keys, places);
  CHECK_EQ(live, version.live_rows());
  return rows;
}

// Puts one segment in the place of these segments of the version that the edit is of.
inline Status Merge(const std::string& folder, const Version& base, const std::vector<int>& segments, TableEdit* edit) {
  gridflow::SegmentMerge merge(folder, base, segments, false);
  GF_RETURN_IF_ERROR(merge.Run(1, segments.size() % 2 == 1));
  bool usable = false;
  GF_RETURN_IF_ERROR(edit->Replace(&merge, &usable));
  CHECK(usable);
  return Status::Ok();
}

// A grid of one table, with what must be in it.
struct Grid {
  Folder folder;
  std::string table, logs;
  Schema schema;
  Version version;
  Rows rows;
  uint64_t lsn = 0;

  explicit Grid(const Schema& given) : logs(folder.Make("log")), schema(given) {
    table = folder.Make("tables/" + std::to_string(kTable));
    Manifest manifest;
    manifest.table_id = kTable;
    manifest.partitions = 1024;
    manifest.version = 1;
    manifest.schema = schema;
    CHECK_OK(manifest.Write(table + "/manifest", false));
    CHECK_OK(TableSnapshot::Open(folder.path(), kTable, kCurrent, &version));
    CHECK(Contents(*version).empty());
  }

  // Puts and removals, some of a key more than once; into `into` as well, if it is given. `put`, if it is given, gets
  // the keys that were put.
  std::unique_ptr<MemoryTable> Changes(Random* random, size_t count, Rows* into,
                                       std::set<std::string>* put = nullptr) {
    auto memory = std::make_unique<MemoryTable>();
    std::shared_ptr<LogFile> log;
    CHECK_OK(LogFile::Create(logs, lsn + 1, 0, false, &log));
    for (size_t i = 0; i < count; ++i) {
      const Cells cells = RandomCells(random, schema);
      const std::string key = KeyOf(schema, cells), value = ValueOf(schema, cells);
      const bool remove = random->Chance(35);
      std::string payload;
      Put(&payload, gf_log_operation{kTable, static_cast<uint32_t>(key.size()),
                                           remove ? GF_LOG_REMOVE : static_cast<uint32_t>(value.size())});
      payload += key + (remove ? "" : value);
      bool fits;
      CHECK_OK(log->Reserve(payload.size(), &fits));
      CHECK(fits);
      memory->Keep(log);
      memory->Put(Operation(log->Append(++lsn, payload.data(), payload.size(), nullptr, 0)));
      if (put != nullptr && !remove) put->insert(key);
      if (into == nullptr) continue;
      into->erase(key);
      if (!remove) (*into)[key] = value;
    }
    std::filesystem::remove(log->path());  // the memory table holds what it points into
    return memory;
  }

  // These rows, put in this order.
  std::unique_ptr<MemoryTable> Puts(const std::map<std::string, std::string>& rows_to_put) {
    auto memory = std::make_unique<MemoryTable>();
    std::shared_ptr<LogFile> log;
    CHECK_OK(LogFile::Create(logs, lsn + 1, 0, false, &log));
    for (const auto& [key, value] : rows_to_put) {
      std::string payload;
      Put(&payload, gf_log_operation{kTable, static_cast<uint32_t>(key.size()), static_cast<uint32_t>(value.size())});
      payload += key + value;
      bool fits;
      CHECK_OK(log->Reserve(payload.size(), &fits));
      CHECK(fits);
      memory->Keep(log);
      memory->Put(Operation(log->Append(++lsn, payload.data(), payload.size(), nullptr, 0)));
    }
    std::filesystem::remove(log->path());
    return memory;
  }

  // What stands on the disk is `version`, holds `rows`, and no other file lies about.
  void Check(bool verify = true) {
    CHECK(Contents(*version) == rows);
    Version again;
    CHECK_OK(TableSnapshot::Open(folder.path(), kTable, kCurrent, &again));
    CHECK(Contents(*again) == rows);
    CHECK_EQ(again->manifest().version, version->manifest().version);
    std::set<std::string> names = {"manifest"};
    for (const gf_manifest_segment& named : again->manifest().segments) {
      CHECK(named.segment_id < again->manifest().next_file_id && named.deletions_id < again->manifest().next_file_id);
      names.insert(gridflow::FileName(named.segment_id, ".seg"));
      for (const uint64_t id : {named.deletions_id, named.bitmap_id})
        if (id != 0) names.insert(gridflow::FileName(id, ".del"));
    }
    CHECK(Names(table) == names);
    for (const gridflow::SegmentRef& ref : again->segments())
      if (verify) CHECK_OK(ref.segment->Verify());
  }

  Status Commit(TableEdit* edit) {
    Version next;
    const Status status = edit->Commit(lsn, &next);
    CHECK_EQ(status.ok(), next != nullptr);
    if (next == nullptr) return status;
    version = next;
    for (const std::string& path : edit->obsolete()) std::filesystem::remove(path);
    return status;
  }
};

}  // namespace test

#endif  // GRIDFLOW_TESTS_NATIVE_GRID_H_
