// Files and their read-only mappings. The only place that calls mmap for reading.
#ifndef GRIDFLOW_CORE_MAPPING_H_
#define GRIDFLOW_CORE_MAPPING_H_

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "core/status.h"

namespace gridflow {

// Opens a file of a grid, which is no link: who can write the grid's folder must not have another file read or written.
// `access` is O_RDONLY, O_WRONLY or O_RDWR; -1, and errno, as open().
int OpenOwn(const std::string& path, int access);
// Makes a file of a grid to be written, in the place of what a crash left under that name.
int CreateOwn(const std::string& path);

// Whether the file lies in memory (tmpfs) and has pages that were never written, as copies by backup programs have.
// Reading such a page takes one, and where none is left ends the process (SIGBUS).
bool HasHoles(int fd, const struct stat& info);

// A whole file, mapped read-only. Immutable and safe to share among threads. The mapping outlives the file's name:
// unlinking the file leaves it whole. Whoever hands out a pointer into it must hold the shared_ptr for as long.
class Mapping {
 public:
  static Status Open(const std::string& path, std::shared_ptr<const Mapping>* out);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Reads these bytes into memory, all pages in one step. An error where the storage cannot give them: who reads them
  // without asking is ended by a signal then.
  Status Populate(size_t begin, size_t bytes) const;
  // Has these bytes read from storage, if they are not in memory, without waiting for them. No error: who reads them
  // finds it.
  void WillNeed(const void* begin, size_t bytes) const;
  // Whether it is a segment in a mirror (mirror_format.h), of which some blocks may not be there: nobody may touch those.
  bool mirrored() const { return mirrored_; }
  // Whether the file lies in memory, so that nothing is to be read from storage.
  bool in_memory() const { return in_memory_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // Device and inode: no other file has them as long as this mapping lives.
  const std::pair<uint64_t, uint64_t>& identity() const { return identity_; }
  // When the file was changed last, bytes or anything else of it, in nanoseconds since 1970.
  int64_t changed() const { return changed_; }
  // What belongs to the mapping and goes just before it does: `make` makes it, at the first call of whoever calls first.
  // Null if that gave null.
  const std::shared_ptr<void>& Attached(const std::function<std::shared_ptr<void>()>& make) const;

 private:
  Mapping() = default;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
  std::pair<uint64_t, uint64_t> identity_;
  int64_t changed_ = 0;
  bool in_memory_ = false;
  bool mirrored_ = false;
  mutable std::once_flag attached_once_;
  mutable std::shared_ptr<void> attached_;
};

// Replaces `path` by `bytes` bytes at once: writes <path>.tmp, fsyncs it if `durable`, renames it over `path` and
// fsyncs the folder. On any error the old file is untouched.
Status ReplaceFile(const std::string& path, const void* data, size_t bytes, bool durable);

// Writes all of it at `offset`, or says why not.
Status WriteAll(int fd, const std::string& path, const void* data, size_t bytes, uint64_t offset);

// kFull if the file system that holds `path` has less room than that for this user.
Status CheckRoom(const std::string& path, uint64_t bytes);

// Makes renames and new files in the folder of `path` survive power loss.
Status SyncFolderOf(const std::string& path);

// Waits until all that anybody has written to the file system of `path` is on the disk.
Status SyncFileSystemOf(const std::string& path);

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_MAPPING_H_
