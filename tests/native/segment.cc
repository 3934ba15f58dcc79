// Segments and deletion bitmaps: written of any rows, opened, searched, verified.
#include "core/segment.h"

#include <algorithm>
#include <cstring>

#include "core/arrow_c.h"
#include "core/deletions.h"
#include "core/key_hash.h"
#include "core/segment_writer.h"
#include "native/files.h"
#include "native/random_rows.h"
#include "native/reseal.h"
#include "native/test.h"

namespace {

using gridflow::ColumnView;
using gridflow::Deletions;
using gridflow::KeyHash;
using gridflow::KeyOrder;
using gridflow::RowsBuilder;
using gridflow::Schema;
using gridflow::Segment;
using gridflow::SegmentSpec;
using gridflow::Source;
using test::Bytes;
using test::Random;

using Opened = std::shared_ptr<const Segment>;

gridflow::Status Write(const std::string& path, const Schema& schema, const std::vector<Source>& sources, int threads = 1) {
  KeyOrder keys;
  int64_t source, row;
  GF_RETURN_IF_ERROR(OrderByKey(schema, sources, threads, &keys, &source, &row));
  SegmentSpec spec;
  spec.path = path;
  spec.segment_id = 7;
  spec.table_id = 3;
  spec.schema = &schema;
  spec.threads = threads;
  return WriteSegment(spec, sources, keys.order, keys.hashes.data());
}

// A segment of one INT64 column, whose hashes are these; they are not those of its keys.
Opened WithHashes(const test::Folder& folder, std::vector<uint64_t> hashes) {
  std::sort(hashes.begin(), hashes.end());
  Schema schema = test::PlainSchema();
  schema.columns.pop_back();
  schema.Finish();
  RowsBuilder builder(schema);
  std::vector<gridflow::RowRef> order;
  for (size_t i = 0; i < hashes.size(); ++i) {
    test::AppendRow(&builder, test::PlainKey(static_cast<int64_t>(i)), "");
    order.push_back({0, static_cast<uint32_t>(i)});
  }
  SegmentSpec spec;
  spec.path = folder / "hashes.seg";
  spec.schema = &schema;
  CHECK_OK(WriteSegment(spec, {builder.Views()}, order, hashes.data()));
  Opened segment;
  CHECK_OK(Segment::Open(spec.path, &segment));
  return segment;
}

void CheckRows(const Segment& segment, const Schema& schema, const test::Rows& rows) {
  CHECK_EQ(segment.rows(), static_cast<int64_t>(rows.size()));
  std::vector<ColumnView> views;
  for (size_t i = 0; i < schema.columns.size(); ++i) views.push_back(segment.column(static_cast<int>(i)));
  for (int64_t row = 0; row < segment.rows(); ++row) {
    std::string key, value;
    CHECK_OK(EncodeKey(schema, views, row, &key));
    CHECK_OK(EncodeValue(schema, views, row, &value));
    const auto found = rows.find(key);
    CHECK(found != rows.end());
    CHECK(found->second == value);
    CHECK_EQ(segment.Find(KeyHash(key.data(), key.size()), Bytes(key), key.size()), row);
    key.push_back('\0');
    CHECK_EQ(segment.Find(KeyHash(key.data(), key.size() - 1), Bytes(key), key.size()), -1);
  }
}

TEST(a_key_is_found_among_any_hashes) {
  const test::Folder folder;
  Random random(1);
  const uint64_t max = ~0ull;
  std::vector<std::vector<uint64_t>> sets = {{0},
                                             {max},
                                             {0, max},
                                             std::vector<uint64_t>(1000, 0),
                                             std::vector<uint64_t>(1000, max),
                                             std::vector<uint64_t>(1000, 1ull << 63)};
  for (int kind = 0; kind < 8; ++kind) {
    std::vector<uint64_t> hashes;
    for (uint64_t i = 0; i < 3000; ++i) {
      const uint64_t far = uint64_t{1} << random.Below(64);
      const uint64_t choices[] = {random.Next(), i,           max - i,           random.Below(3) * (max / 2),
                                  far,           far + i % 3, (i % 4 == 0) ? 0 : max, (1ull << 63) + random.Below(64)};
      hashes.push_back(choices[kind]);
    }
    sets.push_back(hashes);
  }
  sets.push_back(sets[6]);  // uniform, with a cluster at either end
  sets.back().insert(sets.back().end(), 2000, 0);
  sets.back().insert(sets.back().end(), 2000, max);
  for (const std::vector<uint64_t>& hashes : sets) {
    const Opened segment = WithHashes(folder, hashes);
    const uint64_t* begin = segment->hashes();
    const uint64_t* end = begin + segment->rows();
    std::vector<uint64_t> asked = {0, 1, max, max - 1, 1ull << 63, (1ull << 63) - 1};
    for (int i = 0; i < 500; ++i) {
      const uint64_t near = hashes[random.Below(hashes.size())];
      asked.insert(asked.end(), {near, near - 1, near + 1, random.Next()});
    }
    for (uint64_t hash : asked) CHECK_EQ(segment->LowerBound(hash), std::lower_bound(begin, end, hash) - begin);
    for (uint32_t partitions : {1u, 3u, 1000u, 1024u, 1u << 20}) {
      int64_t first, last, stop = 0;
      CHECK_OK(segment->PartitionRows(0, partitions, partitions, &first, &last));
      CHECK(first == 0 && last == segment->rows());
      for (uint32_t p = 0; p < std::min(partitions, 1024u); ++p) {  // one after the other, without a gap
        CHECK_OK(segment->PartitionRows(p, p + 1, partitions, &first, &last));
        CHECK_EQ(first, stop);
        for (int64_t row = first; row < last; ++row) CHECK_EQ(gridflow::PartitionOf(begin[row], partitions), p);
        stop = last;
      }
      if (partitions <= 1024) CHECK_EQ(stop, segment->rows());
      CHECK_OK(segment->PartitionRows(partitions, partitions, partitions, &first, &last));
      CHECK(first == segment->rows() && last == first);
    }
  }
}

// Some hash of which there is no row.
uint64_t Absent(Random* random, const std::vector<uint64_t>& hashes) {
  for (;;) {
    const uint64_t hash = random->Next();
    if (!std::binary_search(hashes.begin(), hashes.end(), hash)) return hash;
  }
}

TEST(a_filter_passes_over_no_hash_and_over_most_others) {
  const test::Folder folder;
  Random random(2);
  constexpr int kAsked = 20000;
  for (size_t rows : {1, 5, 6, 7, 1000, 100000}) {
    std::vector<uint64_t> hashes = {0, ~0ull, 1ull << 63};
    while (hashes.size() < rows + 3) hashes.push_back(random.Next());
    hashes.push_back(hashes.back());  // two keys of one hash
    std::sort(hashes.begin(), hashes.end());
    const Opened segment = WithHashes(folder, hashes);
    int mistaken = 0;
    for (int round = 0; round < 2; ++round) {  // the filter is made in the first one
      for (const uint64_t hash : hashes) CHECK(segment->MayHave(hash));
      mistaken = 0;
      for (int i = 0; i < kAsked; ++i) mistaken += segment->MayHave(Absent(&random, hashes));
    }
    CHECK(mistaken < kAsked / 20);
  }
}

TEST(no_filter_is_made_of_hashes_that_are_damaged) {
  const test::Folder folder;
  constexpr uint64_t kHash = 0x1122334455667788;
  const std::vector<uint64_t> hashes = {1, kHash};
  const std::string path = WithHashes(folder, hashes)->path();
  std::string bytes = test::ReadFile(path);
  const size_t at = bytes.find("\x88\x77\x66\x55");
  bytes[at] ^= 1;
  test::WriteFile(path, bytes);
  Opened segment;
  CHECK_OK(Segment::Open(path, &segment));
  for (int i = 0; i < 1000; ++i) CHECK(segment->MayHave(kHash));
  CHECK_CODE(segment->CheckFound(kHash, -1), kCorrupt);
}

TEST(search_stays_inside_hashes_that_are_out_of_order) {
  const test::Folder folder;
  Random random(2);
  for (int i = 0; i < 50; ++i) {
    WithHashes(folder, std::vector<uint64_t>(1 + random.Below(3000)));
    std::string bytes = test::ReadFile(folder / "hashes.seg");
    const auto header = test::LoadAt<gf_segment_header>(bytes, 0);
    const auto at = test::LoadAt<gf_buffer>(bytes, header.directory_offset).offset;
    for (uint64_t row = 0; row < header.rows; ++row) test::StoreAt(&bytes, at + 8 * row, random.Next() << random.Below(64));
    test::ResealSegment(&bytes);
    test::WriteFile(folder / "hashes.seg", bytes);
    Opened segment;
    CHECK_OK(Segment::Open(folder / "hashes.seg", &segment));
    for (int j = 0; j < 300; ++j) {
      const uint64_t hash = random.Next() << random.Below(64);
      const int64_t row = segment->LowerBound(hash);
      CHECK(row >= 0 && row <= segment->rows());
      segment->Find(hash, Bytes(test::PlainKey(j)), 8);
    }
    CHECK_CODE(segment->Verify(), kCorrupt);
  }
}

TEST(a_segment_of_several_sources_holds_the_last_row_of_each_key) {
  const test::Folder folder;
  Random random(3);
  for (int i = 0; i < 250; ++i) {
    const Schema schema = test::RandomSchema(&random);
    const size_t count = 1 + random.Below(4);
    std::vector<RowsBuilder> builders(count, RowsBuilder(schema));
    std::vector<std::vector<bool>> missing(count);
    test::Rows rows;
    size_t all = 0;
    for (size_t s = 0; s < count; ++s) {
      for (const gridflow::Column& column : schema.columns) missing[s].push_back(column.type.nullable && random.Chance(20));
      for (uint64_t n = random.Chance(10) ? 0 : random.Below(200); n > 0; --n) {
        test::Cells cells = test::RandomCells(&random, schema);
        const std::string key = test::KeyOf(schema, cells);
        test::AppendRow(&builders[s], key, test::ValueOf(schema, cells));
        for (size_t c = 0; c < cells.size(); ++c)
          if (missing[s][c]) cells[c].reset();
        rows[key] = test::ValueOf(schema, cells);
        ++all;
      }
    }
    std::vector<Source> sources;
    for (size_t s = 0; s < count; ++s) {
      sources.push_back(builders[s].Views());
      for (size_t c = 0; c < missing[s].size(); ++c) {
        if (!missing[s][c]) continue;
        sources[s][c] = ColumnView();  // the source is older than the column
        sources[s][c].type = &schema.columns[c].type;
      }
    }
    const std::string path = folder / (std::to_string(i) + ".seg");
    const gridflow::Status status = Write(path, schema, sources, 1 + i % 2);
    if (all == 0) {
      CHECK(!status.ok());
      CHECK(test::Names(folder.path()).empty());
      continue;
    }
    CHECK_OK(status);
    Opened segment, again;
    CHECK_OK(Segment::Open(path, &segment));
    CHECK_OK(segment->Verify());
    CHECK_EQ(segment->id(), 7u);
    CHECK_EQ(segment->table_id(), 3u);
    CHECK_EQ(segment->schema().Serialize(), schema.Serialize());
    for (size_t c = 0; c < schema.columns.size(); ++c)
      CHECK_EQ(segment->FindColumn(schema.columns[c].id), static_cast<int>(c));
    for (const gf_buffer& buffer : segment->buffers()) CHECK_EQ(buffer.offset % GF_BUFFER_ALIGNMENT, 0u);
    CheckRows(*segment, schema, rows);
    CHECK_OK(Segment::Open(path, &again));
    CHECK(again == segment);
    // Of its own rows, the same bytes come out; with as many threads as one likes.
    std::vector<ColumnView> views;
    for (size_t c = 0; c < schema.columns.size(); ++c) views.push_back(segment->column(static_cast<int>(c)));
    CHECK_OK(Write(path + ".2", schema, {views}, 2));
    CHECK_OK(Segment::Open(path + ".2", &again));
    CHECK_OK(again->Verify());
    CheckRows(*again, schema, rows);
    std::filesystem::remove(path);
    std::filesystem::remove(path + ".2");
    CHECK(test::Names(folder.path()).empty());
    CHECK_OK(segment->Verify());  // whoever mapped it keeps it
  }
}

TEST(one_and_two_threads_write_the_same_bytes_of_rows_wider_than_a_block) {
  const test::Folder folder;
  Schema schema = test::PlainSchema();
  gridflow::Type tensor;
  tensor.kind = GF_TENSOR;
  tensor.element = GF_UINT8;
  tensor.dims = {600, 1001};  // two blocks and a bit
  tensor.name = "IMAGE";
  tensor.nullable = true;
  schema.columns.push_back({3, tensor});
  schema.columns.push_back({4, {}});
  schema.columns[3].type.kind = GF_BOOL;
  schema.columns[3].type.name = "FLAG";
  schema.Finish();
  Random random(4);
  RowsBuilder builder(schema);
  test::Rows rows;
  for (int64_t id = 0; id < 9; ++id) {
    test::Cells cells(4);
    cells[0] = test::PlainKey(id);
    cells[1] = std::string();
    const std::string text(random.Below(700000), static_cast<char>('a' + id));
    test::Put(&*cells[1], static_cast<uint32_t>(text.size()));
    *cells[1] += text;
    if (id != 4) cells[2] = std::string(600 * 1001, static_cast<char>(id));
    cells[3] = std::string(1, static_cast<char>(id % 2));
    rows[*cells[0]] = test::ValueOf(schema, cells);
    test::AppendRow(&builder, *cells[0], rows[*cells[0]]);
  }
  for (int threads : {1, 2, 5}) {
    const std::string path = folder / (std::to_string(threads) + ".seg");
    CHECK_OK(Write(path, schema, {builder.Views()}, threads));
    CHECK(test::ReadFile(path) == test::ReadFile(folder / "1.seg"));
    Opened segment;
    CHECK_OK(Segment::Open(path, &segment));
    CHECK(segment->bytes() > 8 * GF_BLOCK_BYTES);
    CHECK_OK(segment->Verify());
    CheckRows(*segment, schema, rows);
  }
}

TEST(where_there_is_no_room_nothing_is_left) {
  const test::Folder folder;
  const Schema schema = test::PlainSchema();
  RowsBuilder builder(schema);
  for (int64_t id = 0; id < 40; ++id) test::AppendRow(&builder, test::PlainKey(id), test::PlainValue(std::string(100000, 'x')));
  for (int threads : {1, 2}) {
    for (uint64_t room : {0u, 1000u, 1u << 20, 4000000u}) {
      const test::NoRoom full(room);
      CHECK(!Write(folder / "a.seg", schema, {builder.Views()}, threads).ok());
      CHECK(test::Names(folder.path()).empty());
    }
    CHECK_OK(Write(folder / "a.seg", schema, {builder.Views()}, threads));
    std::filesystem::remove(folder / "a.seg");
  }
}

TEST(rows_out_of_order_are_seen) {
  const test::Folder folder;
  const Schema schema = test::PlainSchema();
  RowsBuilder builder(schema);
  for (int64_t id = 0; id < 20; ++id) test::AppendRow(&builder, test::PlainKey(id), test::PlainValue("text"));
  KeyOrder keys;
  int64_t source, row;
  CHECK_OK(OrderByKey(schema, {builder.Views()}, 1, &keys, &source, &row));
  std::swap(keys.order[3], keys.order[4]);
  std::swap(keys.hashes[3], keys.hashes[4]);
  SegmentSpec spec;
  spec.path = folder / "a.seg";
  spec.schema = &schema;
  CHECK_OK(WriteSegment(spec, {builder.Views()}, keys.order, keys.hashes.data()));
  Opened segment;
  CHECK_OK(Segment::Open(spec.path, &segment));
  CHECK_CODE(segment->Verify(), kCorrupt);
}

TEST(many_rows_are_ordered_by_hash_and_the_last_of_a_key_stays) {
  const Schema schema = test::PlainSchema();
  for (int threads : {1, 3}) {
    for (int64_t keys : {1, 7, 2500, 20000, 300000}) {
      const int64_t rows = keys > 20000 ? 100000 : 10000;
      RowsBuilder first(schema), none(schema), second(schema);
      for (int64_t i = 0; i < rows; ++i) {
        test::AppendRow(&first, test::PlainKey(i % keys), test::PlainValue("old"));
        test::AppendRow(&second, test::PlainKey((i + rows / 2) % keys), test::PlainValue(std::to_string(i)));
      }
      KeyOrder order;
      int64_t source, row;
      const std::vector<Source> sources = {first.Views(), none.Views(), second.Views()};
      CHECK_OK(OrderByKey(schema, sources, threads, &order, &source, &row));
      CHECK(source >= 0);
      CHECK_EQ(order.order.size(), static_cast<size_t>(std::min(keys, rows * 3 / 2)));
      CHECK(std::is_sorted(order.hashes.begin(), order.hashes.end()));
      for (size_t i = 0; i < order.order.size(); ++i) {
        const gridflow::RowRef ref = order.order[i];
        int64_t id;
        std::memcpy(&id, sources[ref.source][0].Value(ref.row), 8);
        CHECK_EQ(order.hashes[i], KeyHash(&id, 8));
        if (keys <= 7) CHECK(ref.source == 2 && ref.row + keys >= rows);
      }
    }
  }
}

uint64_t Inverse(uint64_t odd) {
  uint64_t inverse = odd;  // right in its last three bits, and in twice as many each time
  for (int i = 0; i < 5; ++i) inverse *= 2 - odd * inverse;
  return inverse;
}

// The key of 8 bytes that has this hash: XXH64 of so few is a permutation.
int64_t KeyOf(uint64_t hash) {
  using namespace gridflow::hash_internal;
  hash = (hash ^ (hash >> 32)) * Inverse(kPrime3);
  hash = (hash ^ (hash >> 29) ^ (hash >> 58)) * Inverse(kPrime2);
  hash ^= hash >> 33;
  const uint64_t round = Rotate((hash - kPrime4) * Inverse(kPrime1), 64 - 27) ^ (kPrime5 + 8);
  return static_cast<int64_t>(Rotate(round * Inverse(kPrime1), 64 - 31) * Inverse(kPrime2));
}

TEST(hashes_that_begin_alike_are_ordered_by_their_ends) {
  const Schema schema = test::PlainSchema();
  constexpr uint64_t kBegin = 0x123456789ABC0000, kRows = 3000;
  RowsBuilder builder(schema);
  for (uint64_t i = kRows; i-- > 0;) test::AppendRow(&builder, test::PlainKey(KeyOf(kBegin + i)), test::PlainValue(""));
  KeyOrder order;
  int64_t source, row;
  CHECK_OK(OrderByKey(schema, {builder.Views()}, 1, &order, &source, &row));
  CHECK(source < 0);
  CHECK_EQ(order.hashes.size(), kRows);
  for (uint64_t i = 0; i < kRows; ++i) {
    CHECK_EQ(order.hashes[i], kBegin + i);
    CHECK_EQ(order.order[i].row, kRows - 1 - i);
  }
}

TEST(any_byte_of_a_segment_that_changes_is_seen) {
  const test::Folder folder;
  const Schema schema = test::PlainSchema();
  RowsBuilder builder(schema);
  for (int64_t id = 0; id < 20; ++id) test::AppendRow(&builder, test::PlainKey(id), test::PlainValue("text"));
  CHECK_OK(Write(folder / "good.seg", schema, {builder.Views()}));
  const std::string good = test::ReadFile(folder / "good.seg");
  const std::string path = folder / "bad.seg";
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1 << (at % 8));
    test::WriteFile(path, bad);
    Opened segment;
    gridflow::Status status = Segment::Open(path, &segment);
    if (status.ok()) status = segment->Verify();
    CHECK(status.code == gridflow::Code::kCorrupt || (status.code == gridflow::Code::kVersion && at >= 8 && at < 12));
  }
  for (size_t cut = 0; cut < good.size(); ++cut) {
    test::WriteFile(path, good.substr(0, cut));
    Opened segment;
    CHECK_CODE(Segment::Open(path, &segment), kCorrupt);
  }
  test::WriteFile(path, good + '\0');
  Opened segment;
  CHECK_CODE(Segment::Open(path, &segment), kCorrupt);
  CHECK_CODE(Segment::Open(folder / "none.seg", &segment), kNotFound);
  CHECK_CODE(Segment::Open(folder.path(), &segment), kCorrupt);
}

TEST(offsets_that_fall_are_met_by_whoever_uses_them) {
  const test::Folder folder;
  const Schema schema = test::PlainSchema();
  RowsBuilder builder(schema);
  for (int64_t id = 0; id < 20; ++id) test::AppendRow(&builder, test::PlainKey(id), test::PlainValue("text"));
  CHECK_OK(Write(folder / "a.seg", schema, {builder.Views()}));
  std::string bytes = test::ReadFile(folder / "a.seg");
  const auto header = test::LoadAt<gf_segment_header>(bytes, 0);
  const auto offsets = test::LoadAt<gf_buffer>(bytes, header.directory_offset + 4 * sizeof(gf_buffer));
  CHECK_EQ(offsets.bytes, 21u * 8);
  for (int64_t bad : {int64_t{-1}, int64_t{1} << 40, INT64_MIN, INT64_MAX}) {
    test::StoreAt(&bytes, offsets.offset + 8 * 5, bad);
    test::ResealSegment(&bytes);
    test::WriteFile(folder / "b.seg", bytes);
    Opened segment;
    CHECK_OK(Segment::Open(folder / "b.seg", &segment));
    CHECK_CODE(segment->Verify(), kCorrupt);
    std::vector<ColumnView> views = {segment->column(0), segment->column(1)};
    std::string value;
    CHECK_OK(EncodeValue(schema, views, 3, &value));
    CHECK_CODE(EncodeValue(schema, views, 4, &value), kCorrupt);
    CHECK_CODE(EncodeValue(schema, views, 5, &value), kCorrupt);
    CHECK_CODE(Write(folder / "c.seg", schema, {views}), kCorrupt);
    CHECK_EQ(test::Names(folder.path()).size(), 2u);
  }
}

TEST(deletions_there_and_back) {
  const test::Folder folder;
  Random random(5);
  for (uint64_t rows : {1u, 7u, 8u, 9u, 1000u}) {
    std::vector<uint8_t> bits((rows + 7) / 8);
    uint64_t deleted = 0;
    for (uint64_t row = 0; row < rows; ++row) {
      if (!random.Chance(40)) continue;
      bits[row / 8] = static_cast<uint8_t>(bits[row / 8] | 1 << (row % 8));
      ++deleted;
    }
    CHECK_OK(Deletions::Write(folder / "a.del", 5, bits, rows, deleted, true));
    std::shared_ptr<const Deletions> deletions;
    CHECK_OK(Deletions::Open(folder / "a.del", nullptr, &deletions));
    CHECK_EQ(deletions->rows(), static_cast<int64_t>(rows));
    CHECK_EQ(deletions->deleted(), static_cast<int64_t>(deleted));
    CHECK_EQ(deletions->segment_id(), 5u);
    for (uint64_t row = 0; row < rows; ++row)
      CHECK_EQ(deletions->Test(static_cast<int64_t>(row)), ((bits[row / 8] >> (row % 8)) & 1) != 0);
    const std::string good = test::ReadFile(folder / "a.del");
    for (size_t at = 0; at < good.size(); ++at) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 1 << (at % 8));
      test::WriteFile(folder / "b.del", bad);
      CHECK(!Deletions::Open(folder / "b.del", nullptr, &deletions).ok());
    }
  }
}

TEST(a_deletion_bitmap_that_miscounts_is_corrupt) {
  const test::Folder folder;
  std::shared_ptr<const Deletions> deletions;
  for (uint64_t deleted : {0u, 2u, 4u, 20u, 21u}) {
    CHECK_OK(Deletions::Write(folder / "a.del", 5, {0x07, 0x00, 0x00}, 20, deleted, false));
    CHECK_CODE(Deletions::Open(folder / "a.del", nullptr, &deletions), kCorrupt);
  }
  CHECK_OK(Deletions::Write(folder / "a.del", 5, {0x07, 0x00, 0xF0}, 20, 3, false));  // past the last row
  CHECK_OK(Deletions::Open(folder / "a.del", nullptr, &deletions));
}

TEST(a_list_of_deleted_rows_there_and_back) {
  const test::Folder folder;
  Random random(6);
  for (uint64_t rows : {1u, 7u, 64u, 65u, 1000u}) {
    for (const bool on_bitmap : {false, true}) {
      std::vector<uint8_t> before((rows + 7) / 8), bits;
      uint64_t known = 0, deleted = 0;
      for (uint64_t row = 0; on_bitmap && row < rows; ++row)
        if (random.Chance(20)) before[row / 8] = static_cast<uint8_t>(before[row / 8] | 1 << (row % 8)), ++known;
      bits = before;
      deleted = known;
      for (uint64_t row = 0; row < rows; ++row) {
        if ((bits[row / 8] >> (row % 8) & 1) != 0 || !random.Chance(10)) continue;
        bits[row / 8] = static_cast<uint8_t>(bits[row / 8] | 1 << (row % 8));
        ++deleted;
      }
      std::shared_ptr<const Deletions> bitmap, list, none;
      if (on_bitmap) {
        CHECK_OK(Deletions::Write(folder / "base.del", 5, before, rows, known, false));
        CHECK_OK(Deletions::Open(folder / "base.del", nullptr, &bitmap));
      }
      CHECK_OK(Deletions::WriteList(folder / "a.del", 5, bits, rows, deleted, on_bitmap ? 8 : 0, bitmap.get(), 12, false));
      CHECK_OK(Deletions::Open(folder / "a.del", bitmap, &list));
      CHECK(list->is_list() && list->bitmap() == bitmap && list->bitmap_id() == (on_bitmap ? 8u : 0u));
      CHECK_EQ(list->rows(), static_cast<int64_t>(rows));
      CHECK_EQ(list->deleted(), static_cast<int64_t>(deleted));
      CHECK_EQ(list->listed_bytes(), 12 + 4 * (deleted - known));
      CHECK(std::memcmp(list->bits(), bits.data(), bits.size()) == 0);
      // What it adds to is part of it.
      CHECK_CODE(Deletions::Open(folder / "a.del", on_bitmap ? none : list, &none), kCorrupt);
      if (on_bitmap) CHECK_CODE(Deletions::Open(folder / "a.del", list, &none), kCorrupt);
      const std::string good = test::ReadFile(folder / "a.del");
      CHECK_EQ(good.size(), sizeof(gf_deletions_header) + 4 * (deleted - known));
      for (size_t at = 0; at < good.size(); ++at) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ 1 << (at % 8));
        test::WriteFile(folder / "b.del", bad);
        CHECK(!Deletions::Open(folder / "b.del", bitmap, &none).ok());
        // With checksums that fit: an error, or as many rows of the segment as it says.
        test::ResealDeletions(&bad);
        test::WriteFile(folder / "c.del", bad);
        if (!Deletions::Open(folder / "c.del", bitmap, &none).ok()) continue;
        int64_t set = 0;
        for (int64_t row = 0; row < none->rows(); ++row) set += none->Test(row);
        CHECK_EQ(set, none->deleted());
      }
    }
  }
}

}  // namespace
