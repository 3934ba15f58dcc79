#include "core/ring_owner.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/failpoint.h"
#include "core/ring_checksum.h"

namespace gridflow {
namespace {

void CloseRing(gf_ring_header* header, gf_ring_closed why, const std::string& reason) {
  const size_t bytes = std::min(reason.size(), sizeof(header->reason) - 1);
  std::memcpy(header->reason, reason.data(), bytes);
  header->reason[bytes] = 0;
  __atomic_store_n(&header->closed, static_cast<uint32_t>(why), __ATOMIC_RELEASE);
}

constexpr size_t kFileBytes = GF_RING_HEADER_BYTES + GF_RING_CAPACITY;

}  // namespace

Status OwnerRing::Open(const std::string& path, std::shared_ptr<OwnerRing>* out) {
  std::shared_ptr<OwnerRing> ring(new OwnerRing);
  GF_RETURN_IF_ERROR(SharedMemory::Open(path, kFileBytes, &ring->memory_));
  gf_ring_header copy;
  std::memcpy(&copy, ring->header(), sizeof(copy));
  if (copy.magic != GF_RING_MAGIC) return Status::Corrupt(path, 0, "this is not a ring");
  if (copy.version != GF_RING_VERSION) return Status::Version(path, copy.version, GF_RING_VERSION);
  if (copy.capacity != GF_RING_CAPACITY) return Status::Corrupt(path, 12, "a ring of another capacity");
  *out = std::move(ring);
  return Status::Ok();
}

Status OwnerRing::Next(RingRequest* out, bool* there) {
  for (bool skipped = false;;) {
    *there = false;
    const uint64_t behind = head() - position_;
    if (behind == 0) return Status::Ok();
    const uint64_t at = position_ % GF_RING_CAPACITY;
    if (behind > GF_RING_CAPACITY || behind % GF_RING_ALIGNMENT != 0)
      return Status::Invalid("it says that it has published " + std::to_string(behind) + " bytes at once");
    const uint8_t* from = memory_->data() + GF_RING_HEADER_BYTES + at;
    gf_ring_record record;
    std::memcpy(&record, from, sizeof(record));
    if (record.room < sizeof(record) || record.room % GF_RING_ALIGNMENT != 0 || record.room > behind ||
        record.room > GF_RING_CAPACITY - at)
      return Status::Invalid("a request says that it has a room of " + std::to_string(record.room) + " bytes");
    const bool skip = record.kind == GF_RING_SKIP;
    if (record.bytes > record.room - sizeof(record) || (skip && record.bytes != 0))
      return Status::Invalid("a request says that it has " + std::to_string(record.bytes) + " bytes");
    if (!skip && record.kind != GF_RING_COMMIT && record.kind != GF_RING_MESSAGE)
      return Status::Invalid("a request is of kind " + std::to_string(record.kind) + ", which there is not");
    if (!skip && (record.room < GF_RING_LEAST_ROOM || record.room > GF_RING_MOST_ROOM))
      return Status::Invalid("a request says that it has a room of " + std::to_string(record.room) + " bytes");
    out->bytes.assign(reinterpret_cast<const char*>(from) + sizeof(record), record.bytes);
    record.count = 0;
    if (RingChecksum(record, out->bytes.data()) != record.crc)
      return Status::Invalid("a request's checksum does not match");
    position_ += record.room;
    if (skip && skipped) return Status::Invalid("it skips twice");  // or it could go on for ever
    skipped = skip;
    if (skip) continue;
    out->at = at;
    out->room = record.room;
    out->kind = record.kind;
    *there = true;
    GF_KILLPOINT("ring.taken");
    return Status::Ok();
  }
}

void OwnerRing::Answer(const RingRequest& request, uint32_t kind, uint64_t count, const std::string& bytes) {
  GF_DCHECK(bytes.size() <= kLeastAnswer);
  GF_KILLPOINT("ring.answer");
  auto* to = reinterpret_cast<gf_ring_record*>(memory_->data() + GF_RING_HEADER_BYTES + request.at);
  to->kind = kind;
  to->count = count;
  to->bytes = static_cast<uint32_t>(bytes.size());
  if (!bytes.empty()) std::memcpy(reinterpret_cast<uint8_t*>(to) + sizeof(*to), bytes.data(), bytes.size());
  const uint32_t before = __atomic_exchange_n(&to->state, GF_RING_ANSWERED, __ATOMIC_SEQ_CST);
  if (before == GF_RING_AWAITED) FutexWake(&to->state, 1);
}

void OwnerRing::Close(gf_ring_closed why, const std::string& reason) { CloseRing(header(), why, reason); }

void DiscardRing(const std::string& path) {
  std::unique_ptr<SharedMemory> memory;
  if (SharedMemory::Open(path, kFileBytes, &memory).ok())
    CloseRing(reinterpret_cast<gf_ring_header*>(memory->data()), GF_RING_LOST, "the node has died");
  ::unlink(path.c_str());
}

// ---- all of them ----

Status RingSet::Create(const std::string& bell, std::unique_ptr<RingSet>* out) {
  std::unique_ptr<RingSet> set(new RingSet);
  GF_RETURN_IF_ERROR(RingBell::Create(bell, &set->bell_));
  *out = std::move(set);
  return Status::Ok();
}

void RingSet::Add(const std::shared_ptr<OwnerRing>& ring) {
  {
    MutexLock lock(&mutex_);
    rings_.push_back(ring);
    changes_.fetch_add(1, std::memory_order_release);
  }
  Wake();
}

void RingSet::Remove(const OwnerRing* ring) {
  MutexLock lock(&mutex_);
  rings_.erase(std::remove_if(rings_.begin(), rings_.end(), [ring](const auto& one) { return one.get() == ring; }),
               rings_.end());
  changes_.fetch_add(1, std::memory_order_release);
}

std::vector<std::shared_ptr<OwnerRing>> RingSet::rings() const {
  MutexLock lock(&mutex_);
  return rings_;
}

bool RingSet::Ready() {
  if (woken_.load(std::memory_order_acquire)) return true;
  if (changes_.load(std::memory_order_acquire) != seen_changes_) {
    MutexLock lock(&mutex_);
    seen_ = rings_;
    seen_changes_ = changes_.load(std::memory_order_relaxed);
  }
  for (const auto& ring : seen_)
    if (ring->ready()) return true;
  return false;
}

void RingSet::Wait() {
  const auto ready = [this] { return Ready(); };
  Patience& patience = announced_ ? after_announcement_ : patience_;
  announced_ = false;
  const int64_t spin = patience.ns();
  const bool came = SpinUntil(ready, spin);
  if (spin > 0) patience.Learn(came);
  if (!came) {
    for (;;) {
      const uint32_t seen = bell_->Arm();
      if (Ready()) break;
      const bool rung = bell_->Sleep(seen);
      if (Ready()) break;
      if (rung) {
        announced_ = true;
        break;
      }
    }
    bell_->Disarm();
  }
  woken_.store(false, std::memory_order_release);
}

void RingSet::Wake() {
  woken_.store(true, std::memory_order_release);
  bell_->Wake();
}

}  // namespace gridflow
