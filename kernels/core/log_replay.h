// LogReplay: reads the log in order and hands each table its operations. The owner recovers with it, readers follow
// the owner with it.
#ifndef GRIDFLOW_CORE_LOG_REPLAY_H_
#define GRIDFLOW_CORE_LOG_REPLAY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/log.h"
#include "core/memory_table.h"
#include "core/schema.h"
#include "core/status.h"

namespace gridflow {

// Where a table's operations go. Both must outlive the replay.
struct ReplayTarget {
  uint64_t flushed_lsn = 0;
  const Schema* schema = nullptr;
  MemoryTable* memory = nullptr;
  uint64_t first_lsn = 0;  // of the oldest operation in `memory`; 0: it is empty
};

// Not thread-safe.
class LogReplay {
 public:
  // `known`: the last record that is sure to have been written, see ControlPage::KnownLsn.
  explicit LogReplay(std::string folder, uint64_t known = ~uint64_t{0}) : folder_(std::move(folder)), known_(known) {}

  // Applies every record up to `until` (all there are, if it is the largest number) to `targets`, by table id;
  // operations of tables that are not among them are passed over. Only the end of a log may be torn; records missing
  // between two files are kCorrupt, and so is one that others follow, but for what GF_LOG_SYNCED says. Where the owner
  // drops files meanwhile, strict replay (recovery, a check) gives kNotFound, and a reader goes on after them: the
  // control page's generation, looked at afterwards, tells whether the segments that it has open hold what was in them.
  Status Run(uint64_t until, bool strict, std::map<uint32_t, ReplayTarget>* targets);

  // Reads every record there is, strictly, and adds the numbers of the tables that have operations there.
  Status Tables(std::set<uint32_t>* out);

  // The lsn of the next record; 0 if there is no log.
  uint64_t next_lsn() const { return next_lsn_; }

 private:
  // Opens the file after file_, or the oldest there is; null if there is none.
  Status OpenNext(std::shared_ptr<LogFile>* out) const;
  Status Apply(const uint8_t* payload, uint64_t bytes, std::map<uint32_t, ReplayTarget>* targets);

  const std::string folder_;
  const uint64_t known_;
  std::set<uint32_t>* tables_ = nullptr;  // where Tables() wants them
  std::shared_ptr<LogFile> file_;
  uint64_t next_lsn_ = 0;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_LOG_REPLAY_H_
