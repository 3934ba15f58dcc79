// In which order the rows of a few slices of segments come: a merge of lists that are sorted by hash.
#ifndef GRIDFLOW_CORE_CHUNK_ORDER_H_
#define GRIDFLOW_CORE_CHUNK_ORDER_H_

#include <cstdint>
#include <vector>

#include "core/column.h"
#include "core/schema.h"
#include "core/segment.h"
#include "core/status.h"

namespace gridflow {

// Rows [begin, end) of a segment, which are numbered from `number` on.
struct OrderPart {
  const Segment* segment;
  const std::vector<ColumnView>* columns;  // of the segment, in the order of the schema
  const uint8_t* absent;                   // a bit for each row of the segment, 1: left out; null: none is
  int64_t begin, end;
  uint32_t number;
};

// Writes the numbers of all rows that are not left out to `out`, ordered by key hash, rows of one hash by their encoded
// keys. Number is uint16_t or uint32_t, and has room for each. The parts' hashes must have been checked. Corrupt: a key
// cannot be read.
//
// All parts but parts[base] are merged with each other, and then with that one, of which only the places where another
// part's row comes in are searched for: a small change to a large segment costs little.
template <typename Number>
Status OrderRows(const Schema& schema, const std::vector<OrderPart>& parts, size_t base, Number* out);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_CHUNK_ORDER_H_
