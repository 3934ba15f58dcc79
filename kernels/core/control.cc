#include "core/control.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "core/key_hash.h"
#include "core/mapping.h"

namespace gridflow {
namespace {

// What tells this run of the machine from all others; 0 where the system does not say.
uint64_t BootHash() {
  static const uint64_t hash = [] {
    char id[64];
    const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    const ssize_t bytes = fd < 0 ? 0 : ::read(fd, id, sizeof(id));
    if (fd >= 0) ::close(fd);
    return bytes <= 0 ? 0 : KeyHash(id, static_cast<size_t>(bytes));
  }();
  return hash;
}

}  // namespace

Status ControlPage::Map(const std::string& path, bool writable, std::shared_ptr<ControlPage>* out) {
  const int fd = OpenOwn(path, writable ? O_RDWR : O_RDONLY);
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

void ControlPage::Recovered(uint64_t committed, uint64_t dropped) {
  // A process that dies between these leaves a page that claims nothing.
  __atomic_store_n(&page_->boot, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&page_->dropped_lsn, dropped, __ATOMIC_SEQ_CST);
  __atomic_store_n(&page_->synced_lsn, std::min(page_->synced_lsn, committed), __ATOMIC_SEQ_CST);
  __atomic_store_n(&page_->committed_lsn, committed, __ATOMIC_SEQ_CST);
  __atomic_store_n(&page_->boot, BootHash(), __ATOMIC_SEQ_CST);
}

bool ControlPage::Wait(const Seen& seen, int64_t timeout_ms, const std::function<bool()>& cancelled) const {
  // Looked at again and again: a commit is a store in memory, and is to stay one. Soon at first, for who follows a
  // writer at work, and then at intervals that cost nothing.
  constexpr std::chrono::microseconds kShortest(100), kLongest(10'000);
  const auto start = std::chrono::steady_clock::now();
  for (auto pause = kShortest;; pause = std::min(2 * pause, kLongest)) {
    if (generation() != seen.generation || committed_lsn() != seen.committed_lsn) return true;
    if (cancelled()) return false;
    if (timeout_ms >= 0) {
      const auto left = std::chrono::milliseconds(timeout_ms) - (std::chrono::steady_clock::now() - start);
      if (left <= left.zero()) return false;
      pause = std::min(pause, std::chrono::duration_cast<std::chrono::microseconds>(left) + kShortest);
    }
    std::this_thread::sleep_for(pause);
  }
}

Status ControlPage::CheckLogEnd(const std::string& folder, uint64_t committed, uint64_t end) const {
  if (end >= committed || committed <= __atomic_load_n(&page_->dropped_lsn, __ATOMIC_ACQUIRE)) return Status::Ok();
  if (!IsOfThisBoot()) return Status::Ok();
  return Status::Corrupt(folder, -1,
                         "the log ends with commit " + std::to_string(end) + ", but commit " + std::to_string(committed) +
                             " was acknowledged: it has been cut off, or its end is damaged (to go on without what is "
                             "lost, remove the file `control` beside it)");
}

Status ControlPage::CheckCatalog(const std::string& path, uint64_t changed, uint64_t version, uint64_t bytes) const {
  if (version >= changed || !IsOfThisBoot()) return Status::Ok();
  return Status::Corrupt(path, static_cast<int64_t>(bytes),
                         "it ends with change " + std::to_string(version) + ", but change " + std::to_string(changed) +
                             " was acknowledged: it has been cut off, or its end is damaged (to go on without what is "
                             "lost, remove the file `control` beside it)");
}

void ControlPage::Synced(uint64_t lsn) {
  if (lsn > page_->synced_lsn) __atomic_store_n(&page_->synced_lsn, lsn, __ATOMIC_RELEASE);
}

uint64_t ControlPage::KnownLsn() const {
  return IsOfThisBoot() ? committed_lsn() : __atomic_load_n(&page_->synced_lsn, __ATOMIC_ACQUIRE);
}

bool ControlPage::IsOfThisBoot() const {
  const uint64_t boot = __atomic_load_n(&page_->boot, __ATOMIC_ACQUIRE);
  return boot != 0 && boot == BootHash();
}

ControlPage::~ControlPage() {
  if (page_ != nullptr) ::munmap(page_, GF_CONTROL_BYTES);
}

}  // namespace gridflow
