// The owner's end of rings (ring_format.h): one OwnerRing for each client, and the RingSet that waits for all of them.
#ifndef GRIDFLOW_CORE_RING_OWNER_H_
#define GRIDFLOW_CORE_RING_OWNER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "core/ring_memory.h"
#include "core/status.h"
#include "gridflow/ring_format.h"

namespace gridflow {

// A request, copied out of a ring: the client cannot change it any more.
struct RingRequest {
  uint64_t at = 0;    // where its record is
  uint32_t room = 0;  // of the record
  uint32_t kind = 0;  // GF_RING_COMMIT or GF_RING_MESSAGE
  std::string bytes;
};

// One client's ring. The client may write anything at any time: nothing that is read here is used before it was copied and
// checked, and nothing is written but into the ring. One thread takes requests; any thread may answer.
class OwnerRing {
 public:
  // Takes over a ring that a client has made. kCorrupt, kVersion: it is none, or of another release.
  static Status Open(const std::string& path, std::shared_ptr<OwnerRing>* out);

  // Whether there is a request, or something else to look at. Costs a load.
  bool ready() const { return head() != position_ || left(); }
  // The next request; *there is false if there is none. kInvalid: this is nothing that a client writes; refuse the ring.
  Status Next(RingRequest* out, bool* there);
  // Writes the answer, of at most kLeastAnswer bytes, and wakes who waits for it.
  void Answer(const RingRequest& request, uint32_t kind, uint64_t count, const std::string& bytes);
  static constexpr size_t kLeastAnswer = GF_RING_LEAST_ROOM - sizeof(gf_ring_record);
  // Takes no more; says why.
  void Close(gf_ring_closed why, const std::string& reason);

  // Whether the client has said that nothing more comes.
  bool left() const { return __atomic_load_n(&header()->left, __ATOMIC_ACQUIRE) != 0; }
  // The process that has the ring open, as SharedMemory::Holder.
  Status Holder(pid_t* out) const { return memory_->Holder(out); }
  const std::string& path() const { return memory_->path(); }

 private:
  OwnerRing() = default;
  gf_ring_header* header() const { return reinterpret_cast<gf_ring_header*>(memory_->data()); }
  uint64_t head() const { return __atomic_load_n(&header()->head, __ATOMIC_ACQUIRE); }

  std::unique_ptr<SharedMemory> memory_;
  uint64_t position_ = 0;  // bytes that were taken
};

// For a ring that a node has left that died: its clients learn that it is lost, and the file goes.
void DiscardRing(const std::string& path);

// The rings of a node. Wait() is for one thread, which takes their requests; the rest is for any.
class RingSet {
 public:
  static Status Create(const std::string& bell, std::unique_ptr<RingSet>* out);

  void Add(const std::shared_ptr<OwnerRing>& ring) GF_EXCLUDES(mutex_);
  void Remove(const OwnerRing* ring) GF_EXCLUDES(mutex_);
  std::vector<std::shared_ptr<OwnerRing>> rings() const GF_EXCLUDES(mutex_);

  // Waits until a ring is ready, a client has announced a request, or Wake() was called since it last returned. Spins while
  // requests come one soon after the other, and after an announcement; else it sleeps, and nothing runs until a client
  // rings.
  void Wait() GF_EXCLUDES(mutex_);
  void Wake();

 private:
  RingSet() = default;
  bool Ready();

  std::unique_ptr<RingBell> bell_;
  std::atomic<bool> woken_{false};
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<OwnerRing>> rings_ GF_GUARDED_BY(mutex_);
  std::atomic<uint64_t> changes_{1};  // of rings_
  // Of the thread that waits: rings_ as it was after `seen_changes_` changes.
  std::vector<std::shared_ptr<OwnerRing>> seen_;
  uint64_t seen_changes_ = 0;
  bool announced_ = false;
  Patience patience_{kMostSpinNs};
  Patience after_announcement_{kMostAnnouncedNs};

  static constexpr int64_t kMostSpinNs = 50'000;
  static constexpr int64_t kMostAnnouncedNs = 200'000;  // what a row of a hundred bytes takes in a client that slept
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_RING_OWNER_H_
