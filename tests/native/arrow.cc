// Columns out through the Arrow C data interface and in again, whole and in slices.
#include "core/arrow_c.h"

#include <vector>

#include "core/row_codec.h"
#include "native/random_rows.h"
#include "native/test.h"

namespace {

using gridflow::ArrowArray;
using gridflow::ColumnView;
using gridflow::ExportColumn;
using gridflow::ImportColumn;
using gridflow::RowsBuilder;
using gridflow::Schema;
using gridflow::Type;
using test::Random;

struct Table {
  Schema schema;
  std::vector<std::string> keys, values;
  std::unique_ptr<RowsBuilder> builder;

  Table(Random* random, uint64_t rows) : schema(test::RandomSchema(random)), builder(new RowsBuilder(schema)) {
    for (uint64_t i = 0; i < rows; ++i) {
      const test::Cells cells = test::RandomCells(random, schema);
      keys.push_back(test::KeyOf(schema, cells));
      values.push_back(test::ValueOf(schema, cells));
      test::AppendRow(builder.get(), keys.back(), values.back());
    }
  }

  // Whether the views show rows [begin, ...).
  void Check(const std::vector<ColumnView>& views, int64_t begin, int64_t rows) const {
    for (int64_t row = 0; row < rows; ++row) {
      std::string key, value;
      CHECK_OK(EncodeKey(schema, views, row, &key));
      CHECK_OK(EncodeValue(schema, views, row, &value));
      CHECK(key == keys[static_cast<size_t>(begin + row)]);
      CHECK(value == values[static_cast<size_t>(begin + row)]);
    }
  }
};

void ReleaseAll(std::vector<ArrowArray>* arrays) {
  for (ArrowArray& array : *arrays) {
    CHECK(array.release != nullptr);
    array.release(&array);
    CHECK(array.release == nullptr);
  }
}

// As a consumer slices: the array's own offset and length change, its buffers and children do not.
void Slice(ArrowArray* array, int64_t begin, int64_t end) {
  CHECK(begin <= end && end <= array->length);
  array->offset += begin;
  array->length = end - begin;
  if (array->null_count > 0) array->null_count = -1;
}

TEST(columns_there_and_back_in_slices_of_slices) {
  Random random(1);
  for (int i = 0; i < 300; ++i) {
    const auto rows = static_cast<int64_t>(random.Below(40));
    const Table table(&random, static_cast<uint64_t>(rows));
    std::vector<ColumnView> views = table.builder->Views();
    int64_t first = 0, length = rows;
    std::vector<std::vector<ArrowArray>> held;
    auto owner = std::make_shared<int>(0);
    for (int hop = 0; hop < 3; ++hop) {
      const auto begin = static_cast<int64_t>(random.Below(static_cast<uint64_t>(length) + 1));
      const auto end = begin + static_cast<int64_t>(random.Below(static_cast<uint64_t>(length - begin) + 1));
      const auto cut = static_cast<int64_t>(random.Below(static_cast<uint64_t>(end - begin) + 1));
      held.emplace_back(views.size());
      std::vector<ColumnView> next(views.size());
      for (size_t c = 0; c < views.size(); ++c) {
        ExportColumn(views[c], begin, end, owner, &held.back()[c]);
        CHECK_EQ(held.back()[c].length, end - begin);
        Slice(&held.back()[c], cut, end - begin);
        CHECK_OK(ImportColumn(table.schema.columns[c].type, held.back()[c], &next[c]));
        CHECK_EQ(next[c].length, end - begin - cut);
      }
      first += begin + cut;
      length = end - begin - cut;
      views = next;
      table.Check(views, first, length);
    }
    CHECK(owner.use_count() > 1);
    for (std::vector<ArrowArray>& arrays : held) ReleaseAll(&arrays);
    CHECK_EQ(owner.use_count(), 1);
  }
}

// Every part of an exported array reaches as far as its parent's rows do: a consumer believes it.
void CheckReach(const Type& type, const ArrowArray& array) {
  const int64_t end = array.offset + array.length;
  if (type.kind == GF_STRUCT) {
    CHECK_EQ(array.n_children, static_cast<int64_t>(type.children.size()));
    for (size_t i = 0; i < type.children.size(); ++i) {
      CHECK(array.children[i]->length >= end && array.children[i]->offset >= 0);
      CheckReach(type.children[i], *array.children[i]);
    }
  }
  if (type.kind == GF_TENSOR) CHECK(array.children[0]->length >= end * type.width / gridflow::ElementWidth(type.element));
  if (type.kind == GF_LIST || type.kind == GF_MAP) {
    const auto* offsets = static_cast<const uint8_t*>(array.buffers[1]);
    int64_t last = 0;
    std::memcpy(&last, offsets + end * (type.kind == GF_MAP ? 4 : 8), type.kind == GF_MAP ? 4 : 8);
    CHECK(array.children[0]->length >= last);
    if (type.kind == GF_LIST) CheckReach(type.children[0], *array.children[0]);
    for (size_t i = 0; type.kind == GF_MAP && i < 2; ++i) {
      CHECK(array.children[0]->children[i]->length >= array.children[0]->offset + array.children[0]->length);
      CheckReach(type.children[i], *array.children[0]->children[i]);
    }
  }
}

TEST(what_is_exported_reaches_as_far_as_it_says) {
  Random random(2);
  for (int i = 0; i < 200; ++i) {
    const Table table(&random, 1 + random.Below(20));
    const auto rows = static_cast<int64_t>(table.keys.size());
    std::vector<ColumnView> views = table.builder->Views();
    std::vector<ArrowArray> whole(views.size()), part(views.size());
    for (size_t c = 0; c < views.size(); ++c) {
      const Type& type = table.schema.columns[c].type;
      ExportColumn(views[c], 0, rows, nullptr, &whole[c]);
      CheckReach(type, whole[c]);
      Slice(&whole[c], rows / 3, rows);
      ColumnView slice;
      CHECK_OK(ImportColumn(type, whole[c], &slice));
      ExportColumn(slice, slice.length / 2, slice.length, nullptr, &part[c]);
      CheckReach(type, part[c]);
    }
    ReleaseAll(&part);
    ReleaseAll(&whole);
  }
}

// An array made by hand; owns nothing.
struct Made {
  std::vector<const void*> buffers;
  std::vector<ArrowArray*> children;
  ArrowArray array = {};

  Made(int64_t length, int64_t offset, std::vector<const void*> given, std::vector<ArrowArray*> below = {})
      : buffers(std::move(given)), children(std::move(below)) {
    array.length = length;
    array.offset = offset;
    array.null_count = -1;
    array.n_buffers = static_cast<int64_t>(buffers.size());
    array.buffers = buffers.data();
    array.n_children = static_cast<int64_t>(children.size());
    array.children = children.data();
  }
  Made(const Made&) = delete;
};

Type Of(gf_kind kind, bool nullable, std::vector<Type> children = {}) {
  Type type;
  type.kind = kind;
  type.nullable = nullable;
  type.name = "C";
  type.children = std::move(children);
  type.Finish();
  return type;
}

TEST(a_null_where_none_may_be_is_refused_but_not_under_a_null) {
  const int16_t numbers[] = {1, 2, 3, 4};
  const uint8_t third_null = 0x0B, third_only = 0x04, all = 0x0F;
  ColumnView view;
  Made item(4, 0, {&third_null, numbers});
  CHECK_CODE(ImportColumn(Of(GF_INT16, false), item.array, &view), kInvalid);
  CHECK_OK(ImportColumn(Of(GF_INT16, true), item.array, &view));
  CHECK(view.IsNull(2) && !view.IsNull(3));
  Made tail(1, 3, {&third_null, numbers});  // the null lies before the slice
  CHECK_OK(ImportColumn(Of(GF_INT16, false), tail.array, &view));

  const Type record = Of(GF_STRUCT, true, {Of(GF_INT16, false)});
  Made null_parent(4, 0, {&third_null}, {&item.array});
  CHECK_OK(ImportColumn(record, null_parent.array, &view));
  Made sound_parent(4, 0, {&all}, {&item.array});
  CHECK_CODE(ImportColumn(record, sound_parent.array, &view), kInvalid);
  Made other_parent(4, 0, {&third_only}, {&item.array});
  CHECK_CODE(ImportColumn(record, other_parent.array, &view), kInvalid);

  const int64_t offsets[] = {0, 2, 3, 4};
  const uint8_t second_null = 0x05;
  const Type list = Of(GF_LIST, true, {Of(GF_INT16, false)});
  Made null_list(3, 0, {&second_null, offsets}, {&item.array});
  CHECK_OK(ImportColumn(list, null_list.array, &view));
  Made sound_list(3, 0, {nullptr, offsets}, {&item.array});
  CHECK_CODE(ImportColumn(list, sound_list.array, &view), kInvalid);
}

TEST(a_null_among_the_numbers_of_a_tensor_is_refused) {
  Type tensor = Of(GF_TENSOR, true);
  tensor.element = GF_INT16;
  tensor.dims = {2};
  tensor.Finish();
  const int16_t numbers[] = {1, 2, 3, 4, 5, 6};
  const uint8_t fourth_null = 0x37, second_null = 0x05, all = 0x07;
  Made items(6, 0, {&fourth_null, numbers});
  Made rows(3, 0, {&all}, {&items.array});
  ColumnView view;
  CHECK_CODE(ImportColumn(tensor, rows.array, &view), kInvalid);
  Made null_row(3, 0, {&second_null}, {&items.array});  // the numbers of a null may be null, too
  CHECK_OK(ImportColumn(tensor, null_row.array, &view));
  Made last_row(1, 2, {&all}, {&items.array});
  CHECK_OK(ImportColumn(tensor, last_row.array, &view));
  CHECK_EQ(reinterpret_cast<const int16_t*>(view.Value(0))[1], 6);
  Made shifted(4, 2, {&fourth_null, numbers});
  Made shifted_rows(2, 0, {nullptr}, {&shifted.array});
  CHECK_CODE(ImportColumn(tensor, shifted_rows.array, &view), kInvalid);
}

TEST(a_list_that_says_more_items_than_there_are_is_refused) {
  const int16_t numbers[] = {1, 2};
  const int64_t offsets[] = {0, 1, 3};
  Made item(2, 0, {nullptr, numbers});
  Made list(2, 0, {nullptr, offsets}, {&item.array});
  ColumnView view;
  CHECK_CODE(ImportColumn(Of(GF_LIST, false, {Of(GF_INT16, false)}), list.array, &view), kInvalid);
  Made first(1, 0, {nullptr, offsets}, {&item.array});
  CHECK_OK(ImportColumn(Of(GF_LIST, false, {Of(GF_INT16, false)}), first.array, &view));
  const int32_t narrow[] = {0, 1, 3};
  Made entries(2, 0, {nullptr}, {&item.array, &item.array});
  Made map(2, 0, {nullptr, narrow}, {&entries.array});
  CHECK_CODE(ImportColumn(Of(GF_MAP, false, {Of(GF_INT16, false), Of(GF_INT16, false)}), map.array, &view), kInvalid);
}

TEST(an_empty_array_may_come_without_buffers) {
  const std::vector<uint8_t> nothing;  // an offsets buffer of no bytes is allowed, too
  const std::vector<uint8_t> empty(1);
  ColumnView view;
  for (const void* buffer : {static_cast<const void*>(nullptr), static_cast<const void*>(empty.data() + 1)}) {
    Made item(0, 0, {nullptr, nullptr});
    Made text(0, 0, {nullptr, buffer, nullptr}), list(0, 0, {nullptr, buffer}, {&item.array});
    for (const ArrowArray* array : {&text.array, &list.array}) {
      const Type type = array == &text.array ? Of(GF_STRING, false) : Of(GF_LIST, false, {Of(GF_INT8, false)});
      CHECK_OK(ImportColumn(type, *array, &view));
      CHECK_EQ(view.length, 0);
      CHECK(!view.missing());
      ArrowArray out;
      ExportColumn(view, 0, 0, nullptr, &out);
      CHECK_EQ(out.length, 0);
      out.release(&out);
    }
  }
}

}  // namespace
