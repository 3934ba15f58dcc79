#include "core/log_sync.h"

#include <algorithm>
#include <utility>

#include "core/failpoint.h"

namespace gridflow {
namespace {

Status SyncPiece(const LogFile& file, uint64_t from, uint64_t to) {
  GF_FAILPOINT("log.sync");
  return file.Sync(from, to);
}

}  // namespace

void LogSync::Appended(const std::shared_ptr<LogFile>& file, uint64_t from, uint64_t to, uint64_t lsn) {
  MutexLock lock(&mutex_);
  if (!pieces_.empty() && pieces_.back().file == file)
    pieces_.back().to = to;
  else
    pieces_.push_back({file, from, to});
  appended_ = lsn;
}

Status LogSync::Wait(uint64_t lsn) {
  MutexLock lock(&mutex_);
  lsn = std::min(lsn, appended_);  // there may be numbers that no record has: Store.admit() passes over some
  while (synced_ < lsn) {
    if (syncing_) {
      ended_.Wait(&mutex_);
      continue;
    }
    syncing_ = true;
    const std::vector<Piece> group = std::exchange(pieces_, {});
    const uint64_t last = appended_;
    mutex_.Unlock();
    Status status;
    for (const Piece& piece : group)
      if (status.ok()) status = SyncPiece(*piece.file, piece.from, piece.to);
    mutex_.Lock();
    if (!status.ok()) {
      if (last_failed_ == 0) first_failed_ = synced_ + 1;
      last_failed_ = last;
      failure_ = status;
    }
    synced_ = last;
    syncing_ = false;
    ended_.NotifyAll();
  }
  return first_failed_ <= lsn && lsn <= last_failed_ ? failure_ : Status::Ok();
}

}  // namespace gridflow
