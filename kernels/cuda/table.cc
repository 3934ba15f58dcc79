#include "cuda/table.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "core/parallel.h"

namespace gridflow {
namespace cuda {
namespace {

constexpr size_t kAlignment = 256;
// Rows of so many bytes are copied by the copy engines, one by one, if the processor knows which.
constexpr int64_t kCopiedRow = 64 * 1024;
// So many bytes and more are copied compressed, where that is faster; so many at once.
constexpr uint64_t kDecodedBytes = 256 * 1024, kDecodedAtOnce = 64 << 20;
constexpr unsigned kNoTiming = 2, kNonBlocking = 1;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Where kernels say so, in Table::bad_: of rows that are not there, and of blocks that are none.
constexpr int kBadRows = 0, kBadBlocks = 2;

Outcome BadBlock(int64_t block) {
  return Fail(GF_CUDA_CORRUPT, "block " + std::to_string(block) + " of what was copied compressed cannot be decoded");
}

int Threads() { return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u)); }

CUdeviceptr Address(const void* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

// The numbers of a column's type; 0: it has none.
int32_t DtypeOf(const Type& type) {
  switch (type.kind) {
    case GF_TENSOR:
      return type.element;
    case GF_DATE:
      return GF_CUDA_INT32;
    case GF_TIME:
    case GF_TIMESTAMP:
      return GF_CUDA_INT64;
    default:
      return type.kind >= GF_INT8 && type.kind <= GF_FLOAT64 ? type.kind : 0;
  }
}

}  // namespace

Outcome Table::Open(const std::string& grid, uint32_t table_id, uint64_t version, Device* device,
                    const std::vector<std::string>& columns, std::unique_ptr<Table>* out) {
  std::unique_ptr<Table> table(new Table);
  table->device_ = device;
  GF_CUDA_RETURN_IF_ERROR(From(TableSnapshot::Open(grid, table_id, version, &table->snapshot_)));
  GF_CUDA_RETURN_IF_ERROR(From(RowPlan::Make(*table->snapshot_, {}, &table->plan_)));
  if (columns.empty()) return Fail(GF_CUDA_INVALID, "no column is asked for");
  for (const std::string& name : columns) GF_CUDA_RETURN_IF_ERROR(table->AddColumn(name));
  GF_CUDA_RETURN_IF_ERROR(table->MakeParts());
  if (device != nullptr) {
    const Current current(*device);
    const Driver& driver = device->driver();
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.StreamCreate(&table->own_, kNonBlocking), "make a stream"));
    const int64_t none[4] = {};
    GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device, sizeof(none), &table->bad_));
    GF_CUDA_RETURN_IF_ERROR(table->Upload(none, sizeof(none), table->bad_->data()));
  }
  *out = std::move(table);
  return Ok();
}

Table::~Table() {
  if (device_ == nullptr) return;
  (void)WaitForAll();
  const Current current(*device_);
  const Driver& driver = device_->driver();
  for (Slot& slot : slots_) {
    if (slot.host != nullptr) driver.MemFreeHost(slot.host);
    if (slot.used != nullptr) driver.EventDestroy(slot.used);
  }
  for (const Staging& staging : staging_)
    if (staging.used != nullptr) driver.EventDestroy(staging.used);
  for (const auto& [stream, event] : begun_) driver.EventDestroy(event);
  if (own_ != nullptr) driver.StreamDestroy(own_);
}

Outcome Table::AddColumn(const std::string& name) {
  const std::vector<gridflow::Column>& all = snapshot_->schema().columns;
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const gridflow::Column& column) { return column.type.name == name; });
  if (found == all.end()) return Fail(GF_CUDA_NOT_FOUND, "no column " + name);
  const Type& type = found->type;
  Column column;
  column.name = name;
  column.position = static_cast<int>(found - all.begin());
  column.dtype = DtypeOf(type);
  if (column.dtype == 0)
    return Fail(GF_CUDA_INVALID, "column " + name + " does not hold numbers or tensors, each with the same bytes");
  if (type.kind == GF_TENSOR) column.dims.assign(type.dims.begin(), type.dims.end());
  column.row_bytes = type.width;
  column.row_numbers = type.width / WidthOf(column.dtype);
  GF_CUDA_RETURN_IF_ERROR(CheckNulls(column));
  columns_.push_back(std::move(column));
  return Ok();
}

Outcome Table::CheckNulls(const Column& column) const {
  for (size_t i = 0; i < snapshot_->segments().size(); ++i) {
    const SegmentRef& ref = snapshot_->segments()[i];
    const ColumnView& view = snapshot_->columns(static_cast<int>(i))[column.position];
    if (view.validity == nullptr && !view.missing()) continue;
    if (!view.missing()) GF_CUDA_RETURN_IF_ERROR(From(ref.segment->CheckValidity(view, 0, ref.segment->rows())));
    for (int64_t row = 0; row < ref.segment->rows(); ++row)
      if (ref.Live(row) && (view.missing() || view.IsNull(row)))
        return Fail(GF_CUDA_INVALID, "column " + column.name + " has nulls: fill them first");
  }
  return Ok();
}

Outcome Table::MakeParts() {
  int64_t first = 0;
  for (Column& column : columns_) column.offsets.resize(snapshot_->segments().size());
  for (size_t i = 0; i < snapshot_->segments().size(); ++i) {
    const SegmentRef& ref = snapshot_->segments()[i];
    if (ref.live_rows() == 0) continue;
    Part part;
    part.segment = static_cast<int>(i);
    part.first = first;
    if (ref.live_rows() != ref.segment->rows())
      for (int64_t row = 0; row < ref.segment->rows(); ++row)
        if (ref.Live(row)) part.live.push_back(static_cast<uint32_t>(row));
    for (Column& column : columns_) {
      column.offsets[i] = part.bytes;
      part.bytes += Aligned(static_cast<size_t>(ref.segment->rows() * column.row_bytes));
    }
    first += ref.live_rows();
    parts_.push_back(std::move(part));
  }
  if (first != plan_.rows()) return Fail(GF_CUDA_FAILED, "the rows of the table do not add up");
  return Ok();
}

const uint8_t* Table::HostData(const Column& column, const Part& part) const {
  return snapshot_->columns(part.segment)[column.position].Value(0);
}

bool Table::IsMapped(const Column& column, const Part& part) const {
  const SegmentRef& ref = snapshot_->segments()[part.segment];
  return ref.segment->FindColumn(snapshot_->schema().columns[column.position].id) >= 0;
}

uint64_t Table::AllBytes() const {
  uint64_t bytes = 0;
  for (const Part& part : parts_) bytes += part.bytes;
  return bytes;
}

Outcome Table::Describe(int32_t column, gf_cuda_column* out) const {
  if (column < 0 || static_cast<size_t>(column) >= columns_.size())
    return Fail(GF_CUDA_INVALID, "no column " + std::to_string(column) + " of " + std::to_string(columns_.size()));
  const Column& it = columns_[column];
  *out = {it.dtype, static_cast<int32_t>(it.dims.size()), it.dims.data(), it.row_bytes};
  return Ok();
}

Outcome Table::Prepare(int32_t column, const gf_cuda_convert* convert, Conversion* out) const {
  gf_cuda_column described;
  GF_CUDA_RETURN_IF_ERROR(Describe(column, &described));
  return Conversion::Make(described.dtype, columns_[column].row_numbers, convert, out);
}

Outcome Table::ResultBytes(int32_t column, const gf_cuda_convert* convert, int64_t* out) const {
  Conversion conversion;
  GF_CUDA_RETURN_IF_ERROR(Prepare(column, convert, &conversion));
  *out = conversion.result_bytes;
  return Ok();
}

Outcome Table::CheckRange(int64_t start, int64_t count) const {
  if (start >= 0 && count >= 0 && count <= rows() && start <= rows() - count) return Ok();
  return Fail(GF_CUDA_OUT_OF_RANGE, "no rows " + std::to_string(start) + " to " + std::to_string(start + count - 1) +
                                        ": there are " + std::to_string(rows()));
}

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
  std::lock_guard<std::mutex> lock(mutex_);
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
      return Fail(GF_CUDA_NO_DEVICE, "this GPU does not read pinned mappings of files: load the table");
    const std::shared_ptr<const Mapping>& mapping = snapshot_->segments()[part.segment].segment->mapping();
    std::shared_ptr<Pinned> pinned;
    const auto registered = [&](uint64_t bytes) { return progress(done += bytes, all); };
    GF_CUDA_RETURN_IF_ERROR(Pinned::File(device_, mapping, registered, &pinned));
    part.pinned = {std::move(pinned)};
    GF_CUDA_RETURN_IF_ERROR(OpenCompressed(&part));
  }
  pinned_ = true;
  if (device_ == nullptr) return Ok();
  GF_CUDA_RETURN_IF_ERROR(MakeSpans());
  return ChooseWays();
}

// Finds which columns of a part there are compressed, and pins those.
Outcome Table::OpenCompressed(Part* part) {
  const Segment& segment = *snapshot_->segments()[part->segment].segment;
  const std::shared_ptr<const CompressedCopy> copy = CompressedCopy::Open(segment);
  bool any = false;
  for (Column& column : columns_) {
    column.blocks.resize(snapshot_->segments().size());
    CompressedCopy::Column& blocks = column.blocks[part->segment];
    const uint32_t id = snapshot_->schema().columns[column.position].id;
    if (copy == nullptr || !copy->Find(id, static_cast<uint64_t>(segment.rows() * column.row_bytes), &blocks))
      blocks = {};
    any = any || blocks.bounds != nullptr;
  }
  if (!any) return Ok();
  std::shared_ptr<Pinned> pinned;
  const auto registered = [](uint64_t) { return Ok(); };
  GF_CUDA_RETURN_IF_ERROR(Pinned::File(device_, copy->mapping(), registered, &pinned));
  part->pinned.push_back(std::move(pinned));
  part->compressed = copy;
  return Ok();
}

// Decides for each column that is there compressed whether that way is the faster one: by going both.
Outcome Table::ChooseWays() {
  for (Column& column : columns_) {
    const Part* largest = nullptr;
    for (const Part& part : parts_) {
      if (part.segment >= static_cast<int>(column.blocks.size()) || column.blocks[part.segment].bounds == nullptr) continue;
      if (largest == nullptr || column.blocks[part.segment].blocks > column.blocks[largest->segment].blocks)
        largest = &part;
    }
    column.decodes = false;
    if (largest == nullptr || column.blocks[largest->segment].raw_bytes < kDecodedBytes) continue;
    const Outcome outcome = TimeWays(column, *largest, &column.decodes);
    if (!outcome.ok() && outcome.code != GF_CUDA_NO_MEMORY) return outcome;
  }
  return Ok();
}

Outcome Table::TimeWays(const Column& column, const Part& part, bool* decodes) {
  constexpr uint64_t kTimedBytes = 32 << 20;
  constexpr int kTimes = 3;
  const CompressedCopy::Column& blocks = column.blocks[part.segment];
  const uint64_t bytes = std::min(blocks.raw_bytes, kTimedBytes / blocks.block_bytes * blocks.block_bytes);
  const Mapping& mapping = *snapshot_->segments()[part.segment].segment->mapping();
  std::shared_ptr<DeviceMemory> room;
  GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device_, bytes, &room));
  const Current current(*device_);
  const Driver& driver = device_->driver();
  CUevent events[2] = {};
  Outcome outcome;
  for (CUevent& event : events)
    if (outcome.ok()) outcome = driver.Check(driver.EventCreate(&event, 0), "make an event");
  float fastest[2] = {-1, -1};
  for (int time = 0; time < kTimes && outcome.ok(); ++time) {
    for (int way = 0; way < 2 && outcome.ok(); ++way) {
      outcome = driver.Check(driver.EventRecord(events[0], own_), "record an event");
      if (outcome.ok())
        outcome = way == 0 ? CopyMapped(mapping, HostData(column, part), bytes, room->data(), own_)
                           : DecodeRange(column, part, 0, bytes, room->data(), own_);
      if (outcome.ok()) outcome = driver.Check(driver.EventRecord(events[1], own_), "record an event");
      if (outcome.ok()) outcome = driver.Check(driver.EventSynchronize(events[1]), "wait for the GPU");
      float ms = 0;
      if (outcome.ok())
        outcome = driver.Check(driver.EventElapsedTime(&ms, events[0], events[1]), "ask for the time between events");
      if (fastest[way] < 0 || ms < fastest[way]) fastest[way] = ms;
    }
  }
  for (CUevent event : events)
    if (event != nullptr) driver.EventDestroy(event);
  int64_t bad[2] = {0, 0};
  if (outcome.ok()) outcome = TakeBad(kBadBlocks, bad);
  *decodes = outcome.ok() && bad[0] == 0 && fastest[1] < fastest[0];
  return outcome;
}

// Whether so many bytes of a column in a segment are better copied compressed.
bool Table::Decodes(const Column& column, int segment, uint64_t bytes) const {
  return column.decodes && bytes >= kDecodedBytes && column.blocks[segment].bounds != nullptr;
}

// Bytes [begin, begin + bytes) of a column in a part, decoded on the device.
Outcome Table::DecodeRange(const Column& column, const Part& part, uint64_t begin, uint64_t bytes, unsigned char* out,
                           CUstream stream) {
  const CompressedCopy::Column& all = column.blocks[part.segment];
  const uint64_t first = begin / all.block_bytes;
  const uint64_t end = (begin + bytes + all.block_bytes - 1) / all.block_bytes, blocks = end - first;
  const uint64_t raw_begin = first * all.block_bytes, raw_bytes = std::min(all.raw_bytes, end * all.block_bytes) - raw_begin;
  const uint64_t data_bytes = all.bounds[end] - all.bounds[first], bounds_bytes = (blocks + 1) * sizeof(uint64_t);
  const bool whole = raw_begin == begin && raw_bytes == bytes;
  const size_t data_at = Aligned(bounds_bytes), raw_at = data_at + Aligned(data_bytes);
  const size_t room = raw_at + (whole ? 0 : raw_bytes);
  const Driver& driver = device_->driver();
  Staging& staging = staging_[next_staging_++ % staging_.size()];
  if (staging.used != nullptr)
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.EventSynchronize(staging.used), "wait for the GPU"));
  else
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.EventCreate(&staging.used, kNoTiming), "make an event"));
  if (staging.memory == nullptr || staging.memory->bytes() < room)
    GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device_, room, &staging.memory));
  unsigned char* at = staging.memory->data();
  const Mapping& mapping = *part.compressed->mapping();
  GF_CUDA_RETURN_IF_ERROR(CopyMapped(mapping, all.bounds + first, bounds_bytes, at, stream));
  GF_CUDA_RETURN_IF_ERROR(CopyMapped(mapping, all.data + all.bounds[first], data_bytes, at + data_at, stream));
  DecodeArgs args{};
  args.data = at + data_at;
  args.bounds = reinterpret_cast<const unsigned long long*>(at);
  args.blocks = blocks;
  args.block_bytes = all.block_bytes;
  args.raw_bytes = raw_bytes;
  args.out = whole ? out : at + raw_at;
  args.bad = reinterpret_cast<long long*>(bad_->data()) + kBadBlocks;
  constexpr int kThreads = 128, kWarps = kThreads / 32;
  GF_CUDA_RETURN_IF_ERROR(device_->Launch(0, "decode_blocks", static_cast<int64_t>((blocks + kWarps - 1) / kWarps), kThreads,
                                          &args, stream));
  if (!whole)
    GF_CUDA_RETURN_IF_ERROR(driver.Check(
        driver.MemcpyAsync(Address(out), Address(args.out + (begin - raw_begin)), bytes, stream), "copy rows"));
  return driver.Check(driver.EventRecord(staging.used, stream), "record an event");
}

// No copy may reach from one piece of pinned memory into the next.
Outcome Table::CopyMapped(const Mapping& mapping, const void* from, uint64_t bytes, unsigned char* to, CUstream stream) {
  const Driver& driver = device_->driver();
  const auto begin = static_cast<uint64_t>(static_cast<const uint8_t*>(from) - mapping.data());
  for (uint64_t at = 0; at < bytes;) {
    const uint64_t size = std::min(bytes - at, kPinnedPiece - (begin + at) % kPinnedPiece);
    GF_CUDA_RETURN_IF_ERROR(driver.Check(
        driver.MemcpyAsync(Address(to + at), Address(static_cast<const uint8_t*>(from) + at), size, stream), "copy rows"));
    at += size;
  }
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

Outcome Table::MakeSpans() {
  GF_CUDA_RETURN_IF_ERROR(WaitForAll());  // kernels read the old ones
  if (live_ == nullptr) {
    std::vector<uint32_t> live;
    for (Part& part : parts_) {
      part.live_offset = live.size() * sizeof(uint32_t);
      live.insert(live.end(), part.live.begin(), part.live.end());
    }
    if (!live.empty()) {
      GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device_, live.size() * sizeof(uint32_t), &live_));
      GF_CUDA_RETURN_IF_ERROR(Upload(live.data(), live.size() * sizeof(uint32_t), live_->data()));
    }
  }
  for (Column& column : columns_) {
    std::vector<GatherSpan> spans;
    for (Part& part : parts_) {
      // What an older segment does not have lies in this process's memory, where the GPU does not read.
      if (part.memory == nullptr && !IsMapped(column, part)) GF_CUDA_RETURN_IF_ERROR(LoadPart(&part));
      bool on_device;
      const unsigned char* data = SourceOf(column, part.segment, &on_device);
      const auto* live = part.live.empty()
                             ? nullptr
                             : reinterpret_cast<const unsigned int*>(live_->data() + part.live_offset);
      spans.push_back({part.first, 0, data, live});
    }
    if (spans.empty()) continue;
    const size_t bytes = spans.size() * sizeof(GatherSpan);
    GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device_, bytes, &column.spans));
    GF_CUDA_RETURN_IF_ERROR(Upload(spans.data(), bytes, column.spans->data()));
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
  GF_CUDA_RETURN_IF_ERROR(DeviceMemory::AllocateShareable(device_, part->bytes, &memory));
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
      outcome = Ok();
      for (uint64_t at = 0; at < bytes && outcome.ok(); at += kDecodedAtOnce)
        outcome = DecodeRange(column, *part, at, std::min(bytes - at, kDecodedAtOnce), to + at, own_);
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
  std::lock_guard<std::mutex> lock(mutex_);
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
  GF_CUDA_RETURN_IF_ERROR(MakeSpans());
  budget_ = outcome.ok() ? budget : used;
  partial_ = std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.memory == nullptr; });
  if (!partial_)
    for (Part& part : parts_) part.pinned.clear();
  pinned_ = true;
  return Ok();
}

int64_t Table::ResidentRows() {
  if (device_ == nullptr) return rows();
  std::lock_guard<std::mutex> lock(mutex_);
  int64_t resident = 0;
  for (const Part& part : parts_)
    if (part.memory != nullptr) resident += snapshot_->segments()[part.segment].live_rows();
  return resident;
}

Outcome Table::Unload() {
  std::lock_guard<std::mutex> lock(mutex_);
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
    const auto after = std::upper_bound(parts_.begin(), parts_.end(), row,
                                        [](int64_t value, const Part& part) { return value < part.first; });
    const int64_t end = after == parts_.end() ? this->rows() : after->first;
    const int64_t taken = rows != nullptr ? 1 : std::min(count - i, end - row);
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
  if (!outcome.ok() && outcome.code != GF_CUDA_NO_MEMORY) return outcome;
  return MakeSpans();
}

Outcome Table::WaitForAll() {
  if (device_ == nullptr) return Ok();
  const Current current(*device_);
  const Driver& driver = device_->driver();
  for (const auto& [stream, event] : begun_)
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.EventSynchronize(event), "wait for the GPU"));
  return Ok();
}

Outcome Table::Begun(CUstream stream) {
  const Driver& driver = device_->driver();
  CUevent& event = begun_[stream];
  if (event == nullptr) GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.EventCreate(&event, kNoTiming), "make an event"));
  return driver.Check(driver.EventRecord(event, stream), "record an event");
}

Outcome Table::OnProcessor(const Column& column, const Conversion& conversion, GatherArgs args) {
  std::vector<GatherSpan> spans;
  for (const Part& part : parts_)
    spans.push_back({part.first, 0, HostData(column, part), part.live.empty() ? nullptr : part.live.data()});
  args.spans = spans.data();
  args.span_count = static_cast<int>(spans.size());
  conversion.Set(&args);
  GatherOnProcessor(conversion, args, Threads());
  return Ok();
}

Outcome Table::RunKernel(const Column& column, const Conversion& conversion, GatherArgs args, CUstream stream) {
  args.spans = reinterpret_cast<const GatherSpan*>(column.spans->data());
  args.span_count = static_cast<int>(parts_.size());
  args.table_rows = rows();
  args.bad = reinterpret_cast<long long*>(bad_->data()) + kBadRows;
  conversion.Set(&args);
  int64_t word = 16;
  while (conversion.row_bytes % word != 0 || Address(args.out) % static_cast<uint64_t>(word) != 0) word /= 2;
  int threads_of_row;
  const std::string kernel = conversion.Kernel(word, &threads_of_row);
  args.lanes = threads_of_row;
  if (conversion.converts && Address(args.out) % static_cast<uint64_t>(WidthOf(conversion.to)) != 0)
    return Fail(GF_CUDA_INVALID, "the output is not aligned to its numbers");
  constexpr int kThreads = 256;
  const int64_t tasks = args.count * args.pieces;
  const int64_t blocks = (tasks * threads_of_row + kThreads - 1) / kThreads;
  // Enough to fill the GPU several times over; they go on to further rows by themselves.
  const int64_t most = int64_t{device_->multiprocessors()} * 64;
  GF_CUDA_RETURN_IF_ERROR(device_->Launch(conversion.part(), kernel, std::min(blocks, most), kThreads, &args, stream));
  return Begun(stream);
}

Outcome Table::SendRows(const int64_t* rows, int64_t count, CUstream stream, const int64_t** out, Slot** used) {
  const Driver& driver = device_->driver();
  Slot& slot = slots_[next_slot_++ % slots_.size()];
  if (slot.used != nullptr)
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.EventSynchronize(slot.used), "wait for the GPU"));
  const size_t bytes = static_cast<size_t>(count) * sizeof(int64_t);
  if (slot.bytes < bytes) {
    if (slot.host != nullptr) driver.MemFreeHost(slot.host);
    slot.host = nullptr;
    slot.bytes = 0;
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.MemHostAlloc(&slot.host, bytes, kRegisterPortable), "pin memory"));
    GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device_, bytes, &slot.memory));
    slot.bytes = bytes;
  }
  if (slot.used == nullptr)
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.EventCreate(&slot.used, kNoTiming), "make an event"));
  std::memcpy(slot.host, rows, bytes);
  GF_CUDA_RETURN_IF_ERROR(driver.Check(
      driver.MemcpyAsync(Address(slot.memory->data()), Address(slot.host), bytes, stream), "copy to the GPU"));
  *out = reinterpret_cast<const int64_t*>(slot.memory->data());
  *used = &slot;
  return Ok();
}

Outcome Table::CopyRows(Column* column, const std::vector<Run>& runs, unsigned char* out, CUstream stream) {
  const Driver& driver = device_->driver();
  for (const Run& run : runs) {
    bool on_device;
    const unsigned char* from = SourceOf(*column, run.segment, &on_device) + run.begin * column->row_bytes;
    const auto bytes = static_cast<uint64_t>(run.count * column->row_bytes);
    Outcome outcome = Fail(GF_CUDA_NO_MEMORY, "");
    if (!on_device && Decodes(*column, run.segment, bytes)) {
      outcome = DecodeRange(*column, PartOf(run.segment), static_cast<uint64_t>(run.begin * column->row_bytes), bytes, out,
                            stream);
      if (outcome.code == GF_CUDA_NO_MEMORY) column->decodes = false;  // the plain way needs none
    }
    if (on_device)
      outcome = driver.Check(driver.MemcpyAsync(Address(out), Address(from), bytes, stream), "copy rows");
    else if (outcome.code == GF_CUDA_NO_MEMORY)
      outcome = CopyMapped(*snapshot_->segments()[run.segment].segment->mapping(), from, bytes, out, stream);
    if (!outcome.ok()) return outcome;
    out += bytes;
  }
  return Begun(stream);
}

Outcome Table::Gather(int32_t column, const int64_t* rows, bool rows_on_device, int64_t count,
                      const gf_cuda_convert* convert, void* out, CUstream stream) {
  Conversion conversion;
  GF_CUDA_RETURN_IF_ERROR(Prepare(column, convert, &conversion));
  if (count < 0) return Fail(GF_CUDA_INVALID, "a negative number of rows");
  if (count == 0) return Ok();
  if (!rows_on_device || device_ == nullptr)
    for (int64_t i = 0; i < count; ++i)
      if (rows[i] < 0 || rows[i] >= this->rows())
        return Fail(GF_CUDA_OUT_OF_RANGE,
                    "no row " + std::to_string(rows[i]) + ": there are " + std::to_string(this->rows()));
  std::lock_guard<std::mutex> lock(mutex_);
  GF_CUDA_RETURN_IF_ERROR(PinLocked([](uint64_t, uint64_t) { return Ok(); }));
  GatherArgs args{};
  args.rows = reinterpret_cast<const long long*>(rows);
  args.count = count;
  args.out = static_cast<unsigned char*>(out);
  Column& it = columns_[column];
  if (device_ == nullptr) return OnProcessor(it, conversion, args);
  if (partial_ && !rows_on_device) GF_CUDA_RETURN_IF_ERROR(Used(rows, 0, count, it.row_bytes));
  const Current current(*device_);
  if (!rows_on_device && !conversion.converts && it.row_bytes >= kCopiedRow) {
    std::vector<Run> runs;
    plan_.Find({rows, rows + count}, &runs);
    return CopyRows(&it, runs, args.out, stream);
  }
  Slot* slot = nullptr;
  if (!rows_on_device) {
    const int64_t* sent;
    GF_CUDA_RETURN_IF_ERROR(SendRows(rows, count, stream, &sent, &slot));
    args.rows = reinterpret_cast<const long long*>(sent);
  }
  if (this->rows() == 0) return Fail(GF_CUDA_OUT_OF_RANGE, "the table has no rows");
  GF_CUDA_RETURN_IF_ERROR(RunKernel(it, conversion, args, stream));
  return slot == nullptr ? Ok() : device_->driver().Check(device_->driver().EventRecord(slot->used, stream), "record an event");
}

Outcome Table::Batch(int32_t column, int64_t start, int64_t count, const gf_cuda_convert* convert, void* out,
                     CUstream stream) {
  Conversion conversion;
  GF_CUDA_RETURN_IF_ERROR(Prepare(column, convert, &conversion));
  GF_CUDA_RETURN_IF_ERROR(CheckRange(start, count));
  if (count == 0) return Ok();
  std::lock_guard<std::mutex> lock(mutex_);
  GF_CUDA_RETURN_IF_ERROR(PinLocked([](uint64_t, uint64_t) { return Ok(); }));
  GatherArgs args{};
  args.first_row = start;
  args.count = count;
  args.out = static_cast<unsigned char*>(out);
  Column& it = columns_[column];
  if (device_ == nullptr) return OnProcessor(it, conversion, args);
  if (partial_) GF_CUDA_RETURN_IF_ERROR(Used(nullptr, start, count, it.row_bytes));
  const Current current(*device_);
  if (!conversion.converts) {
    std::vector<Run> runs;
    RowPlan::Cursor cursor = plan_.Seek(start);
    plan_.Take(count, &cursor, &runs);
    if (runs.size() <= 16 || it.row_bytes >= kCopiedRow) return CopyRows(&it, runs, args.out, stream);
  }
  return RunKernel(it, conversion, args, stream);
}

Outcome Table::View(int32_t column, int64_t start, int64_t count, const void** out,
                    std::shared_ptr<const void>* holder) {
  gf_cuda_column described;
  *out = nullptr;
  GF_CUDA_RETURN_IF_ERROR(Describe(column, &described));
  GF_CUDA_RETURN_IF_ERROR(CheckRange(start, count));
  std::lock_guard<std::mutex> lock(mutex_);
  if (count == 0) return Ok();
  std::vector<Run> runs;
  RowPlan::Cursor cursor = plan_.Seek(start);
  plan_.Take(count, &cursor, &runs);
  if (runs.size() != 1) return Ok();
  if (device_ == nullptr) GF_CUDA_RETURN_IF_ERROR(PinLocked([](uint64_t, uint64_t) { return Ok(); }));
  const Part& part = PartOf(runs[0].segment);
  if (device_ != nullptr && part.memory == nullptr) return Ok();  // the copy that comes now is noted by itself
  if (partial_) GF_CUDA_RETURN_IF_ERROR(Used(nullptr, start, count, described.row_bytes));
  bool on_device;
  const unsigned char* base = SourceOf(columns_[column], runs[0].segment, &on_device);
  *out = base + runs[0].begin * described.row_bytes;
  if (on_device)
    *holder = part.memory;
  else
    *holder = snapshot_;
  return Ok();
}

Outcome Table::Check(CUstream stream) {
  if (device_ == nullptr) return Ok();
  std::lock_guard<std::mutex> lock(mutex_);
  const Current current(*device_);
  const Driver& driver = device_->driver();
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.StreamSynchronize(stream), "wait for the GPU"));
  int64_t bad[2];
  GF_CUDA_RETURN_IF_ERROR(TakeBad(kBadBlocks, bad));
  if (bad[0] != 0) return BadBlock(bad[1]);
  GF_CUDA_RETURN_IF_ERROR(TakeBad(kBadRows, bad));
  if (bad[0] == 0) return Ok();
  return Fail(GF_CUDA_OUT_OF_RANGE, "no row " + std::to_string(bad[1]) + ": there are " + std::to_string(rows()));
}

// What kernels that have ended said of what they were given; from now on they say it anew.
Outcome Table::TakeBad(int which, int64_t* bad) {
  const Current current(*device_);
  const Driver& driver = device_->driver();
  constexpr size_t kBytes = 2 * sizeof(int64_t);
  unsigned char* at = bad_->data() + static_cast<size_t>(which) * sizeof(int64_t);
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.MemcpyAsync(Address(bad), Address(at), kBytes, own_), "copy from the GPU"));
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.StreamSynchronize(own_), "copy from the GPU"));
  const int64_t none[2] = {0, 0};
  return bad[0] == 0 ? Ok() : Upload(none, kBytes, at);
}

Outcome Table::Share(std::vector<int>* descriptors) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Part& part : parts_) {
    if (part.memory == nullptr) return Fail(GF_CUDA_INVALID, "only a table that is loaded as a whole can be shared");
    int descriptor = -1;
    GF_CUDA_RETURN_IF_ERROR(part.memory->Export(&descriptor));
    descriptors->push_back(descriptor);
  }
  return Ok();
}

Outcome Table::Adopt(const std::vector<int>& descriptors) {
  std::lock_guard<std::mutex> lock(mutex_);
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
  return MakeSpans();
}

}  // namespace cuda
}  // namespace gridflow
