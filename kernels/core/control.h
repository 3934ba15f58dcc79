// ControlPage: how readers learn that there is something new, without asking the owner (gf_control).
#ifndef GRIDFLOW_CORE_CONTROL_H_
#define GRIDFLOW_CORE_CONTROL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/status.h"
#include "gridflow/manifest_format.h"

namespace gridflow {

// The grid's control file, mapped. The owner is the only writer; readers may load at any time from any thread.
class ControlPage {
 public:
  // Owner: makes the file if it is missing or damaged, keeping a generation that readers may have seen.
  static Status Create(const std::string& path, uint64_t pid, std::shared_ptr<ControlPage>* out);
  static Status Open(const std::string& path, std::shared_ptr<ControlPage>* out);
  ~ControlPage();
  ControlPage(const ControlPage&) = delete;
  ControlPage& operator=(const ControlPage&) = delete;

  uint64_t generation() const { return __atomic_load_n(&page_->generation, __ATOMIC_ACQUIRE); }
  uint64_t committed_lsn() const { return __atomic_load_n(&page_->committed_lsn, __ATOMIC_ACQUIRE); }
  // What a reader has seen; both grow.
  struct Seen {
    uint64_t generation;
    uint64_t committed_lsn;
  };
  Seen Now() const { return {generation(), committed_lsn()}; }
  // Waits until there is something that was not there at `seen`: a commit, a new version, another table. Returns false
  // if `timeout_ms` pass without it (a negative number never does), or `cancelled`, which is asked every few
  // milliseconds, says so. Take `seen` before you read, and whatever comes while you read ends the next wait.
  bool Wait(const Seen& seen, int64_t timeout_ms, const std::function<bool()>& cancelled) const;
  // Of the last owner, dead or alive.
  uint64_t owner_pid() const { return __atomic_load_n(&page_->owner_pid, __ATOMIC_ACQUIRE); }
  void Bump() { __atomic_add_fetch(&page_->generation, 1, __ATOMIC_RELEASE); }
  // Owner, once its log is recovered and ends with that record: from now on a log that ends earlier is damaged, but if
  // the records up to `dropped` are in segments.
  void Recovered(uint64_t committed, uint64_t dropped);
  // Owner, before it unlinks the last file of the log, whose records up to `lsn` are all in segments.
  void Drop(uint64_t lsn) { __atomic_store_n(&page_->dropped_lsn, lsn, __ATOMIC_RELEASE); }
  // Owner, after each change of the catalog.
  void Catalog(uint64_t version) { __atomic_store_n(&page_->catalog_version, version, __ATOMIC_RELEASE); }
  uint64_t catalog_version() const { return __atomic_load_n(&page_->catalog_version, __ATOMIC_ACQUIRE); }
  // Owner: the records up to that one are on the disk.
  void Synced(uint64_t lsn);
  // The last record that is sure to have been written, as the owner of this run of the machine said, or to the disk.
  uint64_t KnownLsn() const;
  void Commit(uint64_t lsn) { __atomic_store_n(&page_->committed_lsn, lsn, __ATOMIC_RELEASE); }

  // kCorrupt if the log in `folder`, whose last record is `end` (0: it has none), has lost commits. `committed` is
  // committed_lsn() from before the log was read.
  Status CheckLogEnd(const std::string& folder, uint64_t committed, uint64_t end) const;
  // kCorrupt if the catalog at `path`, of which `bytes` bytes are of version `version`, has lost changes. `changed` is
  // catalog_version() from before it was read.
  Status CheckCatalog(const std::string& path, uint64_t changed, uint64_t version, uint64_t bytes) const;

  // Whether the machine has not been started since the page was written; else it may be older than the rest of the grid.
  bool IsOfThisBoot() const;

 private:
  ControlPage() = default;
  static Status Map(const std::string& path, bool writable, std::shared_ptr<ControlPage>* out);
  gf_control* page_ = nullptr;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_CONTROL_H_
