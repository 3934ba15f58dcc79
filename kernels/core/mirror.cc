#include "core/mirror.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "core/checksum.h"
#include "core/failpoint.h"
#include "core/sealed_file.h"

namespace gridflow {
namespace {

constexpr int64_t kMillisecond = 1000000;
// A request asks for so many bytes at most, and for so many blocks at least where there are.
constexpr uint64_t kMostRequested = 32, kLeastRequested = 4;
// So many blocks are asked for ahead at most. Who reads asks for fewer, unless its rows lie all over a large table.
constexpr uint64_t kMostAhead = 8192;
// What another process fetches is looked at again after so long, and fetched here, too, when that takes too long: it may
// hang, or be a child that has a dead process's claims.
// A block that somebody waits for is asked for anew after so long: in a forked child, whoever was to bring it is the parent's.
constexpr int64_t kLost = 10000 * kMillisecond;
constexpr int64_t kRetry = 2 * kMillisecond, kPatience = 3000 * kMillisecond;

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

uint64_t MapBytes(uint64_t blocks) { return sizeof(gf_mirror_header) + (blocks + 63) / 64 * 8; }

// A lock of the file's description, not of the process: threads and copies of core have their own.
bool Lock(int fd, int16_t kind, int64_t begin, uint64_t count) {
  struct flock lock = {};
  lock.l_type = kind;
  lock.l_whence = SEEK_SET;
  lock.l_start = begin;
  lock.l_len = static_cast<off_t>(count);
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

}  // namespace

Status MirrorFile::Open(const std::shared_ptr<const Mapping>& segment, std::shared_ptr<MirrorFile>* out) {
  const std::string path = segment->path() + ".map";
  std::shared_ptr<MirrorFile> file(new MirrorFile);
  file->segment_ = segment;
  file->data_fd_ = OpenOwn(segment->path(), O_RDWR);
  if (file->data_fd_ < 0) return Status::System(errno, "open", segment->path());
  file->map_fd_ = OpenOwn(path, O_RDWR);
  if (file->map_fd_ < 0) return Status::System(errno, "open", path);
  struct stat data, map;
  if (::fstat(file->data_fd_, &data) != 0 || ::fstat(file->map_fd_, &map) != 0) return Status::System(errno, "stat", path);
  gf_mirror_header header;
  if (::pread(file->map_fd_, &header, sizeof(header), 0) != sizeof(header) || header.magic != GF_MIRROR_MAGIC)
    return Status::Corrupt(path, 0, "this is not the map of a mirrored segment; `gridflow mirror clear` begins anew");
  if (header.version != GF_MIRROR_VERSION) return Status::Version(path, header.version, GF_MIRROR_VERSION);
  if (data.st_ino != segment->identity().second || header.inode != segment->identity().second)
    return {Code::kNotFound, segment->path() + " was replaced just now", segment->path(), -1};
  // More blocks than bytes there cannot be.
  file->map_bytes_ = MapBytes(header.blocks);
  if (header.file_bytes != segment->size() || header.blocks > segment->size() ||
      static_cast<uint64_t>(map.st_size) != file->map_bytes_)
    return Status::Corrupt(path, 16, "it is not the map of this segment; `gridflow mirror clear` begins anew");
  void* mapped = ::mmap(nullptr, file->map_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file->map_fd_, 0);
  if (mapped == MAP_FAILED) return Status::System(errno, "map", path);
  file->header_ = static_cast<gf_mirror_header*>(mapped);
  file->states_.resize(header.blocks, kIdle);
  (void)Lock(file->map_fd_, F_RDLCK, GF_MIRROR_USED, 1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  Atomic(&file->header_->used).store(static_cast<uint64_t>(std::chrono::nanoseconds(now).count()), std::memory_order_relaxed);
  *out = std::move(file);
  return Status::Ok();
}

MirrorFile::~MirrorFile() {
  if (header_ != nullptr) ::munmap(header_, map_bytes_);
  if (map_fd_ >= 0) ::close(map_fd_);
  if (data_fd_ >= 0) ::close(data_fd_);
}

Status MirrorFile::Create(const std::string& path, uint64_t bytes, uint64_t fingerprint, const uint8_t* head,
                          uint64_t* head_bytes, const uint8_t* tail, uint64_t tail_bytes) {
  const auto fail = [&](int64_t at, const char* what) { return Status::Corrupt(path, at, what); };
  gf_segment_header header;
  if (*head_bytes < sizeof(header)) return fail(static_cast<int64_t>(*head_bytes), "the header is cut off");
  std::memcpy(&header, head, sizeof(header));
  if (header.magic != GF_SEGMENT_MAGIC) return fail(0, "this is not a segment");
  if (header.version != GF_SEGMENT_VERSION) return Status::Version(path, header.version, GF_SEGMENT_VERSION);
  const uint64_t begin = header.header_bytes, end = header.checksum_offset;
  if (header.file_bytes != bytes || begin < sizeof(header) || begin > end || end > bytes)
    return fail(16, "the header does not fit the file");
  const uint64_t blocks = (end - begin + GF_BLOCK_BYTES - 1) / GF_BLOCK_BYTES;
  if (end + 4 * (blocks + 1) != bytes || tail_bytes > bytes || bytes - tail_bytes > end)
    return fail(80, "the checksums lie outside the file");
  if (begin > *head_bytes) {
    *head_bytes = begin;
    return Status::Ok();
  }
  gf_segment_header blank = header;
  blank.header_crc = 0;
  uint32_t crc = Crc32c(0, &blank, sizeof(blank));
  crc = Crc32c(crc, head + sizeof(blank), begin - sizeof(blank));
  if (crc != header.header_crc) return fail(12, "the header's checksum does not match");
  const uint8_t* sums = tail + (end - (bytes - tail_bytes));
  uint32_t last;
  std::memcpy(&last, sums + 4 * blocks, 4);
  if (Crc32c(0, sums, 4 * blocks) != last)
    return fail(static_cast<int64_t>(end), "the checksum of the checksums does not match");
  if (SegmentFingerprint(header, last) != fingerprint) return fail(12, "it is not the file that its source names");

  struct Files {
    std::string data, map;
    int data_fd = -1, map_fd = -1;
    ~Files() {
      if (data_fd >= 0) ::close(data_fd), ::unlink(data.c_str());
      if (map_fd >= 0) ::close(map_fd), ::unlink(map.c_str());
    }
  } files;
  files.data = path + ".tmp";
  files.map = path + ".map.tmp";
  if ((files.data_fd = CreateOwn(files.data)) < 0) return Status::System(errno, "create", files.data);
  if ((files.map_fd = CreateOwn(files.map)) < 0) return Status::System(errno, "create", files.map);
  struct stat info;
  if (::ftruncate(files.data_fd, static_cast<off_t>(bytes)) != 0 || ::fchmod(files.data_fd, 01600) != 0 ||
      ::fstat(files.data_fd, &info) != 0)
    return Status::System(errno, "make", files.data);
  std::vector<uint64_t> map(MapBytes(blocks) / 8);
  auto* map_header = reinterpret_cast<gf_mirror_header*>(map.data());
  map_header->magic = GF_MIRROR_MAGIC;
  map_header->version = GF_MIRROR_VERSION;
  map_header->file_bytes = bytes;
  map_header->fingerprint = fingerprint;
  map_header->inode = info.st_ino;
  map_header->blocks = blocks;
  map_header->used = static_cast<uint64_t>(std::time(nullptr)) * 1000000000;
  GF_RETURN_IF_ERROR(WriteAll(files.data_fd, files.data, head, begin, 0));
  for (uint64_t block = 0; block < blocks; ++block) {
    const uint64_t from = begin + block * GF_BLOCK_BYTES, size = std::min<uint64_t>(GF_BLOCK_BYTES, end - from);
    if (from + size > *head_bytes) break;
    uint32_t expected;
    std::memcpy(&expected, sums + 4 * block, 4);
    if (BlockChecksum(head + from, size) != expected) continue;  // it comes again
    GF_RETURN_IF_ERROR(WriteAll(files.data_fd, files.data, head + from, size, from));
    map[sizeof(gf_mirror_header) / 8 + block / 64] |= uint64_t{1} << (block % 64);
    ++map_header->present;
  }
  GF_RETURN_IF_ERROR(WriteAll(files.data_fd, files.data, sums, bytes - end, end));
  GF_RETURN_IF_ERROR(WriteAll(files.map_fd, files.map, map.data(), 8 * map.size(), 0));
  // Whoever sees the segment finds its map.
  if (::rename(files.map.c_str(), (path + ".map").c_str()) != 0) return Status::System(errno, "rename", files.map);
  ::close(files.map_fd);
  files.map_fd = -1;
  if (::rename(files.data.c_str(), path.c_str()) != 0) return Status::System(errno, "rename", files.data);
  ::close(files.data_fd);
  files.data_fd = -1;
  *head_bytes = 0;
  return Status::Ok();
}

Status MirrorFile::SetLayout(uint64_t data_begin, uint64_t data_end, uint64_t blocks) {
  if (blocks != header_->blocks)
    return Status::Corrupt(path() + ".map", 40, "it has another number of blocks than the segment");
  data_begin_ = data_begin;
  data_end_ = data_end;
  if (::getenv("GRIDFLOW_MIRROR_GUARD") == nullptr) return Status::Ok();
  guarded_ = true;
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (data_begin + page - 1) / page * page, end = data_end / page * page;
  if (begin < end && ::mprotect(const_cast<uint8_t*>(segment_->data()) + begin, end - begin, PROT_NONE) != 0)
    return Status::System(errno, "guard", path());
  return Status::Ok();
}

void MirrorFile::Allow(uint64_t block) const {
  if (!guarded_) return;
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = BlockBegin(block) / page * page, end = BlockBegin(block) + BlockBytes(block);
  (void)::mprotect(const_cast<uint8_t*>(segment_->data()) + begin, end - begin, PROT_READ);
}

void MirrorFile::Forget(uint64_t block) {
  const uint64_t bit = uint64_t{1} << (block % 64);
  if (Word(block).fetch_and(~bit, std::memory_order_acq_rel) & bit)
    Atomic(&header_->present).fetch_sub(1, std::memory_order_relaxed);
}

Status LookAtMirror(const std::string& path, MirrorUse* out) {
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) ::close(fd);
    }
  } const map{OpenOwn(path + ".map", O_RDWR)};
  if (map.fd < 0) return Status::System(errno, "open", path + ".map");
  gf_mirror_header header;
  if (::pread(map.fd, &header, sizeof(header), 0) != sizeof(header) || header.magic != GF_MIRROR_MAGIC)
    return Status::Corrupt(path + ".map", 0, "this is not the map of a mirrored segment");
  out->bytes = header.file_bytes;
  out->present = std::min(header.present * GF_BLOCK_BYTES, header.file_bytes);
  out->used = static_cast<int64_t>(header.used);
  out->is_used = !Lock(map.fd, F_WRLCK, GF_MIRROR_USED, 1);  // and it is given back with the descriptor
  return Status::Ok();
}

void MirrorFile::Wait(uint32_t changes, int64_t ns) const {
  const struct timespec time = {static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  Atomic(&header_->waiters).fetch_add(1);
  (void)::syscall(SYS_futex, &header_->changes, FUTEX_WAIT, changes, &time, nullptr, 0);
  Atomic(&header_->waiters).fetch_sub(1);
}

void MirrorFile::Tell() const {
  Atomic(&header_->changes).fetch_add(1);
  // A waiter that was killed is counted for good: a wake too many.
  if (Atomic(&header_->waiters).load() != 0)
    (void)::syscall(SYS_futex, &header_->changes, FUTEX_WAKE, 1 << 30, nullptr, nullptr, 0);
}

bool MirrorFile::Matches(uint64_t block, const uint8_t* data) const {
  uint32_t expected;
  std::memcpy(&expected, segment_->data() + data_end_ + 4 * block, 4);
  return BlockChecksum(data, BlockBytes(block)) == expected;
}

Status MirrorFile::Write(uint64_t block, const uint8_t* data) {
  GF_FAILPOINT("mirror.write");
  GF_RETURN_IF_ERROR(WriteAll(data_fd_, path(), data, BlockBytes(block), BlockBegin(block)));
  GF_KILLPOINT("mirror.written");
  const uint64_t bit = uint64_t{1} << (block % 64);
  if (!(Word(block).fetch_or(bit, std::memory_order_acq_rel) & bit))
    Atomic(&header_->present).fetch_add(1, std::memory_order_relaxed);
  return Status::Ok();
}

bool MirrorFile::Claim(uint64_t first, uint64_t last) const {
  return Lock(map_fd_, F_WRLCK, GF_MIRROR_CLAIMS + static_cast<int64_t>(first), last - first + 1);
}

void MirrorFile::Unclaim(uint64_t first, uint64_t last) const {
  (void)Lock(map_fd_, F_UNLCK, GF_MIRROR_CLAIMS + static_cast<int64_t>(first), last - first + 1);
}

// ---- jobs ----

FetchJob::~FetchJob() {
  if (!blocks_.empty()) Fail(Status::Internal("who fetched it has ended"));
}

std::vector<std::pair<uint64_t, uint64_t>> FetchJob::Ranges() const {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const uint64_t block : blocks_) {
    const uint64_t begin = file_->BlockBegin(block), end = begin + file_->BlockBytes(block);
    if (!ranges.empty() && ranges.back().second == begin)
      ranges.back().second = end;
    else
      ranges.emplace_back(begin, end);
  }
  return ranges;
}

Status FetchJob::Deliver(uint64_t offset, const uint8_t* data, uint64_t bytes) {
  while (bytes > 0) {
    if (offset < file_->data_begin_ || offset >= file_->data_end_)
      return Status::Invalid("bytes that were not asked for");
    const uint64_t block = file_->BlockOf(offset), begin = file_->BlockBegin(block), size = file_->BlockBytes(block);
    uint64_t taken = size - (offset - begin);
    if (taken > bytes) taken = bytes;
    if (taken == size) {
      GF_RETURN_IF_ERROR(Finish(block, data));
    } else {
      if (offset == begin) {
        part_.clear();
        part_begin_ = begin;
      }
      if (part_begin_ != begin || part_begin_ + part_.size() != offset)
        return Status::Invalid("bytes that do not follow what came before");
      part_.insert(part_.end(), data, data + taken);
      if (part_.size() == size) {
        GF_RETURN_IF_ERROR(Finish(block, part_.data()));
        part_.clear();
      }
    }
    offset += taken;
    data += taken;
    bytes -= taken;
  }
  return Status::Ok();
}

Status FetchJob::Finish(uint64_t block, const uint8_t* data) {
  const auto at = std::lower_bound(blocks_.begin(), blocks_.end(), block);
  if (at == blocks_.end() || *at != block) return Status::Ok();  // it has come before
  if (!file_->Matches(block, data)) {
    if (damaged_++ == 0) first_damaged_ = block;
    return Status::Ok();
  }
  GF_RETURN_IF_ERROR(file_->Write(block, data));
  blocks_.erase(at);
  {
    MutexLock lock(&fetcher_->mutex_);
    file_->states_[block] = MirrorFile::kIdle;
    file_->failures_.erase(block);
  }
  file_->Unclaim(block, block);
  file_->Tell();
  return Status::Ok();
}

uint64_t FetchJob::TakeDamaged(uint64_t* first) {
  const uint64_t count = damaged_;
  *first = first_damaged_;
  damaged_ = 0;
  part_.clear();
  return count;
}

void FetchJob::Fail(const Status& status) {
  {
    MutexLock lock(&fetcher_->mutex_);
    for (const uint64_t block : blocks_) {
      file_->states_[block] = MirrorFile::kIdle;
      file_->failures_[block] = {++fetcher_->failures_, status};
    }
  }
  for (const uint64_t block : blocks_) file_->Unclaim(block, block);
  blocks_.clear();
  file_->Tell();
}

// ---- the queue ----

void Fetcher::Append(const std::shared_ptr<MirrorFile>& file, uint64_t first, uint64_t last, MirrorFile::State state,
                     std::deque<Run>* queue) {
  for (uint64_t block = first; block <= last; ++block) {
    uint8_t& there = file->states_[block];
    if (there >= state || file->Present(block)) continue;
    if (state == MirrorFile::kAhead) {
      if (ahead_blocks_ >= kMostAhead) return;
      ++ahead_blocks_;
    } else if (there == MirrorFile::kAhead && ahead_blocks_ > 0) {
      --ahead_blocks_;
    }
    there = state;
    if (!queue->empty() && queue->back().file == file && queue->back().last + 1 == block)
      queue->back().last = block;
    else
      queue->push_back({file, block, block});
  }
}

Status Fetcher::Need(const std::shared_ptr<MirrorFile>& file, uint64_t first, uint64_t last) {
  uint64_t known = 0;
  int64_t asked = Now();
  for (bool begun = false;; begun = true) {
    const uint32_t changes = file->changes();
    while (first <= last && file->Present(first)) ++first;
    if (first > last) return Status::Ok();
    {
      MutexLock lock(&mutex_);
      if (closed_ || threads_ == 0)
        return {Code::kUnreachable,
                "blocks of " + file->path() + " are still to come, and nothing in this process fetches them" +
                    (closed_ ? ": it is ending" : ""),
                file->path(), static_cast<int64_t>(file->BlockBegin(first))};
      if (!begun) known = failures_;
      for (auto failure = file->failures_.lower_bound(first); failure != file->failures_.end() && failure->first <= last;
           ++failure)
        if (begun && failure->second.number > known && !file->Present(failure->first)) return failure->second.status;
      if (Now() - asked > kLost) {
        asked = Now();
        for (uint64_t block = first; block <= last; ++block)
          if (file->states_[block] != MirrorFile::kAhead) file->states_[block] = MirrorFile::kIdle;
      }
      Append(file, first, last, MirrorFile::kUrgent, &urgent_);
      work_.NotifyAll();
    }
    file->Wait(changes, 50 * kMillisecond);
  }
}

void Fetcher::Ask(const std::shared_ptr<MirrorFile>& file, uint64_t first, uint64_t last) {
  MutexLock lock(&mutex_);
  if (closed_ || threads_ == 0) return;
  Append(file, first, last, MirrorFile::kAhead, &ahead_);
  if (!ahead_.empty()) work_.NotifyAll();
}

bool Fetcher::Pick(std::shared_ptr<MirrorFile>* file, std::vector<uint64_t>* blocks) {
  const int64_t now = Now();
  while (!deferred_.empty() && deferred_.front().until <= now) {
    const Deferred back = std::move(deferred_.front());
    deferred_.pop_front();
    urgent_.push_back({back.file, back.block, back.block});
  }
  for (std::deque<Run>* queue : {&urgent_, &ahead_}) {
    uint64_t waiting = 0;
    for (const Run& run : *queue) waiting += run.last - run.first + 1;
    const uint64_t most = std::clamp(waiting / static_cast<uint64_t>(std::max(threads_, 1)), kLeastRequested, kMostRequested);
    while (!queue->empty() && blocks->size() < most) {
      Run& run = queue->front();
      if (!blocks->empty() && run.file != *file) break;
      while (run.first <= run.last && blocks->size() < most) {
        uint8_t& state = run.file->states_[run.first];
        if (state == (queue == &ahead_ ? MirrorFile::kAhead : MirrorFile::kUrgent)) {
          if (state == MirrorFile::kAhead && ahead_blocks_ > 0) --ahead_blocks_;
          if (run.file->Present(run.first)) {
            state = MirrorFile::kIdle;
          } else {
            state = MirrorFile::kFetched;
            *file = run.file;
            blocks->push_back(run.first);
          }
        }
        ++run.first;
      }
      if (run.first > run.last) queue->pop_front();
    }
    if (!blocks->empty()) break;
  }
  std::sort(blocks->begin(), blocks->end());
  return !blocks->empty();
}

void Fetcher::Claim(FetchJob* job, std::vector<uint64_t> blocks) {
  MirrorFile& file = *job->file_;
  std::vector<uint64_t> elsewhere;
  const auto claim = [&](size_t begin, size_t end) {
    if (file.Claim(blocks[begin], blocks[end - 1])) {
      job->blocks_.insert(job->blocks_.end(), blocks.begin() + static_cast<std::ptrdiff_t>(begin),
                          blocks.begin() + static_cast<std::ptrdiff_t>(end));
      return true;
    }
    return false;
  };
  for (size_t begin = 0, end; begin < blocks.size(); begin = end) {
    for (end = begin + 1; end < blocks.size() && blocks[end] == blocks[end - 1] + 1;) ++end;
    if (claim(begin, end)) continue;
    for (size_t i = begin; i < end; ++i)
      if (!claim(i, i + 1)) elsewhere.push_back(blocks[i]);
  }
  MutexLock lock(&mutex_);
  const int64_t now = Now();
  // Those that have come since are there for good: their claim has been given back before.
  for (size_t i = 0; i < job->blocks_.size();) {
    const uint64_t block = job->blocks_[i];
    if (!file.Present(block)) {
      ++i;
      continue;
    }
    file.states_[block] = MirrorFile::kIdle;
    file.Unclaim(block, block);
    job->blocks_.erase(job->blocks_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  for (const uint64_t block : elsewhere) {
    const int64_t since = file.claimed_elsewhere_.emplace(block, now).first->second;
    if (now - since > kPatience) {
      file.claimed_elsewhere_.erase(block);
      job->blocks_.insert(std::lower_bound(job->blocks_.begin(), job->blocks_.end(), block), block);
    } else {
      file.states_[block] = MirrorFile::kUrgent;
      deferred_.push_back({job->file_, block, now + kRetry});
    }
  }
  for (const uint64_t block : job->blocks_) file.claimed_elsewhere_.erase(block);
}

bool Fetcher::Take(FetchJob* job) {
  for (;;) {
    std::vector<uint64_t> blocks;
    {
      MutexLock lock(&mutex_);
      for (;;) {
        if (closed_) return false;
        job->file_.reset();
        if (Pick(&job->file_, &blocks)) break;
        if (deferred_.empty())
          work_.Wait(&mutex_);
        else
          work_.WaitFor(&mutex_, std::max<int64_t>(deferred_.front().until - Now(), 1));
      }
    }
    Claim(job, std::move(blocks));
    if (!job->blocks_.empty()) return true;
    job->file_->Tell();  // somebody may wait for what has come elsewhere
  }
}

void Fetcher::Begin(int threads) {
  MutexLock lock(&mutex_);
  threads_ = threads;
}

void Fetcher::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  work_.NotifyAll();
}

}  // namespace gridflow
