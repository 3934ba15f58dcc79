// LogSync: many wait for the disk together.
#ifndef GRIDFLOW_CORE_LOG_SYNC_H_
#define GRIDFLOW_CORE_LOG_SYNC_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/log.h"
#include "core/mutex.h"
#include "core/status.h"

namespace gridflow {

// Group commit: one sync of the log serves all records that were appended before it began. Of those who wait one does the
// sync, and the others wait for it; what is appended meanwhile waits for the next. Any thread may call it.
class LogSync {
 public:
  // A record was appended to `file`, whose bytes from `from` to `to` it is.
  void Appended(const std::shared_ptr<LogFile>& file, uint64_t from, uint64_t to, uint64_t lsn) GF_EXCLUDES(mutex_);
  // Waits until the record is on the disk. An error is also that of a sync that failed with it: it may be there or not.
  Status Wait(uint64_t lsn) GF_EXCLUDES(mutex_);

 private:
  struct Piece {
    std::shared_ptr<LogFile> file;
    uint64_t from;
    uint64_t to;
  };

  Mutex mutex_;
  Condition ended_;  // a sync has
  bool syncing_ GF_GUARDED_BY(mutex_) = false;
  std::vector<Piece> pieces_ GF_GUARDED_BY(mutex_);  // what no sync has begun with
  uint64_t appended_ GF_GUARDED_BY(mutex_) = 0;      // the last record
  uint64_t synced_ GF_GUARDED_BY(mutex_) = 0;        // the last record of a sync that has ended, well or not
  // Records from the first to the last whose sync has failed, and how: a later one that succeeds says nothing of them.
  uint64_t first_failed_ GF_GUARDED_BY(mutex_) = 0;
  uint64_t last_failed_ GF_GUARDED_BY(mutex_) = 0;
  Status failure_ GF_GUARDED_BY(mutex_);
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_LOG_SYNC_H_
