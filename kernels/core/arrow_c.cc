#include "core/arrow_c.h"

#include <vector>

namespace gridflow {
namespace {

// What an exported array needs until it is released.
struct Exported {
  std::shared_ptr<const void> owner;
  std::vector<const void*> buffers;
  std::vector<ArrowArray> children;
  std::vector<ArrowArray*> pointers;
};

void Release(ArrowArray* array) {
  auto* exported = static_cast<Exported*>(array->private_data);
  for (ArrowArray& child : exported->children)
    if (child.release != nullptr) child.release(&child);
  delete exported;
  array->release = nullptr;
}

Exported* Start(const std::shared_ptr<const void>& owner, int64_t length, int64_t offset, size_t children,
                ArrowArray* out) {
  auto* exported = new Exported;
  exported->owner = owner;
  exported->children.resize(children);
  for (ArrowArray& child : exported->children) exported->pointers.push_back(&child);
  *out = {};
  out->length = length;
  out->offset = offset;
  out->null_count = -1;
  out->release = &Release;
  out->private_data = exported;
  return exported;
}

void Seal(Exported* exported, ArrowArray* out) {
  out->n_buffers = static_cast<int64_t>(exported->buffers.size());
  out->buffers = exported->buffers.data();
  out->n_children = static_cast<int64_t>(exported->pointers.size());
  out->children = exported->pointers.empty() ? nullptr : exported->pointers.data();
}

Status NullIn(const Type& type, int64_t row) {
  return Status::Invalid("column " + type.name + " may not be null, and is in row " + std::to_string(row));
}

// The array of a type's child: a map's lie in a struct of key and value.
const ArrowArray& Child(const Type& type, const ArrowArray& array, size_t i) {
  return type.kind == GF_MAP ? *array.children[0]->children[i] : *array.children[i];
}

// A tensor's numbers are an array of their own, which may have nulls in Arrow and not here.
Status CheckNumbers(const ColumnView& view, const ArrowArray& items, int64_t row) {
  const int64_t size = view.type->width / ElementWidth(view.type->element);
  const auto* validity = static_cast<const uint8_t*>(items.buffers[0]);
  int64_t bit = items.offset + (view.offset + row) * size;
  for (const int64_t end = bit + size; bit < end; ++bit)
    if (!((validity[bit >> 3] >> (bit & 7)) & 1))
      return Status::Invalid("column " + view.type->name + " has a null in the tensor of row " + std::to_string(row));
  return Status::Ok();
}

bool HasNumbersToCheck(const ColumnView& view, const ArrowArray& array) {
  return view.type->kind == GF_TENSOR && array.children[0]->null_count != 0 && array.children[0]->buffers[0] != nullptr;
}

// Finds a null where the type allows none. Rows that are not asked for lie under a parent that is null.
Status CheckNulls(const ColumnView& view, const ArrowArray& array, int64_t begin, int64_t end) {
  const Type& type = *view.type;
  if (!type.nullable && view.validity != nullptr)
    for (int64_t row = begin; row < end; ++row)
      if (view.IsNull(row)) return NullIn(type, row);
  if (HasNumbersToCheck(view, array))
    for (int64_t row = begin; row < end; ++row)
      if (!view.IsNull(row)) GF_RETURN_IF_ERROR(CheckNumbers(view, *array.children[0], row));
  if (view.children.empty() || begin == end) return Status::Ok();
  for (int64_t row = begin; row < end; ++row) {
    if (view.IsNull(row)) continue;
    int64_t first = row, last = row + 1;
    if (type.kind != GF_STRUCT && !CheckedRange(view, row, &first, &last))
      return Status::Invalid("column " + type.name + " has impossible offsets");
    for (size_t i = 0; i < view.children.size(); ++i)
      GF_RETURN_IF_ERROR(CheckNulls(view.children[i], Child(type, array, i), first, last));
  }
  return Status::Ok();
}

bool NeedsCheck(const ColumnView& view, const ArrowArray& array) {
  if ((!view.type->nullable && view.validity != nullptr) || HasNumbersToCheck(view, array)) return true;
  for (size_t i = 0; i < view.children.size(); ++i)
    if (NeedsCheck(view.children[i], Child(*view.type, array, i))) return true;
  return false;
}

// No row may reach past the end of what it is made of.
Status CheckChildren(const Type& type, const ColumnView& view, int64_t wanted) {
  for (const ColumnView& child : view.children)
    if (child.length < wanted)
      return Status::Invalid("column " + type.name + " has rows that reach past the end of their items");
  return Status::Ok();
}

Status Import(const Type& type, const ArrowArray& array, int64_t parent_offset, ColumnView* view) {
  *view = ColumnView();
  view->type = &type;
  view->offset = array.offset + parent_offset;
  view->length = array.length - parent_offset;
  if (array.dictionary != nullptr) return Status::Internal("column " + type.name + " is a dictionary");
  auto buffer = [&](int i) { return i < array.n_buffers ? static_cast<const uint8_t*>(array.buffers[i]) : nullptr; };
  view->validity = array.null_count == 0 ? nullptr : buffer(0);
  const Layout layout = type.layout();
  if (layout == Layout::kBytes || layout == Layout::kList || layout == Layout::kMap) {
    static const int64_t kZero = 0;  // an empty array may come without offsets, or with none in the buffer
    view->offsets = buffer(1) != nullptr ? buffer(1) : reinterpret_cast<const uint8_t*>(&kZero);
    view->limit = view->length > 0 ? view->Offset(view->length) : 0;
  }
  static const uint8_t kNothing = 0;
  switch (layout) {
    case Layout::kBytes:
      view->data = buffer(2) != nullptr ? buffer(2) : &kNothing;
      return Status::Ok();
    case Layout::kList:
      view->children.resize(1);
      GF_RETURN_IF_ERROR(Import(type.children[0], *array.children[0], 0, &view->children[0]));
      return CheckChildren(type, *view, view->limit);
    case Layout::kMap:
      view->children.resize(2);
      for (size_t i = 0; i < 2; ++i)
        GF_RETURN_IF_ERROR(
            Import(type.children[i], Child(type, array, i), array.children[0]->offset, &view->children[i]));
      return CheckChildren(type, *view, view->limit);
    case Layout::kStruct:
      view->children.resize(type.children.size());
      for (size_t i = 0; i < type.children.size(); ++i)
        GF_RETURN_IF_ERROR(Import(type.children[i], *array.children[i], view->offset, &view->children[i]));
      return CheckChildren(type, *view, view->length);
    case Layout::kBits:
    case Layout::kFixed:
      break;
  }
  if (type.kind == GF_TENSOR) {
    const ArrowArray& items = *array.children[0];
    const auto* data = static_cast<const uint8_t*>(items.buffers[1]);
    view->data = data != nullptr ? data + items.offset * ElementWidth(type.element) : &kNothing;
  } else {
    view->data = buffer(1) != nullptr ? buffer(1) : &kNothing;
  }
  return Status::Ok();
}

}  // namespace

Status ImportColumn(const Type& type, const ArrowArray& array, ColumnView* out) {
  GF_RETURN_IF_ERROR(Import(type, array, 0, out));
  return NeedsCheck(*out, array) ? CheckNulls(*out, array, 0, out->length) : Status::Ok();
}

void ExportColumn(const ColumnView& column, int64_t begin, int64_t end, const std::shared_ptr<const void>& owner,
                  ArrowArray* out) {
  const Type& type = *column.type;
  const bool variable = column.offsets != nullptr;
  const size_t children = type.kind == GF_TENSOR || type.kind == GF_MAP ? 1 : type.children.size();
  Exported* exported = Start(owner, end - begin, begin + column.offset, children, out);
  exported->buffers.push_back(column.validity);
  // Also of no rows, whose bitmap is a pointer to no bytes: a count left to find out (-1) would read as "may have
  // nulls", and pyarrow before 26 ends the process over a map whose keys may have some.
  if (column.validity == nullptr || begin == end) out->null_count = 0;
  if (variable) exported->buffers.push_back(column.offsets);
  if (type.kind != GF_STRUCT && type.kind != GF_LIST && type.kind != GF_MAP && type.kind != GF_TENSOR)
    exported->buffers.push_back(column.data);
  if (type.kind == GF_TENSOR) {
    const int64_t width = ElementWidth(type.element), size = type.width / width;
    Exported* items = Start(owner, (end + column.offset) * size, 0, 0, &exported->children[0]);
    exported->children[0].null_count = 0;
    items->buffers = {nullptr, column.data};
    Seal(items, &exported->children[0]);
  } else if (type.kind == GF_MAP) {
    Exported* entries = Start(owner, column.limit, 0, 2, &exported->children[0]);
    exported->children[0].null_count = 0;
    entries->buffers = {nullptr};
    for (int i = 0; i < 2; ++i)
      ExportColumn(column.children[i], 0, column.limit, owner, &entries->children[static_cast<size_t>(i)]);
    Seal(entries, &exported->children[0]);
  } else {
    // In Arrow a struct's offset applies to its fields, too; in a view theirs has it already (column.h).
    for (size_t i = 0; i < type.children.size(); ++i)
      if (type.kind == GF_STRUCT)
        ExportColumn(column.children[i], -column.offset, end, owner, &exported->children[i]);
      else
        ExportColumn(column.children[i], 0, column.limit, owner, &exported->children[i]);
  }
  Seal(exported, out);
}

}  // namespace gridflow
