// KeptSnapshot: the versions of a table that were read last, which stay mapped from one epoch to the next.
#ifndef GRIDFLOW_OPS_KEPT_SNAPSHOT_H_
#define GRIDFLOW_OPS_KEPT_SNAPSHOT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "core/row_plan.h"
#include "core/snapshot.h"
#include "core/status.h"

namespace gridflow {
namespace ops {

// core maps a file once for all who hold it, and no longer than somebody does. If that were iterators alone, an epoch
// would map all files anew and take a page fault for all their pages again, which costs more than to read them.
//
//     Python's Dataset ──> its variant tensor ──> GridflowDataset ─┐
//     datasets made of it ──> their input ──> GridflowDataset ─────┼──> KeptSnapshot ──> TableSnapshot ──> mappings
//     iterators ──> the optimized copy ──> GridflowDataset ────────┘
//
// All datasets of a table share one, so the files go with the last of them, or when an iterator finds a newer version.
// Tensors hold what they need of the files themselves. Any thread may use it.
class KeptSnapshot {
 public:
  // The one of that table; made if nobody holds it.
  static std::shared_ptr<KeptSnapshot> Of(const std::string& directory, int64_t table_id);
  ~KeptSnapshot();
  KeptSnapshot(const KeptSnapshot&) = delete;
  KeptSnapshot& operator=(const KeptSnapshot&) = delete;

  // Opens a version of the table, TableSnapshot::kCurrent or the number of one. Keeps it instead of the one kept
  // before, which it gives if it is the same; on an error it keeps none. A past version and the current one do not take
  // each other's place.
  Status Open(uint64_t version, std::shared_ptr<const TableSnapshot>* out);
  // The plan of a version's partitions (RowPlan::Make). It is kept as long as nobody asks for another: in which order the
  // rows come is worked out once for all epochs of a version.
  Status Plan(const std::shared_ptr<const TableSnapshot>& snapshot, const std::vector<int64_t>& partitions,
              std::shared_ptr<const RowPlan>* out);

 private:
  // What was opened last, of the current versions or of those asked for by number.
  struct Last {
    uint64_t kept_by = 0;                           // which call of Open() `snapshot` is from
    std::shared_ptr<const TableSnapshot> snapshot;  // null: none was opened, or the last one could not be
  };

  KeptSnapshot(std::string directory, int64_t table_id);

  const std::string directory_;
  const int64_t table_id_;
  Mutex mutex_;  // files are opened and closed without it
  uint64_t opened_ GF_GUARDED_BY(mutex_) = 0;  // calls of Open() that have begun
  Last current_ GF_GUARDED_BY(mutex_), past_ GF_GUARDED_BY(mutex_);
  std::shared_ptr<const RowPlan> plan_ GF_GUARDED_BY(mutex_);  // null: none was asked for
  std::vector<int64_t> partitions_ GF_GUARDED_BY(mutex_);      // of plan_, as they were asked for
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_KEPT_SNAPSHOT_H_
