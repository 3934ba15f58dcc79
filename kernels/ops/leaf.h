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
  int64_t width = 0;              // bytes of a kFixed one
  int scale = 0;                  // of a kDecimal one
  tensorflow::TensorShape shape;  // of one value

  // Of a type that is no LIST, MAP or STRUCT.
  static absl::Status Of(const Type& type, Format* out);
};

// What a component has in the place of a null, or of a leaf's values.
enum class Nulls {
  kError,      // a null is an error
  kEmptyList,  // a null list is an empty one, a null in a list is an error
  kFill,       // a null is a given value, a null list an empty one
  kRowValid,   // bool instead of values: which rows have the leaf; of a list, which rows have a list
  kItemValid,  // bool instead of values, in lists as long as theirs: which items are not null
};

// A part of a column that is no LIST, MAP or STRUCT itself, and what of it makes a component.
struct Leaf {
  uint32_t column_id = 0;
  std::vector<std::string> parts;  // names from the column down; a list's item has none
  std::string name;                // COLUMN.part.part, for messages
  Nulls nulls = Nulls::kError;
  std::string fill;  // of kFill: a cell as the log has it; empty: zero or the empty string

  // Parses what the op's input `columns` holds for it:
  //
  //     <column id> [ <nulls>] \x1f <column's name> { \x1f <part> }
  //
  // A part is the name of a STRUCT's field, or `key` or `value` of a MAP; from a LIST to its item there is none. In a
  // name, \x1f is written as NUL, which no name has. <nulls>, after one blank, is one of
  //
  //     empty         kEmptyList
  //     fill          kFill of zero or the empty string
  //     fill=<hex>    kFill of that cell, as the log has it (log_format.h)
  //     valid, items  kRowValid, kItemValid
  static absl::Status Parse(const std::string& text, Leaf* out);

  // The way to it in that schema: the column's position, then at each level which child. Returns its type, or null if
  // there is no such leaf.
  const Type* Find(const Schema& schema, std::vector<size_t>* way) const;
};

using StringOwner = tensorflow::tstring::owner<std::shared_ptr<const Mapping>>;

// Where a leaf's values lie in one segment. Borrows from the segment.
struct Binding {
  // The rows are one level, the items of each LIST or MAP on the way are another.
  struct Level {
    const ColumnView* view = nullptr;         // whose offsets lead to the next level; at the last, the values
    std::vector<const ColumnView*> nullable;  // what holds nulls of the column, structs and `view` of this level
  };

  const Segment* segment = nullptr;
  std::vector<Level> levels;  // none: the rows of this segment do not have the column
  bool mapped = true;         // whether the values lie in the segment's mapping, and so can be views
  tensorflow::core::RefCountPtr<StringOwner> owner;  // of strings that are views

  // `way` is from Leaf::Find in the snapshot's schema, to which all its segments conform.
  static Binding Make(const std::vector<size_t>& way, const TableSnapshot& snapshot, size_t index);
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_LEAF_H_
