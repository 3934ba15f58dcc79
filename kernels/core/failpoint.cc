#include "core/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <mutex>

namespace gridflow {

std::atomic<bool> failpoints_armed{false};

namespace {

struct Armed {
  std::string action;
  long passes_left = 1;
};

std::mutex mutex;
std::map<std::string, Armed>& Points() {  // guarded by mutex
  static auto* points = new std::map<std::string, Armed>;
  return *points;
}

}  // namespace

Status SetFailpoints(const std::string& specification) {
  std::lock_guard<std::mutex> lock(mutex);
  Points().clear();
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
    Points()[one.substr(0, equals)] = armed;
    begin = end + 1;
  }
  failpoints_armed = !Points().empty();
  return Status::Ok();
}

Status HitFailpoint(const char* name) {
  std::lock_guard<std::mutex> lock(mutex);
  auto found = Points().find(name);
  if (found == Points().end() || --found->second.passes_left > 0) return Status::Ok();
  const std::string action = found->second.action;
  Points().erase(found);
  if (action == "kill") {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }
  return Status::System(action == "full" ? ENOSPC : EIO, "write at failpoint", name);
}

}  // namespace gridflow
