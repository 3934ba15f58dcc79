#include "core/operation.h"

#include "core/row_codec.h"

namespace gridflow {

Status OperationChecker::status() const {
  if (left() == 0) return Status::Ok();
  if (one_table_ && left() >= Operation::kHeaderBytes) return Status::Invalid("a malformed operation for table " + table_);
  return Status::Invalid("a malformed operation: it ends early");
}

Status CheckOperation(const Schema& schema, Operation operation) {
  GF_RETURN_IF_ERROR(CheckKey(schema, operation.key(), operation.key_bytes()));
  if (operation.removal()) return Status::Ok();
  return CheckValue(schema, operation.value(), operation.value_bytes());
}

void AppendRemoval(uint32_t table_id, const std::string& key, std::string* out) {
  OperationBuilder builder(out);
  out->append(key);
  builder.EndKey();
  builder.EndRemoval(table_id);
}

}  // namespace gridflow
