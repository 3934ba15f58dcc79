#include "core/mapping.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "core/failpoint.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older ones answer EINVAL
#endif

namespace gridflow {
namespace {

// Closes a descriptor when it goes out of scope.
struct Descriptor {
  int fd;
  explicit Descriptor(int fd) : fd(fd) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

namespace {

bool IsInMemory(int fd) {
  struct statfs system;
  return ::fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

size_t PageBytes() {
  static const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return page;
}

}  // namespace

int OpenOwn(const std::string& path, int access) {
  return ::open(path.c_str(), access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

int CreateOwn(const std::string& path) {
  ::unlink(path.c_str());
  return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

bool HasHoles(int fd, const struct stat& info) {
  return info.st_blocks < (info.st_size + 511) / 512 && IsInMemory(fd);
}

Status Mapping::Open(const std::string& path, std::shared_ptr<const Mapping>* out) {
  Descriptor file(OpenOwn(path, O_RDONLY));
  if (file.fd < 0) return Status::System(errno, "open", path);
  struct stat info;
  if (::fstat(file.fd, &info) != 0) return Status::System(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) return Status::Corrupt(path, 0, "not a regular file");
  std::shared_ptr<Mapping> mapping(new Mapping);
  mapping->path_ = path;
  mapping->identity_ = {info.st_dev, info.st_ino};
  mapping->changed_ = int64_t{info.st_ctim.tv_sec} * 1000000000 + info.st_ctim.tv_nsec;
  mapping->size_ = static_cast<size_t>(info.st_size);
  mapping->in_memory_ = IsInMemory(file.fd);
  mapping->mirrored_ = (info.st_mode & S_ISVTX) != 0;
  if (mapping->size_ > 0) {
    void* data = ::mmap(nullptr, mapping->size_, PROT_READ, MAP_SHARED, file.fd, 0);
    if (data == MAP_FAILED) return Status::System(errno, "map", path);
    mapping->data_ = static_cast<const uint8_t*>(data);
    // Taken now, where it can be said that there is no room.
    if (!mapping->mirrored_ && HasHoles(file.fd, info) && ::madvise(data, mapping->size_, MADV_POPULATE_READ) != 0 && errno == EFAULT)
      return Status::System(ENOSPC, "make room for the zeros that are not stored of", path);
  }
  *out = std::move(mapping);
  return Status::Ok();
}

Status Mapping::Populate(size_t begin, size_t bytes) const {
  const size_t from = begin / PageBytes() * PageBytes();
  void* first = const_cast<uint8_t*>(data_) + from;
  if (::madvise(first, begin + bytes - from, MADV_POPULATE_READ) == 0 || errno != EFAULT) return Status::Ok();
  return Status::System(EIO, "read", path_);
}

void Mapping::WillNeed(const void* begin, size_t bytes) const {
  if (in_memory_ || bytes == 0) return;
  const size_t at = static_cast<size_t>(static_cast<const uint8_t*>(begin) - data_), from = at / PageBytes() * PageBytes();
  (void)::madvise(const_cast<uint8_t*>(data_) + from, at + bytes - from, MADV_WILLNEED);
}

const std::shared_ptr<void>& Mapping::Attached(const std::function<std::shared_ptr<void>()>& make) const {
  std::call_once(attached_once_, [&] { attached_ = make(); });
  return attached_;
}

Mapping::~Mapping() {
  attached_.reset();
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

Status WriteAll(int fd, const std::string& path, const void* data, size_t bytes, uint64_t offset) {
  const auto* p = static_cast<const uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::pwrite(fd, p, bytes, static_cast<off_t>(offset));
    if (wrote < 0) {
      if (errno == EINTR) continue;
      return Status::System(errno, "write", path);
    }
    p += wrote;
    offset += static_cast<uint64_t>(wrote);
    bytes -= static_cast<size_t>(wrote);
  }
  return Status::Ok();
}

Status CheckRoom(const std::string& path, uint64_t bytes) {
  struct statvfs info;
  if (::statvfs(path.c_str(), &info) != 0) return Status::System(errno, "look for room at", path);
  if (info.f_blocks == 0) return Status::Ok();  // it has no limit of its own
  if (static_cast<uint64_t>(info.f_bavail) * info.f_frsize >= bytes) return Status::Ok();
  return Status::System(ENOSPC, "make room in", path);
}

Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Descriptor dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.fd < 0) return Status::System(errno, "open", folder);
  if (::fsync(dir.fd) != 0) return Status::System(errno, "sync", folder);
  return Status::Ok();
}

Status SyncFileSystemOf(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return Status::System(errno, "open", path);
  if (::syncfs(file.fd) != 0) return Status::System(errno, "sync the file system of", path);
  return Status::Ok();
}

Status ReplaceFile(const std::string& path, const void* data, size_t bytes, bool durable) {
  const std::string temporary = path + ".tmp";
  Status status;
  {
    Descriptor file(CreateOwn(temporary));
    if (file.fd < 0) return Status::System(errno, "create", temporary);
    status = WriteAll(file.fd, temporary, data, bytes, 0);
    if (status.ok()) status = [] { GF_FAILPOINT("file.written"); return Status::Ok(); }();
    if (status.ok() && durable && ::fsync(file.fd) != 0) status = Status::System(errno, "sync", temporary);
  }
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0)
    status = Status::System(errno, "rename", temporary);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  GF_KILLPOINT("file.renamed");
  return durable ? SyncFolderOf(path) : Status::Ok();
}

}  // namespace gridflow
