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

// Finds a null where the type allows none. Rows that are not `asked` for lie under a parent that is null.
Status CheckNulls(const ColumnView& view, int64_t begin, int64_t end) {
  const Type& type = *view.type;
  if (!type.nullable && view.validity != nullptr)
    for (int64_t row = begin; row < end; ++row)
      if (view.IsNull(row)) return NullIn(type, row);
  if (view.children.empty() || begin == end) return Status::Ok();
  for (int64_t row = begin; row < end; ++row) {
    if (view.IsNull(row)) continue;
    int64_t first = row, last = row + 1;
    if (type.kind != GF_STRUCT && !CheckedRange(view, row, &first, &last))
      return Status::Invalid("column " + type.name + " has impossible offsets");
    for (const ColumnView& child : view.children) GF_RETURN_IF_ERROR(CheckNulls(child, first, last));
  }
  return Status::Ok();
}

bool NeedsCheck(const ColumnView& view) {
  if (!view.type->nullable && view.validity != nullptr) return true;
  for (const ColumnView& child : view.children)
    if (NeedsCheck(child)) return true;
  return false;
}

Status Import(const Type& type, const ArrowArray& array, int64_t parent_offset, ColumnView* view) {
  view->type = &type;
  view->offset = array.offset + parent_offset;
  view->length = array.length - parent_offset;
  if (array.dictionary != nullptr) return Status::Internal("column " + type.name + " is a dictionary");
  auto buffer = [&](int i) { return i < array.n_buffers ? static_cast<const uint8_t*>(array.buffers[i]) : nullptr; };
  view->validity = array.null_count == 0 ? nullptr : buffer(0);
  const bool variable = type.kind == GF_STRING || type.kind == GF_BINARY || type.kind == GF_LIST || type.kind == GF_MAP;
  if (variable) {
    static const int64_t kZero = 0;  // an empty array may come without offsets
    view->offsets = buffer(1) != nullptr ? buffer(1) : reinterpret_cast<const uint8_t*>(&kZero);
    view->limit = view->length > 0 || buffer(1) != nullptr ? view->Offset(view->length) : 0;
  }
  static const uint8_t kNothing = 0;
  switch (type.kind) {
    case GF_STRING:
    case GF_BINARY:
      view->data = buffer(2) != nullptr ? buffer(2) : &kNothing;
      return Status::Ok();
    case GF_LIST:
      view->children.resize(1);
      return Import(type.children[0], *array.children[0], 0, &view->children[0]);
    case GF_MAP:
      view->children.resize(2);
      for (int i = 0; i < 2; ++i)  // a map's child is a struct of key and value
        GF_RETURN_IF_ERROR(Import(type.children[i], *array.children[0]->children[i], array.children[0]->offset,
                                  &view->children[i]));
      return Status::Ok();
    case GF_STRUCT:
      view->children.resize(type.children.size());
      for (size_t i = 0; i < type.children.size(); ++i)
        GF_RETURN_IF_ERROR(Import(type.children[i], *array.children[i], view->offset, &view->children[i]));
      return Status::Ok();
    case GF_TENSOR: {
      const ArrowArray& items = *array.children[0];
      const auto* data = static_cast<const uint8_t*>(items.buffers[1]);
      view->data = data != nullptr ? data + items.offset * ElementWidth(type.element) : &kNothing;
      return Status::Ok();
    }
    default:
      view->data = buffer(1) != nullptr ? buffer(1) : &kNothing;
      return Status::Ok();
  }
}

}  // namespace

Status ImportColumn(const Type& type, const ArrowArray& array, ColumnView* out) {
  GF_RETURN_IF_ERROR(Import(type, array, 0, out));
  return NeedsCheck(*out) ? CheckNulls(*out, 0, out->length) : Status::Ok();
}

void ExportColumn(const ColumnView& column, int64_t begin, int64_t end, const std::shared_ptr<const void>& owner,
                  ArrowArray* out) {
  const Type& type = *column.type;
  const bool variable = column.offsets != nullptr;
  const size_t children = type.kind == GF_TENSOR || type.kind == GF_MAP ? 1 : type.children.size();
  Exported* exported = Start(owner, end - begin, begin + column.offset, children, out);
  exported->buffers.push_back(column.validity);
  if (column.validity == nullptr) out->null_count = 0;
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
    // A struct's fields start where the struct's buffers start: its offset applies to them, too.
    for (size_t i = 0; i < type.children.size(); ++i)
      ExportColumn(column.children[i], 0, type.kind == GF_STRUCT ? end : column.limit, owner, &exported->children[i]);
  }
  Seal(exported, out);
}

}  // namespace gridflow
