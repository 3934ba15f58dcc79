#include "ops/leaf.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
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
    case GF_DECIMAL:
    case GF_STRING:
    case GF_BINARY:
    case GF_UUID:
    case GF_TENSOR:
    case GF_LIST:
    case GF_STRUCT:
    case GF_MAP:
      break;
  }
  return tensorflow::DT_INVALID;
}

bool ParseNulls(absl::string_view text, Leaf* out) {
  constexpr absl::string_view kFillWith = "fill=";
  if (absl::StartsWith(text, kFillWith)) {
    out->nulls = Nulls::kFill;
    return absl::HexStringToBytes(text.substr(kFillWith.size()), &out->fill);
  }
  for (const auto& [word, nulls] : {std::pair<const char*, Nulls>{"empty", Nulls::kEmptyList},
                                    {"fill", Nulls::kFill},
                                    {"valid", Nulls::kRowValid},
                                    {"items", Nulls::kItemValid}}) {
    out->nulls = nulls;
    if (text == word) return true;
  }
  return false;
}

}  // namespace

absl::Status Format::Of(const Type& type, Format* out) {
  *out = Format();
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
      out->scale = type.scale;
      return absl::OkStatus();
    case GF_TENSOR:
      for (int64_t dim : type.dims) TF_RETURN_IF_ERROR(out->shape.AddDimWithStatus(dim));
      out->dtype = ElementType(type.element);
      return absl::OkStatus();
    case GF_INT8:
    case GF_INT16:
    case GF_INT32:
    case GF_INT64:
    case GF_UINT8:
    case GF_UINT16:
    case GF_UINT32:
    case GF_UINT64:
    case GF_FLOAT16:
    case GF_FLOAT32:
    case GF_FLOAT64:
    case GF_DATE:
    case GF_TIME:
    case GF_TIMESTAMP:
    case GF_LIST:  // these three are no leaves
    case GF_STRUCT:
    case GF_MAP:
      break;
  }
  out->dtype = ElementType(type.kind);
  return absl::OkStatus();
}

absl::Status Leaf::Parse(const std::string& text, Leaf* out) {
  std::vector<std::string> parts = absl::StrSplit(text, '\x1f');
  const std::vector<std::string> head = absl::StrSplit(parts[0], absl::MaxSplits(' ', 1));
  if (parts.size() < 2 || !absl::SimpleAtoi(head[0], &out->column_id) || (head.size() > 1 && !ParseNulls(head[1], out)))
    return absl::InvalidArgumentError(absl::StrCat("columns: cannot read '", absl::CHexEscape(text), "'"));
  for (std::string& part : parts) std::replace(part.begin(), part.end(), '\0', '\x1f');
  out->name = absl::StrJoin(parts.begin() + 1, parts.end(), ".");
  out->parts.assign(std::make_move_iterator(parts.begin() + 2), std::make_move_iterator(parts.end()));
  return absl::OkStatus();
}

const Type* Leaf::Find(const Schema& schema, std::vector<size_t>* way) const {
  const Type* type = nullptr;
  way->clear();
  for (size_t i = 0; i < schema.columns.size(); ++i) {
    if (schema.columns[i].id != column_id) continue;
    type = &schema.columns[i].type;
    way->push_back(i);
  }
  if (type == nullptr) return nullptr;
  size_t part = 0;
  while (!type->children.empty()) {  // as deep as the schema is, which is checked when it is read
    size_t child = 0;
    if (type->kind != GF_LIST) {
      if (part == parts.size()) return nullptr;
      while (child < type->children.size() && type->children[child].name != parts[part]) ++child;
      if (child == type->children.size()) return nullptr;
      ++part;
    }
    type = &type->children[child];
    way->push_back(child);
  }
  return part == parts.size() ? type : nullptr;
}

Binding Binding::Make(const std::vector<size_t>& way, const TableSnapshot& snapshot, size_t index) {
  Binding binding;
  const Segment& segment = *snapshot.segments()[index].segment;
  binding.segment = &segment;
  binding.mapped = segment.FindColumn(snapshot.schema().columns[way[0]].id) >= 0;
  const ColumnView* view = &snapshot.columns(static_cast<int>(index))[way[0]];
  if (view->missing()) return binding;
  binding.levels.emplace_back();
  for (size_t depth = 1;; ++depth) {
    Level& level = binding.levels.back();
    if (view->validity != nullptr) level.nullable.push_back(view);
    level.view = view;
    if (depth == way.size()) break;
    if (view->type->kind != GF_STRUCT) binding.levels.emplace_back();
    view = &view->children[way[depth]];
  }
  const gf_kind kind = view->type->kind;
  if ((kind == GF_STRING || kind == GF_BINARY) && binding.mapped) binding.owner.reset(new StringOwner(segment.mapping()));
  return binding;
}

}  // namespace ops
}  // namespace gridflow
