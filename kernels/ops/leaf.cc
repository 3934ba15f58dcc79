#include "ops/leaf.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace gridflow {
namespace ops {
namespace {

using tensorflow::DataType;

DataType ElementType(gf_kind kind) {
  switch (kind) {
    case GF_BOOL:
      return tensorflow::DT_BOOL;
    case GF_INT8:
      return tensorflow::DT_INT8;
    case GF_INT16:
      return tensorflow::DT_INT16;
    case GF_INT32:
    case GF_DATE:
      return tensorflow::DT_INT32;
    case GF_INT64:
    case GF_TIME:
    case GF_TIMESTAMP:
      return tensorflow::DT_INT64;
    case GF_UINT8:
      return tensorflow::DT_UINT8;
    case GF_UINT16:
      return tensorflow::DT_UINT16;
    case GF_UINT32:
      return tensorflow::DT_UINT32;
    case GF_UINT64:
      return tensorflow::DT_UINT64;
    case GF_FLOAT16:
      return tensorflow::DT_HALF;
    case GF_FLOAT32:
      return tensorflow::DT_FLOAT;
    case GF_FLOAT64:
      return tensorflow::DT_DOUBLE;
    default:
      return tensorflow::DT_INVALID;
  }
}

absl::Status ScalarFormat(const Type& type, Format* out) {
  out->width = type.width;
  switch (type.kind) {
    case GF_BOOL:
      out->form = Form::kBool;
      out->dtype = tensorflow::DT_BOOL;
      return absl::OkStatus();
    case GF_STRING:
    case GF_BINARY:
      out->form = Form::kString;
      out->dtype = tensorflow::DT_STRING;
      return absl::OkStatus();
    case GF_UUID:
      out->form = Form::kUuid;
      out->dtype = tensorflow::DT_STRING;
      return absl::OkStatus();
    case GF_DECIMAL:
      out->form = Form::kDecimal;
      out->dtype = tensorflow::DT_STRING;
      return absl::OkStatus();
    case GF_TENSOR:
      for (int64_t dim : type.dims) TF_RETURN_IF_ERROR(out->shape.AddDimWithStatus(dim));
      out->dtype = ElementType(type.element);
      return absl::OkStatus();
    case GF_LIST:
    case GF_MAP:
    case GF_STRUCT:
      return absl::InvalidArgumentError("its values have no tensor form: leave it out with columns=");
    default:
      out->dtype = ElementType(type.kind);
      return absl::OkStatus();
  }
}

}  // namespace

absl::Status FormatOf(const Type& type, Format* out) {
  *out = Format();
  out->list = type.kind == GF_LIST;
  return ScalarFormat(out->list ? type.children[0] : type, out);
}

absl::Status Leaf::Parse(const std::string& text, Leaf* out) {
  std::vector<std::string> parts = absl::StrSplit(text, '\x1f');
  if (parts.size() < 2 || !absl::SimpleAtoi(parts[0], &out->column_id))
    return absl::InvalidArgumentError(absl::StrCat("columns: cannot read '", text, "'"));
  out->name = absl::StrJoin(parts.begin() + 1, parts.end(), ".");
  out->fields.assign(std::make_move_iterator(parts.begin() + 2), std::make_move_iterator(parts.end()));
  return absl::OkStatus();
}

const Type* Leaf::Find(const Schema& schema) const {
  const Type* type = nullptr;
  for (const Column& column : schema.columns)
    if (column.id == column_id) type = &column.type;
  for (const std::string& field : fields) {
    if (type == nullptr || type->kind != GF_STRUCT) return nullptr;
    const Type* found = nullptr;
    for (const Type& child : type->children)
      if (child.name == field) found = &child;
    type = found;
  }
  return type;
}

absl::Status Binding::Make(const Leaf& leaf, const Format& format, const TableSnapshot& snapshot, size_t index,
                           Binding* out) {
  const Segment& segment = *snapshot.segments()[index].segment;
  out->segment = &segment;
  out->mapped = segment.FindColumn(leaf.column_id) >= 0;
  const ColumnView* view = nullptr;
  for (size_t i = 0; i < snapshot.schema().columns.size(); ++i)
    if (snapshot.schema().columns[i].id == leaf.column_id) view = &snapshot.columns(static_cast<int>(index))[i];
  if (view == nullptr || view->missing()) return absl::OkStatus();
  std::vector<const ColumnView*> levels = {view};
  for (const std::string& field : leaf.fields) {
    if (view->type->kind != GF_STRUCT) return absl::OkStatus();
    const ColumnView* found = nullptr;
    for (const ColumnView& child : view->children)
      if (child.type->name == field) found = &child;
    if (found == nullptr) return absl::OkStatus();
    view = found;
    levels.push_back(view);
  }
  Format here;
  const absl::Status status = FormatOf(*view->type, &here);
  if (!status.ok() || here.form != format.form || here.dtype != format.dtype || here.shape != format.shape ||
      here.list != format.list)
    return absl::DataLossError(
        absl::StrCat(segment.path(), ": column ", leaf.name, " has another type than in the manifest"));
  out->view = view;
  out->items = format.list ? &view->children[0] : nullptr;
  for (const ColumnView* level : levels)
    if (level->validity != nullptr) out->nullable.push_back(level);
  if (format.form == Form::kString && out->mapped) out->owner.reset(new StringOwner(segment.mapping()));
  return absl::OkStatus();
}

}  // namespace ops
}  // namespace gridflow
