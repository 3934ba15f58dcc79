// MemoryTable: the newest writes of one table, by key, pointing into the log.
#ifndef GRIDFLOW_CORE_MEMORY_TABLE_H_
#define GRIDFLOW_CORE_MEMORY_TABLE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/huge_pages.h"
#include "core/operation.h"

namespace gridflow {

struct MemoryEntry {
  uint64_t hash;
  Operation operation;  // none: an empty slot
};

// Open addressing by key hash; one entry a key, the last write wins, a removal is an entry too. Not thread-safe: the
// owner changes it under the interpreter's lock, and once it is frozen nobody does.
class MemoryTable {
 public:
  MemoryTable() : slots_(kFirstSlots) {}

  // `operation` must lie in a buffer that the table keeps; `hash` is that of its key.
  void Put(uint64_t hash, Operation operation);
  void Put(Operation operation) { Put(operation.key_hash(), operation); }
  // Those from where `walk` stands up to the first of another table, at which it stands afterwards.
  void PutRun(OperationWalk* walk);
  // Keeps a buffer, as a file of the log, for as long as the table lives. Costs nothing if it is the last one kept, as it
  // is with nearly every commit.
  template <typename T>
  void Keep(const std::shared_ptr<T>& buffer) {
    if (kept_.empty() || kept_.back().get() != buffer.get()) kept_.push_back(buffer);
  }
  // Takes over what a newer table holds: its entries replace this one's.
  void Absorb(const MemoryTable& newer);
  const MemoryEntry* Find(uint64_t hash, const uint8_t* key, size_t key_bytes) const;

  size_t size() const { return size_; }
  // Bytes of log that the writes took, overwritten ones too.
  uint64_t bytes() const { return bytes_; }
  // All entries, ordered by hash, and those of one hash by key.
  std::vector<MemoryEntry> Sorted() const;

 private:
  static constexpr size_t kFirstSlots = 64;  // a power of two, as every size
  size_t Slot(uint64_t hash, const uint8_t* key, size_t key_bytes) const;
  void Grow();

  using Slots = std::vector<MemoryEntry, HugePages<MemoryEntry>>;
  Slots slots_;
  std::vector<std::shared_ptr<const void>> kept_;
  size_t size_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MEMORY_TABLE_H_
