// Manifest: which files make up a version of a table (manifest_format.h).
#ifndef GRIDFLOW_CORE_MANIFEST_H_
#define GRIDFLOW_CORE_MANIFEST_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/schema.h"
#include "core/status.h"
#include "gridflow/manifest_format.h"

namespace gridflow {

struct Manifest {
  uint32_t table_id = 0;
  uint32_t partitions = 0;
  uint64_t version = 0;
  uint64_t flushed_lsn = 0;
  uint64_t next_file_id = 1;
  Schema schema;
  std::vector<gf_manifest_segment> segments;  // oldest first

  static Status Read(const std::string& path, Manifest* out);
  // Of bytes; `name` is for messages.
  static Status Parse(const std::string& name, const uint8_t* data, size_t bytes, Manifest* out);
  // The one of a past version that is kept in a table's folder. kNotFound: it is not.
  static Status ReadKept(const std::string& folder, uint64_t version, Manifest* out);
  Status Write(const std::string& path, bool durable) const;
  // What Write() writes.
  std::string Bytes() const;
  // The names of the segments and what is deleted of them, and of compressed copies of the segments, which may be there.
  std::set<std::string> Files() const;
};

// <id as 16 hex digits><suffix>
std::string FileName(uint64_t id, const char* suffix);
// <grid>/tables/<table id>
std::string TableFolder(const std::string& grid, uint32_t table_id);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MANIFEST_H_
