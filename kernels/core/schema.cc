#include "core/schema.h"

#include <cstring>
#include <unordered_set>

#include "core/row_codec.h"

namespace gridflow {
namespace {

constexpr int kMaxDepth = 64;
constexpr int64_t kMaxTensorBytes = int64_t{1} << 31;

// Whether a kind has one value, so that it can be a key.
bool IsScalar(gf_kind kind) {
  const Layout layout = LayoutOf(kind);
  return kind != GF_TENSOR && (layout == Layout::kBits || layout == Layout::kFixed || layout == Layout::kBytes);
}

template <typename T>
void Append(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void AppendType(std::string* out, const Type& type, size_t fill_bytes = 0, bool has_default = false) {
  gf_type_node node = {};
  node.kind = static_cast<uint8_t>(type.kind);
  node.flags = static_cast<uint8_t>((type.nullable ? GF_NULLABLE : 0) | (type.utc ? GF_UTC : 0) |
                                    (has_default ? GF_DEFAULT : 0));
  node.element = type.kind == GF_TENSOR ? static_cast<uint8_t>(type.element) : 0;
  node.unit = static_cast<uint8_t>(type.unit);
  node.precision = type.precision;
  node.scale = type.scale;
  node.dim_count = static_cast<uint16_t>(type.dims.size());
  node.child_count = static_cast<uint32_t>(type.children.size());
  node.name_bytes = static_cast<uint32_t>(type.name.size());
  node.fill_bytes = static_cast<uint32_t>(fill_bytes);
  Append(out, node);
  out->append(type.name);
  for (int64_t dim : type.dims) Append(out, static_cast<uint64_t>(dim));
  for (const Type& child : type.children) AppendType(out, child);
}

// Reads a schema front to back; never past the end, whatever the bytes say.
class Parser {
 public:
  Parser(const uint8_t* data, size_t bytes, const std::string& file, int64_t base)
      : begin_(data), at_(data), end_(data + bytes), file_(file), base_(base) {}

  Status Fail(const std::string& what) const { return Status::Corrupt(file_, base_ + (at_ - begin_), what); }
  bool done() const { return at_ == end_; }

  template <typename T>
  Status Read(T* out) {
    if (static_cast<size_t>(end_ - at_) < sizeof(T)) return Fail("schema ends early");
    std::memcpy(out, at_, sizeof(T));
    at_ += sizeof(T);
    return Status::Ok();
  }

  Status ReadColumn(Column* column) {
    gf_type_node node;
    GF_RETURN_IF_ERROR(Read(&column->id));
    if (static_cast<size_t>(end_ - at_) >= sizeof(node)) std::memcpy(&node, at_, sizeof(node));
    GF_RETURN_IF_ERROR(ReadType(&column->type, 0));  // fails where there is no node
    if (node.fill_bytes > static_cast<size_t>(end_ - at_)) return Fail("the value of older rows ends early");
    column->fill.assign(reinterpret_cast<const char*>(at_), node.fill_bytes);
    column->type.Finish();
    if (node.fill_bytes > 0 && !CheckCell(column->type, at_, node.fill_bytes).ok())
      return Fail("the value of older rows does not fit the column");
    at_ += node.fill_bytes;
    if ((node.flags & GF_DEFAULT) == 0) return Status::Ok();
    uint32_t default_bytes = 0;
    GF_RETURN_IF_ERROR(Read(&default_bytes));
    if (default_bytes > static_cast<size_t>(end_ - at_)) return Fail("a default ends early");
    if (!CheckCell(column->type, at_, default_bytes).ok()) return Fail("a default does not fit its column");
    column->default_value.assign(reinterpret_cast<const char*>(at_), default_bytes);
    at_ += default_bytes;
    return Status::Ok();
  }

  Status ReadType(Type* type, int depth) {
    if (depth > kMaxDepth) return Fail("schema is nested too deeply");
    gf_type_node node;
    GF_RETURN_IF_ERROR(Read(&node));
    if (node.kind < GF_BOOL || node.kind > GF_MAP) return Fail("unknown column type " + std::to_string(node.kind));
    if (node.name_bytes > static_cast<size_t>(end_ - at_)) return Fail("name ends early");
    if (depth > 0 && node.fill_bytes != 0) return Fail("a part of a type has a value for older rows");
    if (depth > 0 && (node.flags & GF_DEFAULT) != 0) return Fail("a part of a type has a default");
    type->kind = static_cast<gf_kind>(node.kind);
    type->nullable = node.flags & GF_NULLABLE;
    type->utc = node.flags & GF_UTC;
    if (node.unit > GF_NANOSECOND) return Fail("unknown unit of time");
    type->unit = static_cast<gf_unit>(node.unit);
    type->precision = node.precision;
    type->scale = node.scale;
    if (type->kind == GF_DECIMAL && (type->precision < 1 || type->precision > kMostDigits || type->scale > type->precision))
      return Fail("impossible digits of a decimal");
    if (!IsUtf8(at_, node.name_bytes)) return Fail("a name that is not UTF-8");
    type->name.assign(reinterpret_cast<const char*>(at_), node.name_bytes);
    at_ += node.name_bytes;
    const bool tensor = type->kind == GF_TENSOR;
    if (tensor != (node.dim_count > 0)) return Fail("dimensions do not fit the type");
    int64_t bytes = 1;
    if (tensor) {
      if (node.element < GF_BOOL || node.element > GF_FLOAT64) return Fail("unknown element type of a tensor");
      type->element = static_cast<gf_kind>(node.element);
      bytes = ElementWidth(type->element);
    }
    for (int i = 0; i < node.dim_count; ++i) {
      uint64_t dim = 0;
      GF_RETURN_IF_ERROR(Read(&dim));
      if (dim == 0 || dim > static_cast<uint64_t>(kMaxTensorBytes / bytes)) return Fail("impossible tensor shape");
      bytes *= static_cast<int64_t>(dim);
      type->dims.push_back(static_cast<int64_t>(dim));
    }
    uint32_t wanted = type->kind == GF_LIST ? 1 : type->kind == GF_MAP ? 2 : 0;
    if (type->kind == GF_STRUCT ? node.child_count == 0 : node.child_count != wanted)
      return Fail("wrong number of children");
    // All types together have no more nodes than there are bytes for: a short schema cannot ask for much memory.
    nodes_ += node.child_count;
    if (nodes_ > static_cast<size_t>(end_ - begin_) / sizeof(gf_type_node)) return Fail("children end early");
    type->children.resize(node.child_count);
    for (Type& child : type->children) GF_RETURN_IF_ERROR(ReadType(&child, depth + 1));
    if (type->kind == GF_MAP && (type->children[0].nullable || !IsScalar(type->children[0].kind)))
      return Fail("impossible key of a map");
    return Status::Ok();
  }

 private:
  const uint8_t *begin_, *at_, *end_;
  const std::string& file_;
  int64_t base_;
  size_t nodes_ = 0;  // children that the types so far said they have
};

}  // namespace

int64_t ElementWidth(gf_kind kind) {
  switch (kind) {
    case GF_BOOL:
    case GF_INT8:
    case GF_UINT8:
      return 1;
    case GF_INT16:
    case GF_UINT16:
    case GF_FLOAT16:
      return 2;
    case GF_INT32:
    case GF_UINT32:
    case GF_FLOAT32:
      return 4;
    case GF_INT64:
    case GF_UINT64:
    case GF_FLOAT64:
      return 8;
    case GF_DECIMAL:
    case GF_STRING:
    case GF_BINARY:
    case GF_DATE:
    case GF_TIME:
    case GF_TIMESTAMP:
    case GF_UUID:
    case GF_TENSOR:
    case GF_LIST:
    case GF_STRUCT:
    case GF_MAP:
      break;
  }
  return 0;
}

void Type::Finish() {
  for (Type& child : children) child.Finish();
  switch (kind) {
    case GF_BOOL:
    case GF_STRING:
    case GF_BINARY:
    case GF_LIST:
    case GF_STRUCT:
    case GF_MAP:
      width = 0;
      break;
    case GF_DATE:
      width = 4;
      break;
    case GF_TIME:
    case GF_TIMESTAMP:
      width = 8;
      break;
    case GF_DECIMAL:
    case GF_UUID:
      width = 16;
      break;
    case GF_TENSOR:
      width = ElementWidth(element);
      for (int64_t dim : dims) width *= dim;
      break;
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
      width = ElementWidth(kind);
  }
}

void Schema::Finish() {
  value.clear();
  for (uint32_t i = 0; i < columns.size(); ++i) {
    columns[i].type.Finish();
    bool in_key = false;
    for (uint32_t k : key) in_key |= k == i;
    if (!in_key) value.push_back(i);
  }
}

int Schema::Find(const std::string& name) const {
  for (size_t i = 0; i < columns.size(); ++i)
    if (columns[i].type.name == name) return static_cast<int>(i);
  return -1;
}

bool Schema::HasDefaults() const {
  for (const Column& column : columns)
    if (!column.default_value.empty()) return true;
  return false;
}

std::string Schema::Serialize(bool defaults) const {
  std::string out;
  Append(&out, static_cast<uint32_t>(columns.size()));
  for (const Column& column : columns) {
    Append(&out, column.id);
    const bool has_default = defaults && !column.default_value.empty();
    AppendType(&out, column.type, column.fill.size(), has_default);
    out.append(column.fill);
    if (!has_default) continue;
    Append(&out, static_cast<uint32_t>(column.default_value.size()));
    out.append(column.default_value);
  }
  Append(&out, static_cast<uint32_t>(key.size()));
  for (uint32_t k : key) Append(&out, k);
  return out;
}

Status Schema::Parse(const uint8_t* data, size_t bytes, const std::string& file, int64_t base, Schema* out) {
  Parser parser(data, bytes, file, base);
  uint32_t count = 0;
  GF_RETURN_IF_ERROR(parser.Read(&count));
  if (count == 0 || count > bytes / sizeof(gf_type_node)) return parser.Fail("impossible number of columns");
  *out = Schema();
  out->columns.resize(count);
  std::unordered_set<uint32_t> ids;
  for (Column& column : out->columns) {
    GF_RETURN_IF_ERROR(parser.ReadColumn(&column));
    if (!ids.insert(column.id).second) return parser.Fail("two columns share an id");
  }
  uint32_t keys = 0;
  GF_RETURN_IF_ERROR(parser.Read(&keys));
  if (keys == 0 || keys > count) return parser.Fail("impossible number of key columns");
  std::unordered_set<uint32_t> seen;
  for (uint32_t i = 0; i < keys; ++i) {
    uint32_t position = 0;
    GF_RETURN_IF_ERROR(parser.Read(&position));
    if (position >= count || !seen.insert(position).second) return parser.Fail("impossible key column");
    const Type& type = out->columns[position].type;
    if (type.nullable || !IsScalar(type.kind)) return parser.Fail("a key column that is not a scalar");
    out->key.push_back(position);
  }
  if (!parser.done()) return parser.Fail("bytes after the schema");
  out->Finish();
  return Status::Ok();
}

}  // namespace gridflow
