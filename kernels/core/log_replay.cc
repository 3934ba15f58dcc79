#include "core/log_replay.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "core/operation.h"

namespace gridflow {

Status LogReplay::Apply(const uint8_t* payload, uint64_t bytes, std::map<uint32_t, ReplayTarget>* targets) {
  OperationChecker operations(payload, bytes);
  Operation operation;
  while (operations.Next(&operation)) {
    if (tables_ != nullptr) tables_->insert(operation.table_id());
    const auto entry = targets->find(operation.table_id());
    if (entry == targets->end() || next_lsn_ <= entry->second.flushed_lsn) continue;
    ReplayTarget& target = entry->second;
    const Status status = CheckOperation(*target.schema, operation);
    if (!status.ok()) return Status::Corrupt(file_->path(), static_cast<int64_t>(file_->tail()), status.message);
    target.memory->Keep(file_);
    target.memory->Put(operation);
    if (target.first_lsn == 0) target.first_lsn = next_lsn_;
  }
  if (operations.status().ok()) return Status::Ok();
  return {Code::kCorrupt, file_->path() + ": an operation is cut off", file_->path(), -1};
}

Status LogReplay::OpenNext(std::shared_ptr<LogFile>* out) const {
  std::vector<std::string> paths;
  std::string gone;
  while (true) {
    GF_RETURN_IF_ERROR(ListLog(folder_, &paths));
    const auto next = file_ == nullptr ? paths.begin() : std::upper_bound(paths.begin(), paths.end(), file_->path());
    if (next == paths.end()) return Status::Ok();
    const Status status = LogFile::Open(*next, out);
    // The owner drops files, the oldest first, as soon as segments hold what is in them: one may go after it was listed.
    if (status.code != Code::kNotFound || *next == gone) return status;
    gone = *next;
  }
}

Status LogReplay::Run(uint64_t until, bool strict, std::map<uint32_t, ReplayTarget>* targets) {
  if (file_ == nullptr) {
    GF_RETURN_IF_ERROR(OpenNext(&file_));
    if (file_ == nullptr) return Status::Ok();
    next_lsn_ = file_->first_lsn();
  }
  while (next_lsn_ <= until) {
    const uint8_t* payload = nullptr;
    uint64_t bytes = 0;
    bool followed = false;
    GF_RETURN_IF_ERROR(file_->Next(next_lsn_, &payload, &bytes, &followed));
    std::shared_ptr<LogFile> file;
    if (payload == nullptr) {
      // This file is read out. The next one begins with the next lsn; what lies between two files cannot be missing.
      GF_RETURN_IF_ERROR(OpenNext(&file));
      const bool goes_on = file != nullptr && file->first_lsn() == next_lsn_;  // whatever follows here was given up
      if (followed && !goes_on && !(file_->synced() && next_lsn_ > known_))
        return Status::Corrupt(file_->path(), static_cast<int64_t>(file_->tail()),
                               "a record of the log, with more after it");
      if (file == nullptr) return Status::Ok();
      // If it does not, the owner may have written on while we looked: the rest of this file is complete now.
      if (!goes_on) GF_RETURN_IF_ERROR(file_->Next(next_lsn_, &payload, &bytes, &followed));
    }
    if (payload != nullptr) {
      GF_RETURN_IF_ERROR(Apply(payload, bytes, targets));
      ++next_lsn_;
      continue;
    }
    if (file->first_lsn() != next_lsn_) {
      // Or it has dropped files, this one before those that are missed.
      if (::access(file_->path().c_str(), F_OK) == 0)
        return Status::Corrupt(file_->path(), static_cast<int64_t>(file_->tail()),
                               "records up to the next file are missing");
      if (strict) return {Code::kNotFound, file_->path() + " was dropped meanwhile", file_->path(), -1};
    }
    next_lsn_ = file->first_lsn();
    file_ = std::move(file);
  }
  return Status::Ok();
}

Status LogReplay::Tables(std::set<uint32_t>* out) {
  std::map<uint32_t, ReplayTarget> nothing;
  tables_ = out;
  const Status status = Run(~uint64_t{0}, true, &nothing);
  tables_ = nullptr;
  return status;
}

}  // namespace gridflow
