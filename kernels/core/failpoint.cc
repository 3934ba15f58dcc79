#include "core/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace gridflow {

Status Failpoints::Set(const std::string& specification) {
  MutexLock lock(&mutex_);
  points_.clear();
  size_t begin = 0;
  while (begin < specification.size()) {
    size_t end = specification.find(';', begin);
    if (end == std::string::npos) end = specification.size();
    const std::string one = specification.substr(begin, end - begin);
    const size_t equals = one.find('='), at = one.find('@');
    if (equals == std::string::npos) return Status::Invalid("a failpoint is name=action: " + one);
    Armed armed;
    armed.action = one.substr(equals + 1, at == std::string::npos ? at : at - equals - 1);
    if (at != std::string::npos) armed.passes_left = std::strtol(one.c_str() + at + 1, nullptr, 10);
    if (armed.action != "kill" && armed.action != "full" && armed.action != "io")
      return Status::Invalid("no failpoint action " + armed.action);
    points_[one.substr(0, equals)] = armed;
    begin = end + 1;
  }
  armed_ = !points_.empty();
  return Status::Ok();
}

Status Failpoints::Hit(const char* name) {
  MutexLock lock(&mutex_);
  const auto point = points_.find(name);
  if (point == points_.end() || --point->second.passes_left > 0) return Status::Ok();
  const std::string action = point->second.action;
  points_.erase(point);
  if (action == "kill") {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }
  return Status::System(action == "full" ? ENOSPC : EIO, "write at failpoint", name);
}

}  // namespace gridflow
