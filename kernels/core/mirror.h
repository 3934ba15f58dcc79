// A mirror: segments of which only some blocks are there, and who has the others come.
#ifndef GRIDFLOW_CORE_MIRROR_H_
#define GRIDFLOW_CORE_MIRROR_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/mapping.h"
#include "core/mutex.h"
#include "core/status.h"
#include "gridflow/mirror_format.h"
#include "gridflow/segment_format.h"

namespace gridflow {

// A segment in a mirror, and its map (mirror_format.h). Any thread may use it.
class MirrorFile {
 public:
  // The one of a mapped segment. NotFound: it has no map, or that of another file: it is being removed or made anew.
  static Status Open(const std::shared_ptr<const Mapping>& segment, std::shared_ptr<MirrorFile>* out);
  // Makes a segment of `bytes` bytes of what has come of it: its first bytes, and its last ones, in which all checksums
  // lie. Blocks among the first are there at once. Sets *head_bytes, and does nothing, if more of the first are needed.
  // Corrupt: it is not the file that has that fingerprint.
  static Status Create(const std::string& path, uint64_t bytes, uint64_t fingerprint, const uint8_t* head,
                       uint64_t* head_bytes, const uint8_t* tail, uint64_t tail_bytes);
  ~MirrorFile();

  const std::string& path() const { return segment_->path(); }
  uint64_t file_bytes() const { return segment_->size(); }
  uint64_t fingerprint() const { return header_->fingerprint; }
  bool Present(uint64_t block) const {
    return (Word(block).load(std::memory_order_acquire) >> (block % 64) & 1) != 0;
  }
  // Where blocks lie, once the header has been checked.
  Status SetLayout(uint64_t data_begin, uint64_t data_end, uint64_t blocks);
  // For tests, where $GRIDFLOW_MIRROR_GUARD is set: whoever touches a block that was not allowed ends the process.
  bool guarded() const { return guarded_; }
  void Allow(uint64_t block) const;
  uint64_t BlockBegin(uint64_t block) const { return data_begin_ + block * GF_BLOCK_BYTES; }
  uint64_t BlockBytes(uint64_t block) const {
    const uint64_t left = data_end_ - BlockBegin(block);
    return left < GF_BLOCK_BYTES ? left : uint64_t{GF_BLOCK_BYTES};
  }
  uint64_t BlockOf(uint64_t offset) const { return (offset - data_begin_) / GF_BLOCK_BYTES; }
  // A block that is there does not match its checksum: it is to come anew.
  void Forget(uint64_t block);

 private:
  friend class Fetcher;
  friend class FetchJob;
  enum State : uint8_t { kIdle, kAhead, kUrgent, kFetched };
  struct Failure {
    uint64_t number;
    Status status;
  };

  MirrorFile() = default;
  std::atomic<uint64_t>& Word(uint64_t block) const {
    return reinterpret_cast<std::atomic<uint64_t>*>(header_ + 1)[block / 64];
  }
  template <typename T>
  static std::atomic<T>& Atomic(T* value) {
    return *reinterpret_cast<std::atomic<T>*>(value);
  }
  uint32_t changes() const { return Atomic(&header_->changes).load(std::memory_order_acquire); }
  // Until a block comes in whatever process, or something else has changed, or so many nanoseconds are over.
  void Wait(uint32_t changes, int64_t ns) const;
  void Tell() const;
  // Writes a block whose bytes match their checksum.
  Status Write(uint64_t block, const uint8_t* data);
  bool Matches(uint64_t block, const uint8_t* data) const;
  // Claims a block for this process; false: another one has it.
  bool Claim(uint64_t first, uint64_t last) const;
  void Unclaim(uint64_t first, uint64_t last) const;

  std::shared_ptr<const Mapping> segment_;
  int data_fd_ = -1, map_fd_ = -1;
  gf_mirror_header* header_ = nullptr;  // mapped, and what follows it
  uint64_t map_bytes_ = 0;
  uint64_t data_begin_ = 0, data_end_ = 0;
  bool guarded_ = false;
  // What follows is the Fetcher's, under its mutex.
  std::vector<uint8_t> states_;  // of each block
  std::map<uint64_t, Failure> failures_;
  std::map<uint64_t, int64_t> claimed_elsewhere_;  // blocks that others fetch, and since when
};

// What is known of a segment in a mirror from outside.
struct MirrorUse {
  uint64_t bytes;
  uint64_t present;  // bytes of blocks that are there, about
  int64_t used;      // when somebody opened it last, in nanoseconds since 1970
  bool is_used;      // whether somebody has it open
};
// NotFound: there is no such segment.
Status LookAtMirror(const std::string& path, MirrorUse* out);

class Fetcher;

// Blocks of a file that one thread has come. Not thread-safe.
class FetchJob {
 public:
  explicit FetchJob(Fetcher* fetcher) : fetcher_(fetcher) {}
  ~FetchJob();
  const MirrorFile& file() const { return *file_; }
  // The bytes that are still to come: begin and end of each range.
  std::vector<std::pair<uint64_t, uint64_t>> Ranges() const;
  // Takes bytes of the file, in order within a range: writes each block that is whole and matches its checksum. Full:
  // there is no room.
  Status Deliver(uint64_t offset, const uint8_t* data, uint64_t bytes);
  // Before the ranges are asked for again: how many blocks did not match their checksums, and the first of these.
  uint64_t TakeDamaged(uint64_t* first);
  // Whoever waits for what has not come gets this.
  void Fail(const Status& status);

 private:
  friend class Fetcher;
  Status Finish(uint64_t block, const uint8_t* data);

  Fetcher* const fetcher_;
  std::shared_ptr<MirrorFile> file_;
  std::vector<uint64_t> blocks_;  // rising; those that are to come
  std::vector<uint8_t> part_;     // of a block of which not all has come
  uint64_t part_begin_ = 0;
  uint64_t damaged_ = 0, first_damaged_ = 0;
};

// Has blocks come: threads of Python take jobs from it and deliver. There is one in a process that all copies of core
// share (process_state.h). Any thread may call anything.
class Fetcher {
 public:
  // Waits until these blocks are there; they come before those that were only asked for.
  Status Need(const std::shared_ptr<MirrorFile>& file, uint64_t first, uint64_t last);
  // Has these blocks come, unless too much is asked for already, and does not wait.
  void Ask(const std::shared_ptr<MirrorFile>& file, uint64_t first, uint64_t last);
  // For a thread that fetches: waits for something to do. False: there is nothing to do any more.
  bool Take(FetchJob* job);
  // From now on `threads` threads fetch; none, for good, once it is closed.
  void Begin(int threads);
  void Close();

 private:
  friend class FetchJob;
  struct Run {
    std::shared_ptr<MirrorFile> file;
    uint64_t first, last;
  };
  struct Deferred {
    std::shared_ptr<MirrorFile> file;
    uint64_t block;
    int64_t until;
  };
  // Marks those of a run's blocks that nobody has asked for yet, and appends them.
  void Append(const std::shared_ptr<MirrorFile>& file, uint64_t first, uint64_t last, MirrorFile::State state,
              std::deque<Run>* queue) GF_REQUIRES(mutex_);
  // The next blocks of one file.
  bool Pick(std::shared_ptr<MirrorFile>* file, std::vector<uint64_t>* blocks) GF_REQUIRES(mutex_);
  void Claim(FetchJob* job, std::vector<uint64_t> blocks);

  Mutex mutex_;
  Condition work_;
  std::deque<Run> urgent_ GF_GUARDED_BY(mutex_), ahead_ GF_GUARDED_BY(mutex_);
  std::deque<Deferred> deferred_ GF_GUARDED_BY(mutex_);
  uint64_t ahead_blocks_ GF_GUARDED_BY(mutex_) = 0;
  uint64_t failures_ GF_GUARDED_BY(mutex_) = 0;
  int threads_ GF_GUARDED_BY(mutex_) = 0;
  bool closed_ GF_GUARDED_BY(mutex_) = false;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MIRROR_H_
