// RingClient: the client's end of a ring (ring_format.h).
#ifndef GRIDFLOW_CORE_RING_CLIENT_H_
#define GRIDFLOW_CORE_RING_CLIENT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "core/mutex.h"
#include "core/ring_memory.h"
#include "core/status.h"
#include "gridflow/ring_format.h"

namespace gridflow {

// What was answered: kind is one of GF_RING_DONE, GF_RING_ELSEWHERE, GF_RING_ERROR.
struct RingAnswer {
  uint32_t kind = 0;
  uint64_t count = 0;
  std::string bytes;
};

// The ring of this process to one node. Any thread may call it, several at a time: each waits for its own answer.
//
// Of one process: after a fork the child lets go of it without a word (it is destroyed there, and nothing is called).
class RingClient {
 public:
  // Bytes that a request can have.
  static constexpr size_t kMostBytes = GF_RING_MOST_ROOM - sizeof(gf_ring_record);

  // Makes the ring, which nobody serves yet, and rings the owner's bell from now on. The process holds the file's lock.
  static Status Create(const std::string& path, const std::string& bell, std::unique_ptr<RingClient>* out);

  // Says that a request comes soon: the owner, if it sleeps, wakes up while that is made.
  void Announce() { bell_->Ring(); }
  // Publishes a request of these two pieces, kMostBytes at most together, and wakes the owner. *ticket is for Await and
  // Take. False if there is no room: then wait for some (AwaitRoom).
  bool Send(uint32_t kind, const void* head, size_t head_bytes, const void* body, size_t body_bytes, uint64_t* ticket)
      GF_EXCLUDES(mutex_);
  // Waits until the request is answered, at most so many nanoseconds; a signal may end it early.
  bool Await(uint64_t ticket, int64_t ns);
  // Reads the answer of a request for which Await() has returned true, and gives its room back.
  void Take(uint64_t ticket, RingAnswer* out) GF_EXCLUDES(mutex_);
  // Nobody will take the answer: its room comes back when it is there.
  void Abandon(uint64_t ticket) GF_EXCLUDES(mutex_);
  // Waits until room has come back, at most so many nanoseconds; may return without a reason.
  void AwaitRoom(int64_t ns) GF_EXCLUDES(mutex_);
  // Requests whose room has not come back.
  size_t waiting() const GF_EXCLUDES(mutex_);

  // gf_ring_closed: GF_RING_OPEN as long as the owner takes requests.
  uint32_t closed() const { return __atomic_load_n(&header()->closed, __ATOMIC_ACQUIRE); }
  // What the owner says about that.
  std::string reason() const;
  // Whether the owner lives. One that was killed says nothing.
  bool OwnerLives() const { return bell_->OwnerLives(); }
  // Tells the owner that nothing more comes. The file is the owner's to remove.
  void Leave();
  const std::string& path() const { return memory_->path(); }

 private:
  struct Record {
    uint64_t at;  // bytes published before it
    uint32_t room;
    bool over;       // its answer was taken
    bool abandoned;  // nobody will take its answer
  };

  RingClient() = default;
  gf_ring_header* header() const { return reinterpret_cast<gf_ring_header*>(memory_->data()); }
  gf_ring_record* record(uint64_t at) const {
    return reinterpret_cast<gf_ring_record*>(memory_->data() + GF_RING_HEADER_BYTES + at % GF_RING_CAPACITY);
  }
  void Reclaim() GF_REQUIRES(mutex_);
  Record* Find(uint64_t ticket) GF_REQUIRES(mutex_);

  std::unique_ptr<SharedMemory> memory_;
  std::unique_ptr<RingBell> bell_;
  mutable Mutex mutex_;
  Condition room_;                               // room has come back
  uint64_t head_ GF_GUARDED_BY(mutex_) = 0;      // bytes ever published
  uint64_t tail_ GF_GUARDED_BY(mutex_) = 0;      // of those, bytes that came back
  std::deque<Record> records_ GF_GUARDED_BY(mutex_);  // from tail_ to head_, without skipped rests
  Patience patience_{kMostSpinNs};

  static constexpr int64_t kMostSpinNs = 50'000;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_RING_CLIENT_H_
