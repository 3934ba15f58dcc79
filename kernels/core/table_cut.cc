#include "core/table_cut.h"

#include "core/key_hash.h"
#include "core/row_codec.h"
#include "core/table_edit.h"

namespace gridflow {

Status TableCut::Find(uint64_t hash, const uint8_t* key, size_t key_bytes, const uint8_t** value, int* segment,
                      int64_t* row) const {
  *value = nullptr;
  *segment = -1;
  for (const std::shared_ptr<const MemoryTable>& table : memory) {
    const MemoryEntry* entry = table->Find(hash, key, key_bytes);
    if (entry == nullptr) continue;
    if (!entry->operation.removal()) *value = entry->operation.value();
    return Status::Ok();
  }
  return snapshot->Find(hash, key, key_bytes, segment, row);
}

Status TableCut::Digest(const uint8_t* key, size_t key_bytes, uint64_t* digest) const {
  const uint64_t hash = KeyHash(key, key_bytes);
  uint64_t found = 0;
  *digest = 0;
  for (const std::shared_ptr<const MemoryTable>& table : memory) {
    const MemoryEntry* entry = table->Find(hash, key, key_bytes);
    if (entry == nullptr) continue;
    if (entry->operation.removal()) return Status::Ok();
    found = KeyHash(entry->operation.value(), entry->operation.value_bytes());
    *digest = found == 0 ? 1 : found;
    return Status::Ok();
  }
  int segment;
  int64_t row;
  GF_RETURN_IF_ERROR(snapshot->Find(hash, key, key_bytes, &segment, &row));
  if (segment < 0) return Status::Ok();
  std::string value;
  GF_RETURN_IF_ERROR(EncodeValue(snapshot->schema(), snapshot->columns(segment), row, &value));
  found = KeyHash(value.data(), value.size());
  *digest = found == 0 ? 1 : found;
  return Status::Ok();
}

Status TableCut::Count(int64_t* rows) const {
  *rows = snapshot->live_rows();
  MemoryTable all;
  for (size_t i = memory.size(); i-- > 0;) all.Absorb(*memory[i]);
  for (const MemoryEntry& entry : all.Sorted()) {
    int segment;
    int64_t row;
    GF_RETURN_IF_ERROR(snapshot->Find(entry.hash, entry.operation.key(), entry.operation.key_bytes(), &segment, &row));
    *rows += (entry.operation.removal() ? 0 : 1) - (segment < 0 ? 0 : 1);
  }
  return Status::Ok();
}

Status TableCut::Preview(const std::string& folder, int threads, std::shared_ptr<const TableSnapshot>* out) const {
  MemoryTable all;
  for (size_t i = memory.size(); i-- > 0;) all.Absorb(*memory[i]);
  if (all.size() == 0) {
    *out = snapshot;
    return Status::Ok();
  }
  TableEdit edit(folder, snapshot, false, threads);
  edit.ListDeletions(kListedBytes);
  GF_RETURN_IF_ERROR(edit.AddMemory(all));
  return edit.Preview(out);
}

Status TableCut::Write(const std::string& folder, int threads) const {
  MemoryTable all;
  for (size_t i = memory.size(); i-- > 0;) all.Absorb(*memory[i]);
  if (all.size() == 0) return snapshot->manifest().Write(folder + "/manifest", false);
  TableEdit edit(folder, snapshot, false, threads);
  edit.ListDeletions(kListedBytes);
  GF_RETURN_IF_ERROR(edit.AddMemory(all));
  std::shared_ptr<const TableSnapshot> written;
  return edit.Commit(snapshot->manifest().flushed_lsn, &written);
}

}  // namespace gridflow
