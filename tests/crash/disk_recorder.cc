// Put before a program with LD_PRELOAD, records what it does to the files below one folder, for tests/crash/disk.py.
//
//   DISK_RECORDER_ROOT     the folder, as the program names it: an absolute path without links
//   DISK_RECORDER_TRACE    a file, to which each event is appended
//   DISK_RECORDER_PAUSE    how long syncs take, so that other threads come to something meanwhile: "files,mappings", each
//                          half as many microseconds to as many
//
// Stores to mapped files are found by comparing them with what was there at the event before. Events are in the order in
// which the calls take effect: one lock is held across each call that changes names, and from a comparison to what follows.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

// disk.py has the same. All integers are little endian.
struct Event {
  uint32_t bytes;  // of all of it
  char kind;
  char unused[3];
  uint64_t inode;
  uint64_t offset;
  uint64_t size;
  uint32_t name_bytes;
  uint32_t data_bytes;
};

struct SharedMapping {
  uint64_t inode;
  int fd;  // ours: for the size, as the file may grow
  size_t bytes;
  std::vector<char> seen;
};

constexpr size_t kSector = 512;

class Recorder {
 public:
  static Recorder& Get() {
    static Recorder* recorder = new Recorder;  // never destroyed: calls come until the very end
    return *recorder;
  }

  std::recursive_mutex mutex;

  bool Covers(const std::string& path) const {
    if (root_.empty() || path.compare(0, root_.size(), root_) != 0 || path.find("/rings/") != std::string::npos)
      return false;
    return path.size() == root_.size() || path[root_.size()] == '/';
  }

  static std::string PathOf(int folder, const char* path) {
    if (path[0] == '/' || folder == AT_FDCWD) return path;
    char link[4096], target[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
    const ssize_t bytes = ::readlink(link, target, sizeof(target));
    return bytes <= 0 ? path : std::string(target, static_cast<size_t>(bytes)) + "/" + path;
  }

  void Say(char kind, uint64_t inode, uint64_t offset, uint64_t size, const std::string& name = "",
           const void* data = nullptr, size_t data_bytes = 0) {
    Event event = {};
    event.bytes = static_cast<uint32_t>(sizeof(event) + name.size() + data_bytes);
    event.kind = kind;
    event.inode = inode;
    event.offset = offset;
    event.size = size;
    event.name_bytes = static_cast<uint32_t>(name.size());
    event.data_bytes = static_cast<uint32_t>(data_bytes);
    std::string all(reinterpret_cast<const char*>(&event), sizeof(event));
    all += name;
    all.append(static_cast<const char*>(data), data_bytes);
    if (::syscall(SYS_write, trace_, all.data(), all.size()) != static_cast<long>(all.size())) abort();
  }

  std::string Relative(const std::string& path) const { return path.substr(root_.size() + 1); }

  // What was stored to mapped files since the last event.
  void Compare() {
    for (auto& entry : mappings_) {
      SharedMapping& mapping = entry.second;
      const char* now = static_cast<const char*>(entry.first);
      struct stat info;
      if (::fstat(mapping.fd, &info) != 0) continue;
      const size_t bytes = std::min(mapping.bytes, static_cast<size_t>(info.st_size));
      mapping.seen.resize(std::max(mapping.seen.size(), bytes));
      for (size_t at = 0; at < bytes; at += kSector) {
        const size_t length = std::min(kSector, bytes - at);
        if (memcmp(now + at, &mapping.seen[at], length) == 0) continue;
        memcpy(&mapping.seen[at], now + at, length);
        Say('M', mapping.inode, at, length, "", &mapping.seen[at], length);
      }
    }
  }

  std::map<int, uint64_t> inodes;  // of the descriptors that the program has below the folder

  uint64_t InodeOf(int fd) const {
    const auto entry = inodes.find(fd);
    return entry == inodes.end() ? 0 : entry->second;
  }

  void Mapped(void* base, size_t bytes, int fd) {
    struct stat info;
    if (::fstat(fd, &info) != 0) abort();
    SharedMapping mapping = {InodeOf(fd), ::fcntl(fd, F_DUPFD_CLOEXEC, 500), bytes, {}};
    mapping.seen.assign(static_cast<const char*>(base),
                        static_cast<const char*>(base) + std::min(bytes, static_cast<size_t>(info.st_size)));
    mappings_[base] = std::move(mapping);
  }

  void Unmapped(void* base) {
    const auto entry = mappings_.find(base);
    if (entry == mappings_.end()) return;
    Compare();
    ::syscall(SYS_close, entry->second.fd);
    mappings_.erase(entry);
  }

  // The mapped file that an address lies in, and where; 0: none.
  uint64_t MappedAt(const void* address, uint64_t* offset) const {
    for (const auto& entry : mappings_) {
      const char* base = static_cast<const char*>(entry.first);
      if (address < base || address >= base + entry.second.bytes) continue;
      *offset = static_cast<uint64_t>(static_cast<const char*>(address) - base);
      return entry.second.inode;
    }
    return 0;
  }

  // Number of a sync that begins: of a file or folder; 0: of all.
  uint64_t BeginSync(uint64_t inode, uint64_t offset, uint64_t size) {
    Compare();
    Say('S', inode, offset, size, "", &++syncs_, sizeof(syncs_));
    return syncs_;
  }

  void Pause(bool mapping) const {
    const long most = mapping ? mapping_pause_ : file_pause_;
    if (most > 1) ::usleep(static_cast<useconds_t>(most / 2 + random() % (most / 2)));
  }

  void EndSync(uint64_t number) { Say('E', 0, 0, 0, "", &number, sizeof(number)); }

 private:
  Recorder() {
    const char* root = getenv("DISK_RECORDER_ROOT");
    const char* trace = getenv("DISK_RECORDER_TRACE");
    const char* pause = getenv("DISK_RECORDER_PAUSE");
    if (root == nullptr || trace == nullptr) return;
    root_ = root;
    trace_ = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
    if (pause != nullptr) sscanf(pause, "%ld,%ld", &file_pause_, &mapping_pause_);
    syncs_ = static_cast<uint64_t>(getpid()) << 32;  // of several processes, one after the other
  }

  std::string root_;
  int trace_ = -1;
  long file_pause_ = 0, mapping_pause_ = 0;
  uint64_t syncs_ = 0;
  std::map<void*, SharedMapping> mappings_;
};

template <typename Function>
Function Next(const char* name, Function) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

#define NEXT(name) static const auto next = Next(#name, &name)

uint64_t InodeAt(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

using Lock = std::lock_guard<std::recursive_mutex>;

template <typename Call>
int Opened(int folder, const char* path, int flags, Call call) {
  Recorder& recorder = Recorder::Get();
  const std::string whole = Recorder::PathOf(folder, path);
  if (!recorder.Covers(whole)) {
    const int fd = call();
    if (fd >= 0) {
      Lock lock(recorder.mutex);
      recorder.inodes.erase(fd);
    }
    return fd;
  }
  Lock lock(recorder.mutex);
  recorder.Compare();
  const bool was_there = InodeAt(whole) != 0;
  const int fd = call();
  if (fd < 0) return fd;
  struct stat info;
  if (::fstat(fd, &info) != 0) abort();
  recorder.inodes[fd] = info.st_ino;
  if (!was_there) recorder.Say('C', info.st_ino, 0, 0, recorder.Relative(whole));
  else if (flags & O_TRUNC) recorder.Say('T', info.st_ino, 0, 0);
  return fd;
}

template <typename Call>
ssize_t Written(int fd, const void* data, off_t offset, Call call) {
  Recorder& recorder = Recorder::Get();
  std::unique_lock<std::recursive_mutex> lock(recorder.mutex);
  const uint64_t inode = recorder.InodeOf(fd);
  if (inode == 0) {
    lock.unlock();  // it may wait
    return call();
  }
  recorder.Compare();
  if (offset < 0) offset = ::lseek(fd, 0, SEEK_CUR);
  const ssize_t bytes = call();
  if (bytes > 0) recorder.Say('W', inode, static_cast<uint64_t>(offset), 0, "", data, static_cast<size_t>(bytes));
  return bytes;
}

template <typename Call>
int Sized(int fd, char kind, off_t size, Call call) {
  Recorder& recorder = Recorder::Get();
  Lock lock(recorder.mutex);
  const uint64_t inode = recorder.InodeOf(fd);
  if (inode != 0) recorder.Compare();
  const int result = call();
  if (inode != 0 && result == 0) recorder.Say(kind, inode, 0, static_cast<uint64_t>(size));
  return result;
}

template <typename Call>
int Renamed(const std::string& from, const std::string& to, Call call) {
  Recorder& recorder = Recorder::Get();
  if (!recorder.Covers(to)) return call();
  Lock lock(recorder.mutex);
  recorder.Compare();
  const uint64_t inode = InodeAt(from);
  const int result = call();
  if (result == 0) recorder.Say('R', inode, 0, 0, recorder.Relative(from) + '\0' + recorder.Relative(to));
  return result;
}

template <typename Call>
int Named(const std::string& path, char kind, Call call) {
  Recorder& recorder = Recorder::Get();
  if (!recorder.Covers(path)) return call();
  Lock lock(recorder.mutex);
  recorder.Compare();
  const uint64_t before = InodeAt(path);
  const int result = call();
  if (result == 0) recorder.Say(kind, kind == 'D' ? InodeAt(path) : before, 0, 0, recorder.Relative(path));
  return result;
}

template <typename Call>
int Synced(uint64_t inode, uint64_t offset, uint64_t size, bool mapping, Call call) {
  Recorder& recorder = Recorder::Get();
  uint64_t number;
  {
    Lock lock(recorder.mutex);
    number = recorder.BeginSync(inode, offset, size);
  }
  recorder.Pause(mapping);
  const int result = call();
  if (result == 0) {
    Lock lock(recorder.mutex);
    recorder.EndSync(number);
  }
  return result;
}

int Mode(int flags, va_list arguments) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0; }

}  // namespace

#define OPEN(name)                                                                    \
  int name(const char* path, int flags, ...) {                                        \
    va_list arguments;                                                                \
    va_start(arguments, flags);                                                       \
    const int mode = Mode(flags, arguments);                                          \
    va_end(arguments);                                                                \
    NEXT(name);                                                                       \
    return Opened(AT_FDCWD, path, flags, [&] { return next(path, flags, mode); });    \
  }

#define OPENAT(name)                                                                  \
  int name(int folder, const char* path, int flags, ...) {                            \
    va_list arguments;                                                                \
    va_start(arguments, flags);                                                       \
    const int mode = Mode(flags, arguments);                                          \
    va_end(arguments);                                                                \
    NEXT(name);                                                                       \
    return Opened(folder, path, flags, [&] { return next(folder, path, flags, mode); }); \
  }

#define MMAP(name)                                                                                       \
  void* name(void* wanted, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {     \
    NEXT(name);                                                                                          \
    if (fd < 0 || !(flags & MAP_SHARED) || !(protection & PROT_WRITE))                                   \
      return next(wanted, bytes, protection, flags, fd, offset);                                         \
    Recorder& recorder = Recorder::Get();                                                                \
    Lock lock(recorder.mutex);                                                                           \
    void* base = next(wanted, bytes, protection, flags, fd, offset);                                     \
    if (base != MAP_FAILED && recorder.InodeOf(fd) != 0) recorder.Mapped(base, bytes, fd);               \
    return base;                                                                                         \
  }

extern "C" {

int __open_2(const char* path, int flags);
int __open64_2(const char* path, int flags);

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
MMAP(mmap)
MMAP(mmap64)

// What open becomes under _FORTIFY_SOURCE.
int __open_2(const char* path, int flags) {
  NEXT(__open_2);
  return Opened(AT_FDCWD, path, flags, [&] { return next(path, flags); });
}

int __open64_2(const char* path, int flags) {
  NEXT(__open64_2);
  return Opened(AT_FDCWD, path, flags, [&] { return next(path, flags); });
}

int close(int fd) {
  NEXT(close);
  Recorder& recorder = Recorder::Get();
  Lock lock(recorder.mutex);
  recorder.inodes.erase(fd);
  return next(fd);
}

int munmap(void* base, size_t bytes) noexcept {
  NEXT(munmap);
  Recorder& recorder = Recorder::Get();
  Lock lock(recorder.mutex);
  recorder.Unmapped(base);
  return next(base, bytes);
}

ssize_t write(int fd, const void* data, size_t bytes) {
  NEXT(write);
  return Written(fd, data, -1, [&] { return next(fd, data, bytes); });
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  NEXT(pwrite);
  return Written(fd, data, offset, [&] { return next(fd, data, bytes, offset); });
}

ssize_t pwrite64(int fd, const void* data, size_t bytes, off_t offset) {
  NEXT(pwrite64);
  return Written(fd, data, offset, [&] { return next(fd, data, bytes, offset); });
}

int ftruncate(int fd, off_t size) noexcept {
  NEXT(ftruncate);
  return Sized(fd, 'T', size, [&] { return next(fd, size); });
}

int ftruncate64(int fd, off_t size) noexcept {
  NEXT(ftruncate64);
  return Sized(fd, 'T', size, [&] { return next(fd, size); });
}

int posix_fallocate(int fd, off_t offset, off_t bytes) {
  NEXT(posix_fallocate);
  return Sized(fd, 'A', offset + bytes, [&] { return next(fd, offset, bytes); });
}

int posix_fallocate64(int fd, off_t offset, off_t bytes) {
  NEXT(posix_fallocate64);
  return Sized(fd, 'A', offset + bytes, [&] { return next(fd, offset, bytes); });
}

int rename(const char* from, const char* to) noexcept {
  NEXT(rename);
  return Renamed(from, to, [&] { return next(from, to); });
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  NEXT(renameat);
  return Renamed(Recorder::PathOf(from_folder, from), Recorder::PathOf(to_folder, to),
                 [&] { return next(from_folder, from, to_folder, to); });
}

int unlink(const char* path) noexcept {
  NEXT(unlink);
  return Named(path, 'U', [&] { return next(path); });
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  NEXT(unlinkat);
  return Named(Recorder::PathOf(folder, path), 'U', [&] { return next(folder, path, flags); });
}

int rmdir(const char* path) noexcept {
  NEXT(rmdir);
  return Named(path, 'U', [&] { return next(path); });
}

int mkdir(const char* path, mode_t mode) noexcept {
  NEXT(mkdir);
  return Named(path, 'D', [&] { return next(path, mode); });
}

int fsync(int fd) {
  NEXT(fsync);
  Recorder& recorder = Recorder::Get();
  uint64_t inode;
  {
    Lock lock(recorder.mutex);
    inode = recorder.InodeOf(fd);
  }
  if (inode == 0) return next(fd);
  return Synced(inode, 0, ~uint64_t{0}, false, [&] { return next(fd); });
}

int fdatasync(int fd) { return fsync(fd); }

// Of the file system, and so of all that is recorded.
int syncfs(int fd) noexcept {
  NEXT(syncfs);
  return Synced(0, 0, 0, false, [&] { return next(fd); });
}

int msync(void* address, size_t bytes, int flags) {
  NEXT(msync);
  Recorder& recorder = Recorder::Get();
  uint64_t inode, offset = 0;
  {
    Lock lock(recorder.mutex);
    inode = recorder.MappedAt(address, &offset);
  }
  if (inode == 0 || !(flags & MS_SYNC)) return next(address, bytes, flags);
  return Synced(inode, offset, bytes, true, [&] { return next(address, bytes, flags); });
}

// The program kills itself: between two events, so that what is left is what the trace says, but for stores.
int kill(pid_t process, int signal) noexcept {
  NEXT(kill);
  Lock lock(Recorder::Get().mutex);
  return next(process, signal);
}

}  // extern "C"
