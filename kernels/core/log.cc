#include "core/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <random>

#include "core/check.h"
#include "core/checksum.h"
#include "core/failpoint.h"
#include "core/manifest.h"
#include "core/mapping.h"

namespace gridflow {
namespace {

constexpr uint64_t kFileBytes = 64ull << 20;  // a file is not grown beyond, but for a single larger record
constexpr uint64_t kFirstBytes = 64ull << 10;
constexpr uint64_t kMostGrowth = 4ull << 20;
constexpr uint64_t kPage = 4096;

uint64_t Pages(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// posix_fallocate, which a signal may interrupt; in memory it then gives back what it had, so that a timer that is faster
// would never let it end. ENOSPC also where less than `spare` bytes would stay free on the file's file system.
int Allocate(int fd, const std::string& path, uint64_t offset, uint64_t bytes, uint64_t spare) {
  if (spare > 0 && !CheckRoom(path, bytes + spare).ok()) return ENOSPC;
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int error;
  do {
    error = ::posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  } while (error == EINTR);  // SIGSTOP cannot be kept off
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

uint64_t Padded(uint64_t bytes) { return (bytes + 7) & ~7ull; }

uint32_t RecordCrc(const gf_log_record& record, uint64_t seed, uint64_t offset) {
  const uint64_t place[2] = {seed, offset};
  const uint32_t crc = Crc32c(0, &record, offsetof(gf_log_record, header_crc));
  return Crc32c(crc, place, sizeof(place));
}

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

LogFile::~LogFile() {
  if (base_ != nullptr) ::munmap(base_, mapped_);
  if (fd_ >= 0) ::close(fd_);
}

Status LogFile::Map(uint64_t bytes, bool writable) {
  // More than the file has, so that it can grow in place. Only bytes below size_ are touched.
  void* base = ::mmap(nullptr, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd_, 0);
  if (base == MAP_FAILED) return Status::System(errno, "map", path_);
  base_ = static_cast<uint8_t*>(base);
  mapped_ = bytes;
  return Status::Ok();
}

Status LogFile::Create(const std::string& folder, uint64_t first_lsn, uint64_t payload, bool durable,
                       std::shared_ptr<LogFile>* out, uint64_t spare) {
  GF_FAILPOINT("log.create");
  std::shared_ptr<LogFile> file(new LogFile);
  const std::string path = folder + "/" + FileName(first_lsn, ".log");
  const std::string temporary = path + ".tmp";
  file->path_ = path;
  file->first_lsn_ = first_lsn;
  file->fd_ = CreateOwn(temporary);
  if (file->fd_ < 0) return Status::System(errno, "create", temporary);
  uint64_t bytes = std::max(FirstBytes(payload), kFirstBytes);
  // All that fits in the file will be flushed one day: that room is spared, too.
  int error = Allocate(file->fd_, temporary, 0, bytes, spare == 0 ? 0 : spare + bytes);
  if (error == ENOSPC && bytes > FirstBytes(payload)) {  // what there is may do for this record
    bytes = FirstBytes(payload);
    error = Allocate(file->fd_, temporary, 0, bytes, spare == 0 ? 0 : spare + bytes);
  }
  Status status = error != 0 ? Status::System(error, "make room in", path)
                             : file->Map(std::max(bytes, kFileBytes), true);
  if (status.ok()) {
    file->size_ = bytes;
    gf_log_header header = {};
    header.magic = GF_LOG_MAGIC;
    header.version = GF_LOG_VERSION;
    header.first_lsn = first_lsn;
    header.seed = file->seed_ = RandomSeed();
    header.flags = durable ? GF_LOG_SYNCED : 0;
    header.header_crc = Crc32c(0, &header, sizeof(header));
    std::memcpy(file->base_, &header, sizeof(header));
    file->tail_ = sizeof(header);
    // The header must be there when the name is: a file without one would stop recovery after a power cut.
    if (durable && ::fsync(file->fd_) != 0) status = Status::System(errno, "sync", temporary);
    if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0)
      status = Status::System(errno, "rename", temporary);
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  if (durable) GF_RETURN_IF_ERROR(SyncFolderOf(path));
  *out = std::move(file);
  return Status::Ok();
}

Status LogFile::Open(const std::string& path, std::shared_ptr<LogFile>* out) {
  std::shared_ptr<LogFile> file(new LogFile);
  file->path_ = path;
  file->fd_ = OpenOwn(path, O_RDONLY);
  if (file->fd_ < 0) return Status::System(errno, "open", path);
  GF_RETURN_IF_ERROR(file->Refresh());
  gf_log_header header;
  if (file->size_ < sizeof(header))
    return Status::Corrupt(path, static_cast<int64_t>(file->size_), "the header is cut off");
  GF_RETURN_IF_ERROR(file->Map(std::max(file->size_, kFileBytes), false));
  std::memcpy(&header, file->base_, sizeof(header));
  if (header.magic != GF_LOG_MAGIC) return Status::Corrupt(path, 0, "this is not a log");
  if (header.version != GF_LOG_VERSION) return Status::Version(path, header.version, GF_LOG_VERSION);
  gf_log_header blank = header;
  blank.header_crc = 0;
  if (Crc32c(0, &blank, sizeof(blank)) != header.header_crc)
    return Status::Corrupt(path, 12, "the header's checksum does not match");
  file->first_lsn_ = header.first_lsn;
  file->seed_ = header.seed;
  file->synced_ = (header.flags & GF_LOG_SYNCED) != 0;
  file->tail_ = sizeof(header);
  *out = std::move(file);
  return Status::Ok();
}

Status LogFile::Refresh() {
  struct stat info;
  if (::fstat(fd_, &info) != 0) return Status::System(errno, "stat", path_);
  size_ = static_cast<uint64_t>(info.st_size);
  if (mapped_ > 0) size_ = std::min(size_, mapped_);
  // In memory, reading what was never written takes a page, and where none is left ends the process (SIGBUS): a copy
  // whose zeros were left out. What is not written is no commit, so the log ends there for now.
  if (HasHoles(fd_, info)) {
    const off_t hole = ::lseek(fd_, static_cast<off_t>(std::min(tail_, size_)), SEEK_HOLE);
    if (hole >= 0) size_ = std::min(size_, static_cast<uint64_t>(hole));
  }
  return Status::Ok();
}

// The header of the record after the one asked for must lie in the file too: zeros there end the log.
uint64_t LogFile::FirstBytes(uint64_t payload) {
  return Pages(sizeof(gf_log_header) + sizeof(gf_log_record) + Padded(payload) + sizeof(gf_log_record));
}

uint64_t LogFile::Missing(uint64_t payload, bool* fits) const {
  const uint64_t need = tail_ + sizeof(gf_log_record) + Padded(payload) + sizeof(gf_log_record);
  *fits = need <= mapped_;
  return !*fits || need <= size_ ? 0 : std::min(Pages(need), mapped_) - size_;
}

Status LogFile::Reserve(uint64_t payload, bool* fits, uint64_t spare) {
  const uint64_t missing = Missing(payload, fits);
  if (missing == 0) return Status::Ok();
  GF_FAILPOINT("log.grow");
  const uint64_t growth = std::max(missing, std::min(size_, kMostGrowth));
  uint64_t bytes = std::min(Pages(size_ + growth), mapped_);
  int error = Allocate(fd_, path_, size_, bytes - size_, spare == 0 ? 0 : spare + bytes - tail_);
  if (error == ENOSPC && bytes > size_ + missing) {  // what there is may do for this record
    bytes = size_ + missing;
    error = Allocate(fd_, path_, size_, bytes - size_, spare == 0 ? 0 : spare + bytes - tail_);
  }
  if (error != 0) return Status::System(error, "make room in", path_);
  size_ = bytes;
  return Status::Ok();
}

const uint8_t* LogFile::Append(uint64_t lsn, const void* head, uint64_t head_bytes, const void* body,
                               uint64_t body_bytes) {
  GF_DCHECK(lsn >= first_lsn_ && head_bytes + body_bytes > 0);
  GF_DCHECK(tail_ + sizeof(gf_log_record) + Padded(head_bytes + body_bytes) + sizeof(gf_log_record) <= size_);
  uint8_t* at = base_ + tail_;
  uint8_t* payload = at + sizeof(gf_log_record);
  std::memcpy(payload, head, head_bytes);
  if (body_bytes > 0) std::memcpy(payload + head_bytes, body, body_bytes);  // else `body` may be null
  gf_log_record record;
  record.lsn = lsn;
  record.bytes = head_bytes + body_bytes;
  record.payload_crc = Crc32c(0, payload, record.bytes);
  record.header_crc = RecordCrc(record, seed_, tail_);
  std::memcpy(at + sizeof(record.lsn), reinterpret_cast<const char*>(&record) + sizeof(record.lsn),
              sizeof(record) - sizeof(record.lsn));
  GF_KILLPOINT("log.append");
  // The record counts from this store on: everything before it must be visible to whoever sees it.
  __atomic_store_n(reinterpret_cast<uint64_t*>(at), lsn, __ATOMIC_RELEASE);
  tail_ += sizeof(record) + Padded(record.bytes);
  return payload;
}

Status LogFile::Sync(uint64_t from, uint64_t to) const {
  const uint64_t start = from / kPage * kPage;
  if (::msync(base_ + start, to - start, MS_SYNC) != 0) return Status::System(errno, "sync", path_);
  return Status::Ok();
}

bool LogFile::Intact(uint64_t offset, gf_log_record* record) const {
  if (offset + sizeof(*record) > size_) return false;
  std::memcpy(record, base_ + offset, sizeof(*record));
  if (record->lsn == 0 || record->bytes == 0 || record->bytes > size_ - offset - sizeof(*record)) return false;
  return RecordCrc(*record, seed_, offset) == record->header_crc &&
         Crc32c(0, base_ + offset + sizeof(*record), record->bytes) == record->payload_crc;
}

uint64_t LogFile::LsnAt(uint64_t offset) const {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(base_ + offset), __ATOMIC_ACQUIRE);
}

bool LogFile::Take(uint64_t lsn, const uint8_t** payload, uint64_t* bytes) {
  gf_log_record record;
  if (LsnAt(tail_) != lsn || !Intact(tail_, &record)) return false;
  *payload = base_ + tail_ + sizeof(record);
  *bytes = record.bytes;
  tail_ += sizeof(record) + Padded(record.bytes);
  return true;
}

Status LogFile::Next(uint64_t lsn, const uint8_t** payload, uint64_t* bytes, bool* followed) {
  *payload = nullptr;
  *followed = false;
  if (tail_ + sizeof(gf_log_record) > size_) GF_RETURN_IF_ERROR(Refresh());
  if (tail_ + sizeof(gf_log_record) > size_) return Status::Ok();
  if (Take(lsn, payload, bytes)) return Status::Ok();
  GF_RETURN_IF_ERROR(Refresh());  // the file may have grown since
  if (Take(lsn, payload, bytes)) return Status::Ok();
  // The end of the log, or damage.
  gf_log_record record;
  for (uint64_t at = tail_ + 8; at + sizeof(record) <= size_; at += 8) {
    const uint64_t later = LsnAt(at);
    if (later <= lsn || later - lsn >= (1ull << 40) || !Intact(at, &record)) continue;
    // Whoever sees a record sees those before it: both may have come since we looked.
    *followed = !Take(lsn, payload, bytes);
    return Status::Ok();
  }
  return Status::Ok();
}

Status ListLog(const std::string& folder, std::vector<std::string>* paths) {
  paths->clear();
  DIR* dir = ::opendir(folder.c_str());
  if (dir == nullptr) return Status::System(errno, "list", folder);
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name.size() == 20 && name.compare(16, 4, ".log") == 0) paths->push_back(folder + "/" + name);
  }
  ::closedir(dir);
  std::sort(paths->begin(), paths->end());
  return Status::Ok();
}

}  // namespace gridflow
