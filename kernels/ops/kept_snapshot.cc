#include "ops/kept_snapshot.h"

#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace gridflow {
namespace ops {
namespace {

// Guarded by RegistryMutex(). An entry is there as long as somebody holds what it names, or a moment longer.
using Registry = std::map<std::pair<std::string, int64_t>, std::weak_ptr<KeptSnapshot>>;
std::mutex& RegistryMutex() {
  static std::mutex* mutex = new std::mutex;
  return *mutex;
}
Registry& All() {
  static Registry* registry = new Registry;
  return *registry;
}

}  // namespace

KeptSnapshot::KeptSnapshot(std::string directory, int64_t table_id)
    : directory_(std::move(directory)), table_id_(table_id) {}

std::shared_ptr<KeptSnapshot> KeptSnapshot::Of(const std::string& directory, int64_t table_id) {
  std::lock_guard<std::mutex> lock(RegistryMutex());
  std::weak_ptr<KeptSnapshot>& entry = All()[{directory, table_id}];
  std::shared_ptr<KeptSnapshot> found = entry.lock();
  if (found == nullptr) {
    found.reset(new KeptSnapshot(directory, table_id));
    entry = found;
  }
  return found;
}

KeptSnapshot::~KeptSnapshot() {
  std::lock_guard<std::mutex> lock(RegistryMutex());
  const auto entry = All().find({directory_, table_id_});
  // Another one may have been made between the last holder's leaving and now.
  if (entry != All().end() && entry->second.expired()) All().erase(entry);
}

Status KeptSnapshot::Open(uint64_t version, std::shared_ptr<const TableSnapshot>* out) {
  if (table_id_ < 0 || table_id_ > std::numeric_limits<uint32_t>::max())
    return Status::Invalid(absl::StrCat("impossible table_id ", table_id_));
  uint64_t number;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    number = ++opened_;
  }
  std::shared_ptr<const TableSnapshot> snapshot;
  const Status status = TableSnapshot::Open(directory_, static_cast<uint32_t>(table_id_), version, &snapshot);
  if (!status.ok()) snapshot = nullptr;
  *out = snapshot;
  {
    std::lock_guard<std::mutex> lock(mutex_);
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
