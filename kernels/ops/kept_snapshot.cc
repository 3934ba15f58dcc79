#include "ops/kept_snapshot.h"

#include <algorithm>
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

// Whether two are the same version. By mappings and not by number alone: a grid that was removed and made again in the
// same place gives the numbers out again.
bool IsSame(const TableSnapshot& one, const TableSnapshot& other) {
  const auto same = [](const SegmentRef& a, const SegmentRef& b) {
    return a.segment == b.segment && (a.deletions == nullptr) == (b.deletions == nullptr);
  };
  const auto same_file = [](const gf_manifest_segment& a, const gf_manifest_segment& b) {
    return a.segment_id == b.segment_id && a.deletions_id == b.deletions_id;
  };
  const std::vector<gf_manifest_segment>& files = one.manifest().segments;
  const std::vector<gf_manifest_segment>& other_files = other.manifest().segments;
  return one.manifest().version == other.manifest().version && !one.segments().empty() &&
         std::equal(one.segments().begin(), one.segments().end(), other.segments().begin(), other.segments().end(), same) &&
         std::equal(files.begin(), files.end(), other_files.begin(), other_files.end(), same_file);
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
  std::shared_ptr<const RowPlan> old_plan;
  const Status status = TableSnapshot::Open(directory_, static_cast<uint32_t>(table_id_), version, &snapshot);
  if (!status.ok()) snapshot = nullptr;
  {
    MutexLock lock(&mutex_);
    // Who began first may end last, and has the older version then. Versions themselves do not tell: those of a grid
    // that was removed and made again in the same place begin anew.
    Last& last = version == TableSnapshot::kCurrent ? current_ : past_;
    if (snapshot != nullptr && last.snapshot != nullptr && IsSame(*snapshot, *last.snapshot)) snapshot = last.snapshot;
    *out = snapshot;
    if (number > last.kept_by) {
      last.kept_by = number;
      last.snapshot.swap(snapshot);
      if (plan_ != nullptr && &plan_->snapshot() == snapshot.get() && last.snapshot != snapshot) plan_.swap(old_plan);
    }
  }
  return status;  // the older snapshot goes here, without the mutex: to unmap takes its time
}

Status KeptSnapshot::Plan(const std::shared_ptr<const TableSnapshot>& snapshot, const std::vector<int64_t>& partitions,
                          std::shared_ptr<const RowPlan>* out) {
  {
    MutexLock lock(&mutex_);
    if (plan_ != nullptr && &plan_->snapshot() == snapshot.get() && partitions_ == partitions) {
      *out = plan_;
      return Status::Ok();
    }
  }
  GF_RETURN_IF_ERROR(RowPlan::Make(snapshot, partitions, out));
  std::shared_ptr<const RowPlan> plan = *out;  // and then the older one, which goes after the mutex
  MutexLock lock(&mutex_);
  // Kept for who reads what is kept; else it would hold files of a version that has gone.
  if (snapshot == current_.snapshot || snapshot == past_.snapshot) {
    plan_.swap(plan);
    partitions_ = partitions;
  }
  return Status::Ok();
}

}  // namespace ops
}  // namespace gridflow
