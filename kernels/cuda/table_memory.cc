// Where a Table's rows are for the device: pinned files, or copies in its memory that come and go.

#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "cuda/table.h"
#include "cuda/table_parts.h"

namespace gridflow {
namespace cuda {

// Checks what the columns lie in against its checksums; all pages are in memory then.
Outcome Table::CheckPart(const Part& part) const {
  const Segment& segment = *snapshot_->segments()[part.segment].segment;
  if (segment.checked()) return Ok();
  for (const Column& column : columns_) {
    if (!IsMapped(column, part)) continue;
    const ColumnView& view = snapshot_->columns(part.segment)[column.position];
    const int64_t step = std::max<int64_t>(1, (int64_t{16} << 20) / column.row_bytes);
    const auto pieces = static_cast<size_t>((segment.rows() + step - 1) / step);
    std::vector<Status> statuses(pieces);
    ForEach(Threads(), pieces, [&](size_t i) {
      const int64_t begin = static_cast<int64_t>(i) * step;
      statuses[i] = segment.CheckRows(view, begin, std::min(segment.rows(), begin + step));
    });
    for (const Status& status : statuses) GF_CUDA_RETURN_IF_ERROR(From(status));
  }
  return Ok();
}

Outcome Table::Pin(const Progress& progress) {
  MutexLock lock(&mutex_);
  return PinLocked(progress);
}

Outcome Table::PinLocked(const Progress& progress) {
  if (pinned_) return Ok();
  uint64_t done = 0, all = 0;
  for (const Part& part : parts_) all += snapshot_->segments()[part.segment].segment->bytes();
  for (Part& part : parts_) {
    GF_CUDA_RETURN_IF_ERROR(CheckPart(part));
    if (device_ == nullptr || part.memory != nullptr) continue;
    if (!device_->reads_host_addresses() || !device_->reads_read_only())
      return Fail(GF_CUDA_NO_DEVICE, "this GPU does not read pinned mappings of files: load the whole table (resident=True)");
    const std::shared_ptr<const Mapping>& mapping = snapshot_->segments()[part.segment].segment->mapping();
    std::shared_ptr<Pinned> pinned;
    const auto registered = [&](uint64_t bytes) { return progress(done += bytes, all); };
    GF_CUDA_RETURN_IF_ERROR(Pinned::File(device_, mapping, registered, &pinned));
    part.pinned = {std::move(pinned)};
    GF_CUDA_RETURN_IF_ERROR(OpenCompressed(&part));
  }
  if (device_ != nullptr) {
    GF_CUDA_RETURN_IF_ERROR(MakePages());
    GF_CUDA_RETURN_IF_ERROR(ChooseWays());
  }
  pinned_ = true;
  return Ok();
}

Outcome Table::Upload(const void* from, size_t bytes, unsigned char* to) {
  if (bytes == 0) return Ok();
  const Current current(*device_);
  const Driver& driver = device_->driver();
  GF_CUDA_RETURN_IF_ERROR(
      driver.Check(driver.MemcpyAsync(Address(to), Address(from), bytes, own_), "copy to the GPU"));
  return driver.Check(driver.StreamSynchronize(own_), "copy to the GPU");
}

Outcome Table::MakePages() {
  GF_CUDA_RETURN_IF_ERROR(WaitForAll());  // kernels read the old ones
  if (device_order_ == nullptr && !order_.empty()) {
    const size_t bytes = order_.size() * sizeof(uint32_t);
    std::shared_ptr<DeviceMemory> memory;
    GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device_, bytes, &memory));
    GF_CUDA_RETURN_IF_ERROR(Upload(order_.data(), bytes, memory->data()));
    device_order_ = std::move(memory);
  }
  for (Column& column : columns_) {
    column.pages.clear();
    for (Part& part : parts_) {
      // What an older segment does not have lies in this process's memory, where the GPU does not read.
      if (part.memory == nullptr && !IsMapped(column, part)) GF_CUDA_RETURN_IF_ERROR(LoadPart(&part));
      bool on_device;
      const unsigned char* data = SourceOf(column, part.segment, &on_device);
      AddPages(part, data, &column);
    }
    if (column.pages.empty()) continue;
    const size_t bytes = column.pages.size() * sizeof(column.pages[0]);  // the same each time
    if (column.device_pages == nullptr)
      GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device_, bytes, &column.device_pages));
    GF_CUDA_RETURN_IF_ERROR(Upload(column.pages.data(), bytes, column.device_pages->data()));
  }
  return Ok();
}

const Table::Part& Table::PartOf(int segment) const {
  return *std::find_if(parts_.begin(), parts_.end(), [&](const Part& part) { return part.segment == segment; });
}

const unsigned char* Table::SourceOf(const Column& column, int segment, bool* on_device) const {
  const Part& part = PartOf(segment);
  *on_device = part.memory != nullptr;
  return *on_device ? part.memory->data() + column.offsets[segment] : HostData(column, part);
}

Outcome Table::LoadPart(Part* part) {
  std::shared_ptr<DeviceMemory> memory;
  Outcome allocated = DeviceMemory::AllocateShareable(device_, part->bytes, &memory);
  if (allocated.code == GF_CUDA_NO_MEMORY) {
    ReleaseStaging();
    allocated = DeviceMemory::AllocateShareable(device_, part->bytes, &memory);
  }
  if (!allocated.ok()) return allocated;
  const Current current(*device_);
  const Driver& driver = device_->driver();
  const Segment& segment = *snapshot_->segments()[part->segment].segment;
  bool decoded = false;
  for (const Column& column : columns_) {
    const uint8_t* from = HostData(column, *part);
    unsigned char* to = memory->data() + column.offsets[part->segment];
    const auto bytes = static_cast<uint64_t>(segment.rows() * column.row_bytes);
    Outcome outcome = Fail(GF_CUDA_NO_MEMORY, "");
    if (Decodes(column, part->segment, bytes)) {
      outcome = Decode(column, *part, 0, bytes, to, own_);
      decoded = decoded || outcome.ok();
    }
    // The plain way needs no memory beside.
    if (outcome.code == GF_CUDA_NO_MEMORY)
      outcome = IsMapped(column, *part)
                    ? CopyMapped(*segment.mapping(), from, bytes, to, own_)
                    : driver.Check(driver.MemcpyAsync(Address(to), Address(from), bytes, own_), "copy to the GPU");
    if (!outcome.ok()) return outcome;
  }
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.StreamSynchronize(own_), "copy to the GPU"));
  int64_t bad[2] = {0, 0};
  if (decoded) GF_CUDA_RETURN_IF_ERROR(TakeBad(kBadBlocks, bad));
  if (bad[0] != 0) return BadBlock(bad[1]);
  part->memory = std::move(memory);
  return Ok();
}

Outcome Table::Load(uint64_t budget, const Progress& progress) {
  MutexLock lock(&mutex_);
  if (device_ == nullptr) return Fail(GF_CUDA_INVALID, "without a GPU there is nothing to load into");
  if (budget == 0) {
    size_t free, all;
    GF_CUDA_RETURN_IF_ERROR(device_->FreeMemory(&free, &all));
    uint64_t wanted = 0;
    for (const Part& part : parts_) wanted += part.memory == nullptr ? part.bytes : 0;
    if (wanted > free)
      return Fail(GF_CUDA_NO_MEMORY, "the columns take " + std::to_string(wanted) + " bytes, and " +
                                         std::to_string(free) + " are free on the GPU");
  }
  // Of pinned memory a copy is several times as fast; it is given back where all has been loaded.
  const bool was_pinned = pinned_;
  if (device_->reads_host_addresses() && device_->reads_read_only())
    GF_CUDA_RETURN_IF_ERROR(PinLocked([](uint64_t, uint64_t) { return Ok(); }));
  else
    for (const Part& part : parts_) GF_CUDA_RETURN_IF_ERROR(CheckPart(part));
  uint64_t used = 0;
  Outcome outcome;
  std::vector<Part*> now;
  for (Part& part : parts_) {
    if (part.memory == nullptr) {
      if (budget != 0 && used + part.bytes > budget) continue;
      outcome = LoadPart(&part);
      if (!outcome.ok()) break;
      now.push_back(&part);
    }
    used += part.bytes;
    outcome = progress(used, AllBytes());
    if (!outcome.ok()) break;
  }
  if (!outcome.ok() && (budget == 0 || outcome.code != GF_CUDA_NO_MEMORY)) {
    for (Part* part : now) part->memory.reset();
    if (!was_pinned) pinned_ = false;
    return outcome;
  }
  GF_CUDA_RETURN_IF_ERROR(MakePages());
  budget_ = outcome.ok() ? budget : used;
  partial_ = std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.memory == nullptr; });
  if (!partial_) {
    ReleaseStaging();
    for (Part& part : parts_) part.pinned.clear();
    pinned_ = true;
  }
  return Ok();
}

int64_t Table::ResidentRows() {
  if (device_ == nullptr) return rows();
  MutexLock lock(&mutex_);
  int64_t resident = 0;
  for (const Part& part : parts_)
    if (part.memory != nullptr) resident += snapshot_->segments()[part.segment].live_rows();
  return resident;
}

Outcome Table::Unload() {
  MutexLock lock(&mutex_);
  if (device_ == nullptr) return Ok();
  GF_CUDA_RETURN_IF_ERROR(WaitForAll());
  for (Part& part : parts_) part.memory.reset();
  pinned_ = partial_ = false;  // the next call pins what it reads
  return Ok();
}

bool Table::HasAllColumns(const Part& part) const {
  return std::all_of(columns_.begin(), columns_.end(), [&](const Column& column) { return IsMapped(column, part); });
}

// Notes which parts are read, of a partial table; `rows` may be null for those from `first` on. Parts may take others' places.
Outcome Table::Used(const int64_t* rows, int64_t first, int64_t count, int64_t row_bytes) {
  ++clock_;
  std::vector<int64_t> read(parts_.size());
  for (int64_t i = 0; i < count;) {
    const int64_t row = rows != nullptr ? rows[i] : first + i;
    const int64_t number = order_.empty() ? row : order_[static_cast<size_t>(row)];
    const auto after = std::upper_bound(parts_.begin(), parts_.end(), number,
                                        [](int64_t value, const Part& part) { return value < part.first; });
    const int64_t taken = rows == nullptr && order_.empty() ? count - i : 1;  // without an order there is one part
    read[static_cast<size_t>(after - 1 - parts_.begin())] += taken * row_bytes;
    i += taken;
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (read[i] == 0) continue;
    part.used = clock_;
    if (part.memory != nullptr) continue;
    if (part.read == 0) part.read_since = clock_;
    part.read += static_cast<uint64_t>(read[i]);
    if (part.read < 2 * part.bytes) continue;
    part.read = 0;
    GF_CUDA_RETURN_IF_ERROR(Replace(&part));
  }
  return Ok();
}

// Loads the part in place of those that were not used since it has been read, the one of the longest time ago first; does
// nothing if they do not suffice.
Outcome Table::Replace(Part* part) {
  uint64_t room = budget_;
  std::vector<Part*> loaded, going;
  for (Part& other : parts_) {
    if (other.memory == nullptr) continue;
    room -= std::min(room, static_cast<uint64_t>(other.bytes));
    if (other.used < part->read_since && HasAllColumns(other)) loaded.push_back(&other);
  }
  std::sort(loaded.begin(), loaded.end(), [](const Part* one, const Part* other) { return one->used < other->used; });
  for (Part* oldest : loaded) {
    if (room >= part->bytes) break;
    room += oldest->bytes;
    going.push_back(oldest);
  }
  if (room < part->bytes) return Ok();
  GF_CUDA_RETURN_IF_ERROR(WaitForAll());
  for (Part* old : going) {
    old->memory.reset();
    old->read = 0;
  }
  const Outcome outcome = LoadPart(part);
  GF_CUDA_RETURN_IF_ERROR(MakePages());  // whatever has come of it: the old parts are gone
  return outcome.code == GF_CUDA_NO_MEMORY ? Ok() : outcome;
}

Outcome Table::Share(std::vector<int>* descriptors) {
  MutexLock lock(&mutex_);
  for (const Part& part : parts_) {
    if (part.memory == nullptr) return Fail(GF_CUDA_INVALID, "only a table that is loaded as a whole can be shared");
    int descriptor = -1;
    GF_CUDA_RETURN_IF_ERROR(part.memory->Export(&descriptor));
    descriptors->push_back(descriptor);
  }
  return Ok();
}

Outcome Table::Adopt(const std::vector<int>& descriptors) {
  MutexLock lock(&mutex_);
  if (device_ == nullptr) return Fail(GF_CUDA_INVALID, "without a GPU there is nothing to share");
  if (descriptors.size() != parts_.size())
    return Fail(GF_CUDA_INVALID, std::to_string(descriptors.size()) + " pieces of memory are given, and the columns take " +
                                     std::to_string(parts_.size()));
  GF_CUDA_RETURN_IF_ERROR(WaitForAll());
  std::vector<std::shared_ptr<DeviceMemory>> memory(parts_.size());
  for (size_t i = 0; i < parts_.size(); ++i)
    GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Import(device_, parts_[i].bytes, descriptors[i], &memory[i]));
  for (size_t i = 0; i < parts_.size(); ++i) {
    parts_[i].memory = std::move(memory[i]);
    parts_[i].pinned.clear();
  }
  pinned_ = true;
  partial_ = false;
  return MakePages();
}

}  // namespace cuda
}  // namespace gridflow
