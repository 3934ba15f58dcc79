// Catalog: which tables make up a grid (catalog_format.h).
#ifndef GRIDFLOW_CORE_CATALOG_H_
#define GRIDFLOW_CORE_CATALOG_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/status.h"
#include "gridflow/catalog_format.h"

namespace gridflow {

struct CatalogEntry {
  uint32_t table_id = 0;
  std::string name;
  std::string options;  // JSON text as Python's json.dumps writes it
  // What has come to the tags in `options` since: a tag's version, 0 for one that is gone.
  std::map<std::string, uint64_t> tags = {};
};

// One change of a catalog.
struct CatalogChange {
  uint64_t version = 0;
  uint32_t next_table_id = 0;
  uint8_t kind = 0;    // GF_CHANGE_...
  CatalogEntry entry;  // of a put; of the others only its number counts
  std::string tag;
  uint64_t tagged = 0;
};

// A catalog as it is read. Who writes it is the owner, one thread at a time; others may read it meanwhile.
struct Catalog {
  uint32_t next_table_id = 1;
  uint64_t version = 0;
  std::vector<CatalogEntry> tables;
  uint64_t body_bytes = 0;  // of what was written whole
  uint64_t end = 0;         // where the next change goes; 0: the file is of a format that none can be appended to

  static Status Read(const std::string& path, Catalog* out);
  // Replaces the file; tags must be in the options. Sets body_bytes and end.
  Status Write(const std::string& path, bool durable);
  // Appends a change at *end, which moves. On any error nothing has changed.
  static Status Append(const std::string& path, const CatalogChange& change, bool durable, uint64_t* end);
  // The table of that name, or the one whose options have it as cache_name, or for SQL_PUBLIC_<name>, Ignite's name for
  // the cache of a table, that table.
  const CatalogEntry* Find(const std::string& name) const;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_CATALOG_H_
