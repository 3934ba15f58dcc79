#include "core/memory_table.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace gridflow {

// The slot of the key, or the empty one where it would go. Partitions take a hash's high bits, slots its low ones.
size_t MemoryTable::Slot(uint64_t hash, const uint8_t* key, size_t key_bytes) const {
  const size_t mask = slots_.size() - 1;
  GF_DCHECK((slots_.size() & mask) == 0 && size_ < slots_.size());  // so the search ends
  size_t at = static_cast<size_t>(hash) & mask;
  for (; slots_[at].operation.bytes() != nullptr; at = (at + 1) & mask) {
    const MemoryEntry& entry = slots_[at];
    if (entry.hash != hash) continue;
    __builtin_prefetch(entry.operation.bytes() + 64);  // most likely it is the one, and its value is read next
    __builtin_prefetch(entry.operation.bytes() + 128);
    if (entry.operation.key_bytes() == key_bytes && std::memcmp(entry.operation.key(), key, key_bytes) == 0) break;
  }
  return at;
}

void MemoryTable::Put(uint64_t hash, Operation operation) {
  GF_DCHECK(!kept_.empty());
  if ((size_ + 1) * 4 > slots_.size() * 3) Grow();
  MemoryEntry& entry = slots_[Slot(hash, operation.key(), operation.key_bytes())];
  if (entry.operation.bytes() == nullptr) ++size_;
  entry = {hash, operation};
  bytes_ += operation.all_bytes();
}

void MemoryTable::PutRun(OperationWalk* walk) {
  const uint32_t table_id = walk->operation().table_id();
  for (; !walk->AtEnd() && walk->operation().table_id() == table_id; walk->Next()) Put(walk->operation());
}

void MemoryTable::Absorb(const MemoryTable& newer) {
  kept_.insert(kept_.end(), newer.kept_.begin(), newer.kept_.end());
  for (const MemoryEntry& entry : newer.slots_)
    if (entry.operation.bytes() != nullptr) Put(entry.hash, entry.operation);
}

const MemoryEntry* MemoryTable::Find(uint64_t hash, const uint8_t* key, size_t key_bytes) const {
  if (size_ == 0) return nullptr;
  const MemoryEntry& entry = slots_[Slot(hash, key, key_bytes)];
  return entry.operation.bytes() == nullptr ? nullptr : &entry;
}

void MemoryTable::Grow() {
  Slots old(slots_.size() * 2);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const MemoryEntry& entry : old) {
    if (entry.operation.bytes() == nullptr) continue;
    size_t at = static_cast<size_t>(entry.hash) & mask;
    while (slots_[at].operation.bytes() != nullptr) at = (at + 1) & mask;
    slots_[at] = entry;
  }
}

std::vector<MemoryEntry> MemoryTable::Sorted() const {
  std::vector<MemoryEntry> entries;
  entries.reserve(size_);
  for (const MemoryEntry& entry : slots_)
    if (entry.operation.bytes() != nullptr) entries.push_back(entry);
  std::sort(entries.begin(), entries.end(),
            [](const MemoryEntry& a, const MemoryEntry& b) {
              if (a.hash != b.hash) return a.hash < b.hash;
              const size_t shorter = std::min(a.operation.key_bytes(), b.operation.key_bytes());
              const int sign = std::memcmp(a.operation.key(), b.operation.key(), shorter);
              return sign != 0 ? sign < 0 : a.operation.key_bytes() < b.operation.key_bytes();
            });
  return entries;
}

}  // namespace gridflow
