#include "core/ring_memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "core/failpoint.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gridflow {

Status SharedMemory::Map(int fd, size_t bytes) {
  fd_ = fd;
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return Status::System(errno, "map", path_);
  data_ = static_cast<uint8_t*>(data);
  bytes_ = bytes;
  return Status::Ok();
}

Status SharedMemory::Create(const std::string& path, size_t bytes, std::unique_ptr<SharedMemory>* out) {
  std::unique_ptr<SharedMemory> memory(new SharedMemory);
  memory->path_ = path;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Status::System(errno, "create", path);
  memory->fd_ = fd;
  int error;
  do {
    error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  const Status status = error != 0 ? Status::System(error, "make room for", path) : memory->Map(fd, bytes);
  if (!status.ok()) {
    ::unlink(path.c_str());
    return status;
  }
  *out = std::move(memory);
  return Status::Ok();
}

Status SharedMemory::Open(const std::string& path, size_t bytes, std::unique_ptr<SharedMemory>* out) {
  std::unique_ptr<SharedMemory> memory(new SharedMemory);
  memory->path_ = path;
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return Status::System(errno, "open", path);
  memory->fd_ = fd;
  struct stat info;
  if (::fstat(fd, &info) != 0) return Status::System(errno, "stat", path);
  if (!S_ISREG(info.st_mode) || static_cast<uint64_t>(info.st_size) != bytes)
    return Status::Corrupt(path, 0, "not a file of " + std::to_string(bytes) + " bytes");
  // A page that is missing would be allocated when it is touched, and where there is no room that is a signal.
  if (static_cast<uint64_t>(info.st_blocks) * 512 < bytes) return Status::Corrupt(path, 0, "its space is not allocated");
  GF_RETURN_IF_ERROR(memory->Map(fd, bytes));
  *out = std::move(memory);
  return Status::Ok();
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
  if (fd_ >= 0) ::close(fd_);
}

Status SharedMemory::Hold() {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd_, F_SETLK, &lock) != 0) return Status::System(errno, "lock", path_);
  return Status::Ok();
}

Status SharedMemory::Holder(pid_t* out) const {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd_, F_GETLK, &lock) != 0) return Status::System(errno, "look for the lock of", path_);
  *out = lock.l_type == F_UNLCK ? -1 : lock.l_pid > 0 ? lock.l_pid : 0;
  return Status::Ok();
}

void FutexWait(uint32_t* word, uint32_t seen, int64_t ns) {
  const timespec limit = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  ::syscall(SYS_futex, word, FUTEX_WAIT, seen, ns < 0 ? nullptr : &limit, nullptr, 0);
}

void FutexWake(uint32_t* word, int sleepers) {
  ::syscall(SYS_futex, word, FUTEX_WAKE, sleepers, nullptr, nullptr, 0);
}

int64_t NowNs() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void SpinPause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// ---- the bell ----

namespace {

// The inode of this process's pid namespace, by which the kernel tells those apart that live; 0 without /proc.
uint64_t PidNamespace() {
  struct stat info;
  return ::stat("/proc/self/ns/pid", &info) == 0 ? static_cast<uint64_t>(info.st_ino) : 0;
}

}  // namespace

Status RingBell::Create(const std::string& path, std::unique_ptr<RingBell>* out) {
  std::unique_ptr<RingBell> fresh(new RingBell);
  ::unlink(path.c_str());
  GF_RETURN_IF_ERROR(SharedMemory::Create(path, GF_RING_HEADER_BYTES, &fresh->memory_));
  fresh->bell()->magic = GF_RING_BELL_MAGIC;
  fresh->bell()->version = GF_RING_VERSION;
  fresh->bell()->pid = static_cast<uint32_t>(::getpid());
  fresh->bell()->pid_namespace = PidNamespace();
  GF_RETURN_IF_ERROR(fresh->memory_->Hold());
  *out = std::move(fresh);
  return Status::Ok();
}

Status RingBell::Open(const std::string& path, std::unique_ptr<RingBell>* out) {
  std::unique_ptr<RingBell> opened(new RingBell);
  GF_RETURN_IF_ERROR(SharedMemory::Open(path, GF_RING_HEADER_BYTES, &opened->memory_));
  if (opened->bell()->magic != GF_RING_BELL_MAGIC) return Status::Corrupt(path, 0, "this is not a ring's bell");
  if (opened->bell()->version != GF_RING_VERSION)
    return Status::Version(path, opened->bell()->version, GF_RING_VERSION);
  *out = std::move(opened);
  return Status::Ok();
}

void RingBell::Ring() {
  // Either the owner sees what was published before this, or it has said before that it sleeps, and we see that.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  // Only the owner takes that back, once it is awake: a client may die between any two lines here, and the next one must
  // still find that the owner sleeps. That two wake it at once harms nobody.
  if (__atomic_load_n(&bell()->asleep, __ATOMIC_RELAXED) != 0) Wake();
}

void RingBell::Wake() {
  __atomic_add_fetch(&bell()->bell, 1, __ATOMIC_SEQ_CST);
  GF_KILLPOINT("ring.bell");
  FutexWake(&bell()->bell, INT_MAX);
}

bool RingBell::OwnerLives() const {
  // Its own lock a process does not see. Who else has this pid is of another namespace.
  if (bell()->pid == static_cast<uint32_t>(::getpid()) && bell()->pid_namespace == PidNamespace()) return true;
  pid_t holder = -1;
  return memory_->Holder(&holder).ok() && holder != -1;
}

uint32_t RingBell::Arm() {
  const uint32_t seen = __atomic_load_n(&bell()->bell, __ATOMIC_SEQ_CST);
  __atomic_store_n(&bell()->asleep, 1, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return seen;
}

void RingBell::Disarm() { __atomic_store_n(&bell()->asleep, 0, __ATOMIC_SEQ_CST); }

bool RingBell::Sleep(uint32_t seen) {
  FutexWait(&bell()->bell, seen, -1);
  return __atomic_load_n(&bell()->bell, __ATOMIC_SEQ_CST) != seen;
}

}  // namespace gridflow
