// What a reader lets pass is used: rows are encoded again, segments searched and written anew. None of it may end in
// anything but a Status.
#ifndef GRIDFLOW_TESTS_NATIVE_USE_H_
#define GRIDFLOW_TESTS_NATIVE_USE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/arrow_c.h"
#include "core/key_hash.h"
#include "core/log.h"
#include "core/segment_writer.h"
#include "core/table_edit.h"
#include "native/files.h"
#include "native/random_rows.h"
#include "native/test.h"

namespace test {

using gridflow::ColumnView;
using gridflow::MemoryTable;
using gridflow::Schema;
using gridflow::Segment;
using gridflow::Status;
using gridflow::TableSnapshot;

// Whether a row of nothing but nulls takes little room, so that the test itself can have some.
inline bool IsModest(const Schema& schema) {
  std::function<int64_t(const gridflow::Type&)> width = [&](const gridflow::Type& type) {
    int64_t sum = type.width;
    for (const gridflow::Type& child : type.children) sum += width(child);
    return sum;
  };
  int64_t sum = 0;
  for (const gridflow::Column& column : schema.columns) sum += width(column.type);
  return sum < 1 << 16;
}

// Bytes that passed the checks go through a builder and come out again; a key as it was.
inline void UseRow(const Schema& schema, const std::string& key, const std::string& value) {
  if (!gridflow::CheckKey(schema, Bytes(key), key.size()).ok() || !gridflow::CheckValue(schema, Bytes(value), value.size()).ok()) return;
  if (!IsModest(schema)) return;
  gridflow::RowsBuilder builder(schema);
  for (int i = 0; i < 2; ++i) AppendRow(&builder, key, value);
  for (int64_t row = 0; row < 2; ++row) {
    std::string key_again, value_again;
    CHECK_OK(EncodeKey(schema, builder.Views(), row, &key_again));
    CHECK_OK(EncodeValue(schema, builder.Views(), row, &value_again));
    CHECK(key_again == key);
    CHECK_EQ(value_again.size(), value.size());  // bits that mean nothing may differ
    CHECK_OK(gridflow::CheckValue(schema, Bytes(value_again), value_again.size()));
  }
}

inline std::vector<ColumnView> ViewsOf(const Segment& segment) {
  std::vector<ColumnView> views;
  for (size_t i = 0; i < segment.schema().columns.size(); ++i) views.push_back(segment.column(static_cast<int>(i)));
  return views;
}

// Some rows: all of a small segment, ends and samples of a large one.
template <typename Use>
void ForRows(Random* random, int64_t rows, const Use& use) {
  for (int64_t row = 0; row < rows; ++row)
    if (rows < 100 || row < 10 || row >= rows - 10 || random->Below(static_cast<uint64_t>(rows)) < 50) use(row);
}

inline void UseArrow(Random* random, const Segment& segment, const std::vector<ColumnView>& views) {
  const auto begin = static_cast<int64_t>(random->Below(static_cast<uint64_t>(segment.rows())));
  std::vector<gridflow::ArrowArray> arrays(views.size());
  std::vector<ColumnView> again(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    ExportColumn(views[i], begin, segment.rows(), nullptr, &arrays[i]);
    CHECK_OK(ImportColumn(segment.schema().columns[i].type, arrays[i], &again[i]));
  }
  ForRows(random, segment.rows() - begin, [&](int64_t row) {
    std::string one, other;
    CHECK_OK(EncodeValue(segment.schema(), views, begin + row, &one));
    CHECK_OK(EncodeValue(segment.schema(), again, row, &other));
    CHECK(one == other);
  });
  for (gridflow::ArrowArray& array : arrays) array.release(&array);
}

inline void UseSegment(Random* random, const std::string& path, const std::string& out) {
  std::shared_ptr<const Segment> segment;
  if (!Segment::Open(path, &segment).ok()) return;
  const bool verified = segment->Verify().ok();
  const std::vector<ColumnView> views = ViewsOf(*segment);
  const Schema& schema = segment->schema();
  ForRows(random, segment->rows(), [&](int64_t row) {
    std::string key, value;
    const bool whole = EncodeKey(schema, views, row, &key).ok() && EncodeValue(schema, views, row, &value).ok();
    CHECK(whole || !verified);
    if (whole) UseRow(schema, key, value);
    const int64_t found = segment->Find(segment->hashes()[row], Bytes(key), key.size());
    CHECK(found >= 0 || !verified);
    segment->Find(random->Next(), Bytes(key), key.size());
    segment->Find(segment->hashes()[row], Bytes(key), random->Below(key.size() + 1));
  });
  for (uint32_t partitions : {1u, 1000u, 0xFFFFFFFFu}) {
    const auto first = static_cast<uint32_t>(random->Below(partitions)), last = static_cast<uint32_t>(random->Next());
    int64_t begin, end;
    CHECK(segment->PartitionRows(first, last, partitions, &begin, &end).ok() || !verified);
    CHECK(0 <= begin && begin <= end && end <= segment->rows());
  }
  for (const ColumnView& view : views) {
    const int64_t begin = static_cast<int64_t>(random->Below(static_cast<uint64_t>(segment->rows()) + 1));
    const int64_t left = segment->rows() - begin;
    const int64_t end = begin + static_cast<int64_t>(random->Below(static_cast<uint64_t>(left) + 1));
    CHECK(segment->CheckRows(view, begin, end).ok() || !verified);
  }
  CHECK(segment->CheckAll().ok() || !verified);
  if (verified) UseArrow(random, *segment, views);
  gridflow::KeyOrder keys;
  int64_t source, row;
  if (!OrderByKey(schema, {views}, 1, &keys, &source, &row).ok()) return;
  gridflow::SegmentSpec spec;
  spec.path = out;
  spec.schema = &schema;
  const Status status = WriteSegment(spec, {views}, keys.order, keys.hashes.data());
  CHECK(status.ok() || !verified);
  if (!status.ok()) return;
  CHECK_OK(Segment::Open(out, &segment));
  CHECK(segment->Verify().ok() || !verified);  // values that no column has are written as they are
  std::filesystem::remove(out);
}

// A grid of one table: two segments with deletions, and a third.
struct Sample {
  Schema schema;
  std::map<std::string, std::string> files;  // of the table's folder
  std::string log;                           // of the same table, from lsn 1 on
  std::vector<std::string> keys;
};

constexpr uint32_t kTable = 1;
constexpr uint64_t kCurrent = TableSnapshot::kCurrent;

inline Sample MakeSample(Random* random) {
  const Folder grid;
  const std::string folder = grid.Make("tables/1");
  Sample sample;
  sample.schema = RandomSchema(random, 5, 3);
  gridflow::Manifest manifest;
  manifest.table_id = kTable;
  manifest.partitions = 1024;
  manifest.schema = sample.schema;
  CHECK_OK(manifest.Write(folder + "/manifest", false));
  std::shared_ptr<const TableSnapshot> version;
  CHECK_OK(TableSnapshot::Open(grid.path(), kTable, kCurrent, &version));
  std::shared_ptr<gridflow::LogFile> log;
  CHECK_OK(gridflow::LogFile::Create(grid.path(), 1, 0, false, &log));
  uint64_t lsn = 0;
  for (int part = 0; part < 3; ++part) {
    MemoryTable memory;
    const auto start = static_cast<int64_t>(log->tail());
    for (uint64_t n = 4 + random->Below(30); n > 0; --n) {
      const Cells cells = RandomCells(random, sample.schema);
      const std::string key = KeyOf(sample.schema, cells), value = ValueOf(sample.schema, cells);
      sample.keys.push_back(key);
      const bool remove = random->Chance(20);
      std::string payload;
      Put(&payload, gf_log_operation{kTable, static_cast<uint32_t>(key.size()),
                                           remove ? GF_LOG_REMOVE : static_cast<uint32_t>(value.size())});
      payload += key + (remove ? "" : value);
      bool fits;
      CHECK_OK(log->Reserve(payload.size(), &fits));
      CHECK(fits);
      memory.Keep(log);
      memory.Put(gridflow::Operation(log->Append(++lsn, payload.data(), payload.size(), nullptr, 0)));
    }
    gridflow::TableEdit edit(folder, version, false, 1);
    CHECK_OK(edit.AddMemory(memory));
    CHECK_OK(edit.Commit(lsn, &version));
    for (const std::string& path : edit.obsolete()) std::filesystem::remove(path);
    if (part == 0) sample.log = ReadFile(log->path()).substr(0, log->tail() + 64);
    CHECK(start > 0);
  }
  for (const std::string& name : Names(folder)) sample.files[name] = ReadFile(folder + "/" + name);
  return sample;
}

}  // namespace test

#endif  // GRIDFLOW_TESTS_NATIVE_USE_H_
