// Leaves: the parts of a row that become components of an element.
#ifndef GRIDFLOW_OPS_LEAF_H_
#define GRIDFLOW_OPS_LEAF_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/schema.h"
#include "core/snapshot.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/platform/refcount.h"
#include "tensorflow/core/platform/tstring.h"

namespace gridflow {
namespace ops {

// How a value becomes part of a tensor.
enum class Form {
  kFixed,    // its bytes are the tensor's: numbers, tensors, dates and times
  kBool,     // a bit becomes a byte
  kString,   // DT_STRING
  kUuid,     // DT_STRING of its 16 bytes
  kDecimal,  // DT_STRING of its decimal text
};

// What one value is in a tensor.
struct Format {
  Form form = Form::kFixed;
  tensorflow::DataType dtype = tensorflow::DT_INVALID;
  int64_t width = 0;               // bytes of a kFixed one
  tensorflow::TensorShape shape;   // of one value
  bool list = false;               // the row holds a list of such values
};

// The format of a column type; InvalidArgument for MAP and for lists of what is no scalar or tensor.
absl::Status FormatOf(const Type& type, Format* out);

// A column, or a field of a struct column, as the op's input names it.
struct Leaf {
  uint32_t column_id;
  std::vector<std::string> fields;  // from the column down; empty for the column itself
  std::string name;                 // NAME.field.field, for messages

  // Parses <column id> \x1f <name of the column> { \x1f <name of a field> }.
  static absl::Status Parse(const std::string& text, Leaf* out);
  // Its type in that schema; null if there is no such column or field.
  const Type* Find(const Schema& schema) const;
};

using StringOwner = tensorflow::tstring::owner<std::shared_ptr<const Mapping>>;

// Where a leaf's values lie in one segment. Borrows from the segment.
struct Binding {
  const Segment* segment = nullptr;
  const ColumnView* view = nullptr;   // null: the rows of this segment do not have the leaf
  const ColumnView* items = nullptr;  // of a list, else null
  std::vector<const ColumnView*> nullable;  // the levels, from the column down to the leaf, that hold nulls
  bool mapped = true;  // whether the values lie in the segment's mapping, and so can be views
  tensorflow::core::RefCountPtr<StringOwner> owner;  // of strings that are views

  const ColumnView& values() const { return items != nullptr ? *items : *view; }

  // DataLoss if the snapshot's segment of that index holds another type than `format` says.
  static absl::Status Make(const Leaf& leaf, const Format& format, const TableSnapshot& snapshot, size_t index,
                           Binding* out);
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_LEAF_H_
