// The text of a row's key, for messages.
#ifndef GRIDFLOW_OPS_KEY_TEXT_H_
#define GRIDFLOW_OPS_KEY_TEXT_H_

#include <cstdint>
#include <string>

#include "core/segment.h"

namespace gridflow {
namespace ops {

// The key of a segment's row as SQL would write it: ID = 5, NAME = 'kitten'. Dates and times are the numbers that the
// segment holds. Says so where the file is damaged.
std::string KeyText(const Segment& segment, int64_t row);

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_KEY_TEXT_H_
