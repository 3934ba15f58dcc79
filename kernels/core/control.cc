#include "core/control.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/mapping.h"

namespace gridflow {

Status ControlPage::Map(const std::string& path, bool writable, std::shared_ptr<ControlPage>* out) {
  const int fd = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0) return Status::System(errno, "open", path);
  struct stat info;
  void* page = MAP_FAILED;
  Status status;
  if (::fstat(fd, &info) != 0)
    status = Status::System(errno, "stat", path);
  else if (info.st_size != GF_CONTROL_BYTES)
    status = Status::Corrupt(path, info.st_size, "the control page has the wrong size");
  else if ((page = ::mmap(nullptr, GF_CONTROL_BYTES, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0)) ==
           MAP_FAILED)
    status = Status::System(errno, "map", path);
  ::close(fd);
  if (!status.ok()) return status;
  std::shared_ptr<ControlPage> control(new ControlPage);
  control->page_ = static_cast<gf_control*>(page);
  if (control->page_->magic != GF_CONTROL_MAGIC) return Status::Corrupt(path, 0, "this is not a control page");
  *out = std::move(control);
  return Status::Ok();
}

Status ControlPage::Open(const std::string& path, std::shared_ptr<ControlPage>* out) { return Map(path, false, out); }

Status ControlPage::Create(const std::string& path, uint64_t pid, std::shared_ptr<ControlPage>* out) {
  if (!Map(path, true, out).ok()) {
    // Written whole with zeros, so that no later store can run out of room.
    std::string bytes(GF_CONTROL_BYTES, '\0');
    auto* fresh = reinterpret_cast<gf_control*>(&bytes[0]);
    fresh->magic = GF_CONTROL_MAGIC;
    GF_RETURN_IF_ERROR(ReplaceFile(path, bytes.data(), bytes.size(), false));
    GF_RETURN_IF_ERROR(Map(path, true, out));
  }
  (*out)->page_->owner_pid = pid;
  return Status::Ok();
}

ControlPage::~ControlPage() {
  if (page_ != nullptr) ::munmap(page_, GF_CONTROL_BYTES);
}

}  // namespace gridflow
