// What segments and files of deletions say of themselves, for who copies them and reads no rows.
#ifndef GRIDFLOW_CORE_SEALED_BYTES_H_
#define GRIDFLOW_CORE_SEALED_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/status.h"

namespace gridflow {

// The header of a sealed file, before and after its number is another one: a copy in another table has that table's
// numbers, and only its header differs.
struct SealedHead {
  bool is_segment = false;
  uint64_t head_bytes = 0;   // of the header, with the schema and the directory of a segment
  uint64_t file_bytes = 0;   // of a segment; 0 of deletions, whose header does not say
  uint64_t rows = 0;
  uint64_t deleted = 0;      // of deletions
  uint32_t table_id = 0;     // of a segment
  uint64_t segment_id = 0;
  uint64_t bitmap_id = 0;    // of a list of deleted rows
  uint32_t header_crc = 0;
  uint32_t body_crc = 0;     // of deletions; that of a segment is at its end

  // Of the first bytes of a file; `name` is for messages. Checks magic and version, and the checksum if `bytes` are all of
  // the header.
  static Status Read(const std::string& name, const uint8_t* data, size_t bytes, SealedHead* out);
};

// Gives a header, which is all there, other numbers; `table_id` counts for segments, `bitmap_id` for lists of deleted
// rows.
Status Renumber(const std::string& name, uint32_t table_id, uint64_t segment_id, uint64_t bitmap_id, std::string* head);

// Checks every byte of a file against its checksums.
Status CheckSealed(const std::string& name, const uint8_t* data, size_t bytes);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_SEALED_BYTES_H_
