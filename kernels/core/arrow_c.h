// Columns from and to the Arrow C data interface (https://arrow.apache.org/docs/format/CDataInterface.html), so that
// Arrow arrays come in and go out without a copy and without linking Arrow.
#ifndef GRIDFLOW_CORE_ARROW_C_H_
#define GRIDFLOW_CORE_ARROW_C_H_

#include <cstdint>
#include <memory>

#include "core/column.h"
#include "core/status.h"

namespace gridflow {

// The interface's ArrowArray, field by field.
struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  ArrowArray** children;
  ArrowArray* dictionary;
  void (*release)(ArrowArray*);
  void* private_data;
};

// A view of an array whose Arrow type is the one that `type` has (gridflow.schema.Type.arrow). kInvalid, naming the
// column, if a null stands where none may be. The array must outlive the view.
Status ImportColumn(const Type& type, const ArrowArray& array, ColumnView* out);

// Rows [begin, end) of a column as an array. `owner` is kept until the array's consumer releases it.
void ExportColumn(const ColumnView& column, int64_t begin, int64_t end, const std::shared_ptr<const void>& owner,
                  ArrowArray* out);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_ARROW_C_H_
