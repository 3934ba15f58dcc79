#include "ops/kept_snapshot.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/weak_registry.h"

namespace gridflow {
namespace ops {
namespace {

using Registry = WeakRegistry<std::pair<std::string, int64_t>, KeptSnapshot>;
Registry& All() {
  static Registry* registry = new Registry;
  return *registry;
}

}  // namespace

KeptSnapshot::KeptSnapshot(std::string directory, int64_t table_id)
    : directory_(std::move(directory)), table_id_(table_id) {}

std::shared_ptr<KeptSnapshot> KeptSnapshot::Of(const std::string& directory, int64_t table_id) {
  const auto make = [&] { return std::shared_ptr<KeptSnapshot>(new KeptSnapshot(directory, table_id)); };
  return All().FindOrMake({directory, table_id}, make);
}

KeptSnapshot::~KeptSnapshot() { All().Forget({directory_, table_id_}); }

Status KeptSnapshot::Open(uint64_t version, std::shared_ptr<const TableSnapshot>* out) {
  if (table_id_ < 0 || table_id_ > std::numeric_limits<uint32_t>::max())
    return Status::Invalid(absl::StrCat("impossible table_id ", table_id_));
  uint64_t number;
  {
    MutexLock lock(&mutex_);
    number = ++opened_;
  }
  std::shared_ptr<const TableSnapshot> snapshot;
  const Status status = TableSnapshot::Open(directory_, static_cast<uint32_t>(table_id_), version, &snapshot);
  if (!status.ok()) snapshot = nullptr;
  *out = snapshot;
  {
    MutexLock lock(&mutex_);
    // Who began first may end last, and has the older version then. Versions themselves do not tell: those of a grid
    // that was removed and made again in the same place begin anew.
    Last& last = version == TableSnapshot::kCurrent ? current_ : past_;
    if (number > last.kept_by) {
      last.kept_by = number;
      last.snapshot.swap(snapshot);
    }
  }
  return status;  // the older snapshot goes here, without the mutex: to unmap takes its time
}

}  // namespace ops
}  // namespace gridflow
