// The log: commits that are not in a segment yet (log_format.h). One for the whole grid.
#ifndef GRIDFLOW_CORE_LOG_H_
#define GRIDFLOW_CORE_LOG_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "gridflow/log_format.h"

namespace gridflow {

// One file of the log, mapped; writable in the owner. Operations in it stay where they are for as long as someone holds
// the object, also after the file is unlinked, so the memory tables point into it.
class LogFile {
 public:
  // Creates <folder>/<first_lsn>.log with room for one record of `payload` bytes at least. kFull: nothing was kept.
  // `spare` bytes stay free on the file system, and as many as the file may hold; 0: whatever there is may be taken.
  static Status Create(const std::string& folder, uint64_t first_lsn, uint64_t payload, bool durable,
                       std::shared_ptr<LogFile>* out, uint64_t spare = 0);
  // How many bytes Create asks for at the least.
  static uint64_t FirstBytes(uint64_t payload);
  // Opens an existing file to read.
  static Status Open(const std::string& path, std::shared_ptr<LogFile>* out);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t first_lsn() const { return first_lsn_; }
  uint64_t tail() const { return tail_; }
  bool synced() const { return synced_; }  // see GF_LOG_SYNCED

  // Owner: makes room for a record of `payload` bytes; *fits is false if this file may not grow so far. `spare` is as for
  // Create and counts if the file has to grow.
  Status Reserve(uint64_t payload, bool* fits, uint64_t spare = 0);
  // By how many bytes the file must grow at the least to take such a record; *fits as for Reserve.
  uint64_t Missing(uint64_t payload, bool* fits) const;
  // Owner: writes a record whose payload is the two pieces one after the other and returns where it lies.
  // Reserve(sum of both) must have said that it fits.
  const uint8_t* Append(uint64_t lsn, const void* head, uint64_t head_bytes, const void* body, uint64_t body_bytes);
  // Waits until these bytes, of records that were appended, are on the disk. Any thread may.
  Status Sync(uint64_t from, uint64_t to) const;

  // Reader: the record at tail() if it is complete and has that lsn; then tail() moves past it. *payload is null if
  // there is none (yet); then *followed says whether there is a later one in this file.
  Status Next(uint64_t lsn, const uint8_t** payload, uint64_t* bytes, bool* followed);

 private:
  LogFile() = default;
  Status Map(uint64_t bytes, bool writable);
  Status Refresh();
  bool Intact(uint64_t offset, gf_log_record* record) const;
  uint64_t LsnAt(uint64_t offset) const;
  bool Take(uint64_t lsn, const uint8_t** payload, uint64_t* bytes);

  std::string path_;
  int fd_ = -1;
  uint8_t* base_ = nullptr;
  uint64_t mapped_ = 0;   // bytes of address space
  uint64_t size_ = 0;     // bytes that the file really has: no byte beyond is ever touched
  uint64_t tail_ = 0;     // where the next record goes
  uint64_t first_lsn_ = 0;
  uint64_t seed_ = 0;
  bool synced_ = false;
};

// The files of a log folder, by first lsn.
Status ListLog(const std::string& folder, std::vector<std::string>* paths);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_LOG_H_
