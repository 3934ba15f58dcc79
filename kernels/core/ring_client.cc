#include "core/ring_client.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/checksum.h"
#include "core/failpoint.h"
#include "core/ring_checksum.h"

namespace gridflow {

Status RingClient::Create(const std::string& path, const std::string& bell, std::unique_ptr<RingClient>* out) {
  std::unique_ptr<RingClient> client(new RingClient);
  GF_RETURN_IF_ERROR(RingBell::Open(bell, &client->bell_));
  GF_RETURN_IF_ERROR(SharedMemory::Create(path, GF_RING_HEADER_BYTES + GF_RING_CAPACITY, &client->memory_));
  gf_ring_header* header = client->header();
  header->magic = GF_RING_MAGIC;
  header->version = GF_RING_VERSION;
  header->capacity = GF_RING_CAPACITY;
  GF_RETURN_IF_ERROR(client->memory_->Hold());
  *out = std::move(client);
  return Status::Ok();
}

bool RingClient::Send(uint32_t kind, const void* head, size_t head_bytes, const void* body, size_t body_bytes,
                      uint64_t* ticket) {
  const size_t bytes = head_bytes + body_bytes;
  GF_DCHECK(bytes <= kMostBytes);
  const uint64_t need = std::max<uint64_t>(
      (sizeof(gf_ring_record) + bytes + GF_RING_ALIGNMENT - 1) / GF_RING_ALIGNMENT * GF_RING_ALIGNMENT,
      GF_RING_LEAST_ROOM);
  MutexLock lock(&mutex_);
  Reclaim();
  const uint64_t to_end = GF_RING_CAPACITY - head_ % GF_RING_CAPACITY;
  const uint64_t skipped = need > to_end ? to_end : 0;
  if (need + skipped > GF_RING_CAPACITY - (head_ - tail_)) return false;
  if (skipped > 0) {
    gf_ring_record skip = {};
    skip.room = static_cast<uint32_t>(skipped);
    skip.kind = GF_RING_SKIP;
    skip.crc = RingChecksum(skip, nullptr);
    std::memcpy(record(head_), &skip, sizeof(skip));
    head_ += skipped;
  }
  gf_ring_record* to = record(head_);
  auto* payload = reinterpret_cast<uint8_t*>(to) + sizeof(*to);
  gf_ring_record made = {};
  made.state = GF_RING_ASKED;
  made.room = static_cast<uint32_t>(need);
  made.kind = kind;
  made.bytes = static_cast<uint32_t>(bytes);
  std::memcpy(payload, head, head_bytes);
  if (body_bytes > 0) std::memcpy(payload + head_bytes, body, body_bytes);
  GF_KILLPOINT("ring.write");
  made.crc = RingChecksum(made, payload);
  std::memcpy(to, &made, sizeof(made));
  *ticket = head_;
  records_.push_back({head_, made.room, false, false});
  head_ += need;
  // The request counts from this store on.
  __atomic_store_n(&header()->head, head_, __ATOMIC_RELEASE);
  GF_KILLPOINT("ring.published");
  bell_->Ring();
  return true;
}

bool RingClient::Await(uint64_t ticket, int64_t ns) {
  uint32_t* state = &record(ticket)->state;
  const auto answered = [state] { return __atomic_load_n(state, __ATOMIC_ACQUIRE) == GF_RING_ANSWERED; };
  const int64_t spin = std::min(ns, patience_.ns());
  bool done = SpinUntil(answered, spin);
  if (spin > 0) patience_.Learn(done);
  if (!done) {
    uint32_t asked = GF_RING_ASKED;
    __atomic_compare_exchange_n(state, &asked, GF_RING_AWAITED, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    if (!answered()) FutexWait(state, GF_RING_AWAITED, ns);
    done = answered();
  }
  return done;
}

void RingClient::Take(uint64_t ticket, RingAnswer* out) {
  const gf_ring_record* from = record(ticket);
  MutexLock lock(&mutex_);
  Record* mine = Find(ticket);
  out->kind = from->kind;
  out->count = from->count;
  const size_t bytes = std::min<size_t>(from->bytes, mine->room - sizeof(*from));
  out->bytes.assign(reinterpret_cast<const char*>(from) + sizeof(*from), bytes);
  mine->over = true;
  Reclaim();
}

void RingClient::Abandon(uint64_t ticket) {
  MutexLock lock(&mutex_);
  Find(ticket)->abandoned = true;
}

RingClient::Record* RingClient::Find(uint64_t ticket) {
  for (Record& one : records_)
    if (one.at == ticket) return &one;
  GF_DCHECK(false);
  return nullptr;
}

void RingClient::Reclaim() {
  const uint64_t before = tail_;
  while (!records_.empty()) {
    const Record& oldest = records_.front();
    const bool over = oldest.over || (oldest.abandoned && __atomic_load_n(&record(oldest.at)->state, __ATOMIC_ACQUIRE) ==
                                                              GF_RING_ANSWERED);
    if (!over) break;
    tail_ = oldest.at + oldest.room;
    records_.pop_front();
  }
  if (tail_ != before) room_.NotifyAll();
}

void RingClient::AwaitRoom(int64_t ns) {
  MutexLock lock(&mutex_);
  room_.WaitFor(&mutex_, ns);
}

size_t RingClient::waiting() const {
  MutexLock lock(&mutex_);
  return records_.size();
}

std::string RingClient::reason() const {
  const gf_ring_header* from = header();
  return std::string(from->reason, ::strnlen(from->reason, sizeof(from->reason)));
}

void RingClient::Leave() {
  __atomic_store_n(&header()->left, 1, __ATOMIC_RELEASE);
  bell_->Ring();
}

}  // namespace gridflow
