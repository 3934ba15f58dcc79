#include "core/status.h"

#include <cerrno>
#include <cstring>

namespace gridflow {

Status Status::Corrupt(const std::string& file, int64_t offset, const std::string& what) {
  return {Code::kCorrupt, file + " is damaged at byte " + std::to_string(offset) + ": " + what, file, offset};
}

Status Status::Version(const std::string& file, uint32_t found, uint32_t known) {
  return {Code::kVersion,
          file + " has format version " + std::to_string(found) + ", this Gridflow reads up to version " +
              std::to_string(known) + ": upgrade gridflow to open it",
          file, -1};
}

Status Status::System(int error, const char* operation, const std::string& file) {
  Code code = Code::kInternal;
  if (error == ENOENT || error == ENOTDIR) code = Code::kNotFound;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) code = Code::kFull;
  if (error == EACCES || error == EPERM || error == EROFS || error == ELOOP) code = Code::kAccess;
  const char* why = error == ELOOP ? "it is a symbolic link, and a grid's files are its own" : std::strerror(error);
  return {code, std::string("cannot ") + operation + " " + file + ": " + why, file, -1};
}

}  // namespace gridflow
