// What holds of every manifest, and between one version of a table and a later one, as predicates with names.
#ifndef GRIDFLOW_CORE_MANIFEST_INVARIANTS_H_
#define GRIDFLOW_CORE_MANIFEST_INVARIANTS_H_

#include <string>
#include <vector>

#include "core/manifest.h"

namespace gridflow {

struct ManifestInvariant {
  const char* name;
  const char* reason;  // what would go wrong without it
  bool to_read;        // a manifest that breaks it is not even opened
  bool (*holds)(const Manifest& manifest);
};
const std::vector<ManifestInvariant>& ManifestInvariants();

struct SuccessionInvariant {
  const char* name;
  const char* reason;
  bool next;  // it holds of a version and the very next one; the others of any earlier and later one
  bool (*holds)(const Manifest& earlier, const Manifest& later);
};
const std::vector<SuccessionInvariant>& SuccessionInvariants();

// Name and reason of the first invariant that does not hold; empty if all do. With `to_read` only those that a reader
// relies on are looked at, with `next` those of the very next version, too.
std::string BrokenInvariant(const Manifest& manifest, bool to_read = false);
std::string BrokenSuccession(const Manifest& earlier, const Manifest& later, bool next = false);

// kCorrupt, naming `file`, if an invariant does not hold of a version, or between it and a later one (null: there is
// none).
Status VerifyManifest(const std::string& file, const Manifest& manifest, const Manifest* later);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MANIFEST_INVARIANTS_H_
