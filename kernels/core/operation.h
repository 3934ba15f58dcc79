// Operations, of which the records of the log consist (log_format.h): built, walked and checked here, once.
#ifndef GRIDFLOW_CORE_OPERATION_H_
#define GRIDFLOW_CORE_OPERATION_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/key_hash.h"
#include "core/schema.h"
#include "core/status.h"
#include "gridflow/log_format.h"

namespace gridflow {

// A view of one operation: the put of a row, or a row's removal. Of sound bytes only, and good for as long as those stay.
class Operation {
 public:
  static constexpr size_t kHeaderBytes = sizeof(gf_log_operation);

  Operation() = default;  // none
  explicit Operation(const uint8_t* bytes) : bytes_(bytes) {}

  const uint8_t* bytes() const { return bytes_; }  // null: there is no operation
  size_t all_bytes() const { return kHeaderBytes + key_bytes() + value_bytes(); }
  uint32_t table_id() const { return header().table_id; }
  bool removal() const { return header().value_bytes == GF_LOG_REMOVE; }
  const uint8_t* key() const { return bytes_ + kHeaderBytes; }
  size_t key_bytes() const { return header().key_bytes; }
  uint64_t key_hash() const { return KeyHash(key(), key_bytes()); }
  // Where the value begins; a removal has none, so there the operation ends.
  const uint8_t* value() const { return key() + key_bytes(); }
  size_t value_bytes() const { return removal() ? 0 : header().value_bytes; }

 private:
  gf_log_operation header() const {  // not aligned
    gf_log_operation header;
    std::memcpy(&header, bytes_, sizeof(header));
    return header;
  }

  const uint8_t* bytes_ = nullptr;
};

// Walks operations that are known to be sound: this process has built them, or an OperationChecker has passed them.
class OperationWalk {
 public:
  OperationWalk() = default;  // of nothing
  OperationWalk(const void* payload, size_t bytes)
      : at_(static_cast<const uint8_t*>(payload)), end_(at_ + bytes) {}

  bool AtEnd() const { return at_ == end_; }
  Operation operation() const {  // unless AtEnd()
    GF_DCHECK(static_cast<size_t>(end_ - at_) >= Operation::kHeaderBytes);
    return Operation(at_);
  }
  void Next() {
    const size_t bytes = operation().all_bytes();
    GF_DCHECK(static_cast<size_t>(end_ - at_) >= bytes);
    at_ += bytes;
  }

 private:
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
};

// Walks operations of bytes that nobody vouches for, and never past their end: what came over a wire, or lies in a file.
//
//   while (operations.Next(&operation)) ...
//   return operations.status();
class OperationChecker {
 public:
  OperationChecker() = default;  // of nothing
  // Operations of any table and kind.
  OperationChecker(const void* payload, size_t bytes)
      : at_(static_cast<const uint8_t*>(payload)), end_(at_ + bytes) {}
  // Puts of rows of one table, or removals. The table's name is for messages.
  OperationChecker(const void* payload, size_t bytes, uint32_t table_id, bool removals, std::string table)
      : OperationChecker(payload, bytes) {
    one_table_ = true;
    table_id_ = table_id;
    removals_ = removals;
    table_ = std::move(table);
  }

  // Gives out the next operation; its key and its value are not looked at. False at the end, and before one that ends
  // early or is of another table or kind.
  bool Next(Operation* out) {
    if (left() < Operation::kHeaderBytes) return false;
    const Operation next(at_);
    const size_t bytes = next.all_bytes();
    if (left() < bytes) return false;
    if (one_table_ && (next.table_id() != table_id_ || next.removal() != removals_)) return false;
    at_ += bytes;
    *out = next;
    return true;
  }
  // Once Next() has returned false: kInvalid unless that was the end.
  Status status() const;

 private:
  size_t left() const { return static_cast<size_t>(end_ - at_); }

  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
  bool one_table_ = false;
  bool removals_ = false;
  uint32_t table_id_ = 0;
  std::string table_;
};

// Checks that an operation's key and value are well-formed ones of the schema. kInvalid if not.
Status CheckOperation(const Schema& schema, Operation operation);

// Appends one operation to a string. Whoever encodes appends the key after Begin() and the value after EndKey():
//
//   OperationBuilder builder(&out);
//   EncodeKey(schema, columns, row, &out);
//   builder.EndKey();
//   EncodeValue(schema, columns, row, &out);
//   builder.EndPut(table_id);
class OperationBuilder {
 public:
  OperationBuilder() = default;  // only to be assigned to
  explicit OperationBuilder(std::string* out) : out_(out), start_(out->size()) {
    out->append(Operation::kHeaderBytes, '\0');
  }

  void EndKey() { key_bytes_ = out_->size() - start_ - Operation::kHeaderBytes; }
  // False: the value is larger than an operation's may be; then `out` is good for nothing any more.
  bool EndPut(uint32_t table_id) {
    if (value_bytes() > kMostValueBytes) return false;
    PutHeader(table_id, static_cast<uint32_t>(value_bytes()));
    return true;
  }
  void EndRemoval(uint32_t table_id) { PutHeader(table_id, GF_LOG_REMOVE); }
  std::string key() const { return out_->substr(start_ + Operation::kHeaderBytes, key_bytes_); }  // after EndKey()
  size_t value_bytes() const { return out_->size() - start_ - Operation::kHeaderBytes - key_bytes_; }

 private:
  static constexpr size_t kMostValueBytes = GF_LOG_REMOVE - 1;

  void PutHeader(uint32_t table_id, uint32_t value_bytes) {
    GF_DCHECK(key_bytes_ <= UINT32_MAX && start_ + Operation::kHeaderBytes + key_bytes_ <= out_->size());
    const gf_log_operation header = {table_id, static_cast<uint32_t>(key_bytes_), value_bytes};
    std::memcpy(&(*out_)[start_], &header, sizeof(header));
  }

  std::string* out_ = nullptr;
  size_t start_ = 0;
  size_t key_bytes_ = 0;
};

// Appends the removal of the row under an encoded key.
void AppendRemoval(uint32_t table_id, const std::string& key, std::string* out);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_OPERATION_H_
