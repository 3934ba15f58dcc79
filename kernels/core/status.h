// Status: what native code returns instead of throwing. Turned into Python errors in one place
// (cython/status.pxd) and into absl::Status in one place (kernels/ops/status.h).
#ifndef GRIDFLOW_CORE_STATUS_H_
#define GRIDFLOW_CORE_STATUS_H_

#include <cstdint>
#include <string>
#include <utility>

namespace gridflow {

enum class Code {
  kOk = 0,
  kNotFound,  // a file or table that is not there
  kGone,      // a version of a table that is not kept
  kFull,      // no space left on the device
  kAccess,    // not permitted
  kCorrupt,   // damaged bytes; file and offset say where
  kVersion,   // written by a newer format
  kInvalid,   // the caller's data does not fit
  kBusy,      // somebody else holds it
  kCancelled, // the caller asked for it to end
  kUnreachable,  // what is elsewhere does not come
  kInternal,  // anything else the system said, or a bug
};

struct Status {
  Code code = Code::kOk;
  std::string message;
  std::string file;
  int64_t offset = -1;

  bool ok() const { return code == Code::kOk; }
  static Status Ok() { return {}; }
  static Status Invalid(std::string message) { return {Code::kInvalid, std::move(message), "", -1}; }
  static Status Internal(std::string message) { return {Code::kInternal, std::move(message), "", -1}; }
  static Status Corrupt(const std::string& file, int64_t offset, const std::string& what);
  static Status Version(const std::string& file, uint32_t found, uint32_t known);
  // Of errno, for an operation ("open", "write", ...) on a file.
  static Status System(int error, const char* operation, const std::string& file);
};

#define GF_RETURN_IF_ERROR(expression)             \
  do {                                             \
    ::gridflow::Status gf_status_ = (expression);  \
    if (!gf_status_.ok()) return gf_status_;       \
  } while (0)

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_STATUS_H_
