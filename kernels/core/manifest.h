// Manifest and Catalog: which files make up a table, and which tables make up a grid (manifest_format.h).
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
  // The one of a past version that is kept in a table's folder. kNotFound: it is not.
  static Status ReadKept(const std::string& folder, uint64_t version, Manifest* out);
  Status Write(const std::string& path, bool durable) const;
  // The names of the segments and deletion bitmaps, and of compressed copies of the segments, which may be there.
  std::set<std::string> Files() const;
};

struct CatalogEntry {
  uint32_t table_id = 0;
  std::string name;
  std::string options;  // JSON text as Python's json.dumps writes it
};

struct Catalog {
  uint32_t next_table_id = 1;
  uint64_t version = 0;
  std::vector<CatalogEntry> tables;

  static Status Read(const std::string& path, Catalog* out);
  Status Write(const std::string& path, bool durable) const;
  // The table of that name, or the one whose options have it as cache_name, or for SQL_PUBLIC_<name>, Ignite's name for
  // the cache of a table, that table.
  const CatalogEntry* Find(const std::string& name) const;
};

// <id as 16 hex digits><suffix>
std::string FileName(uint64_t id, const char* suffix);
// <grid>/tables/<table id>
std::string TableFolder(const std::string& grid, uint32_t table_id);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MANIFEST_H_
