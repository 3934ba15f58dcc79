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
constexpr unsigned kNoTiming = 2, kNonBlocking = 1;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

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
    GF_CUDA_RETURN_IF_ERROR(DeviceMemory::Allocate(device, 2 * sizeof(int64_t), &table->bad_));
    const int64_t none[2] = {0, 0};
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
  }
  pinned_ = true;
  return device_ == nullptr ? Ok() : MakeSpans();
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

const unsigned char* Table::SourceOf(const Column& column, int segment, bool* on_device) const {
  const auto part = std::find_if(parts_.begin(), parts_.end(), [&](const Part& it) { return it.segment == segment; });
  *on_device = part->memory != nullptr;
  return *on_device ? part->memory->data() + column.offsets[segment] : HostData(column, *part);
}

Outcome Table::LoadPart(Part* part) {
  std::shared_ptr<DeviceMemory> memory;
  GF_CUDA_RETURN_IF_ERROR(DeviceMemory::AllocateShareable(device_, part->bytes, &memory));
  const Current current(*device_);
  const Driver& driver = device_->driver();
  const Segment& segment = *snapshot_->segments()[part->segment].segment;
  for (const Column& column : columns_) {
    const uint8_t* from = HostData(column, *part);
    unsigned char* to = memory->data() + column.offsets[part->segment];
    const auto bytes = static_cast<uint64_t>(segment.rows() * column.row_bytes);
    // No copy from one piece of pinned memory into the next.
    const uint64_t begin = IsMapped(column, *part) ? static_cast<uint64_t>(from - segment.mapping()->data()) : 0;
    for (uint64_t at = 0; at < bytes;) {
      const uint64_t size = std::min(bytes - at, kPinnedPiece - (begin + at) % kPinnedPiece);
      GF_CUDA_RETURN_IF_ERROR(
          driver.Check(driver.MemcpyAsync(Address(to + at), Address(from + at), size, own_), "copy to the GPU"));
      at += size;
    }
  }
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.StreamSynchronize(own_), "copy to the GPU"));
  part->memory = std::move(memory);
  return Ok();
}

Outcome Table::Load(uint64_t budget, int64_t* loaded, const Progress& progress) {
  std::lock_guard<std::mutex> lock(mutex_);
  *loaded = 0;
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
  // Of pinned memory a copy is several times as fast; it is given back where a segment has been loaded.
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
  for (Part& part : parts_) {
    if (part.memory == nullptr) continue;
    part.pinned.clear();
    *loaded += snapshot_->segments()[part.segment].live_rows();
  }
  pinned_ = true;
  return Ok();
}

Outcome Table::Unload() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (device_ == nullptr) return Ok();
  GF_CUDA_RETURN_IF_ERROR(WaitForAll());
  for (Part& part : parts_) part.memory.reset();
  pinned_ = false;  // the next call pins what it reads
  return Ok();
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
  args.bad = reinterpret_cast<long long*>(bad_->data());
  conversion.Set(&args);
  int64_t word = 16;
  while (conversion.row_bytes % word != 0 || Address(args.out) % static_cast<uint64_t>(word) != 0) word /= 2;
  int threads_of_row;
  const std::string kernel = conversion.Kernel(word, &threads_of_row);
  if (conversion.converts && Address(args.out) % static_cast<uint64_t>(WidthOf(conversion.to)) != 0)
    return Fail(GF_CUDA_INVALID, "the output is not aligned to its numbers");
  constexpr int kThreads = 256;
  const int64_t tasks = args.count * args.pieces;
  const int64_t blocks = (tasks * threads_of_row + kThreads - 1) / kThreads;
  // Enough to fill the GPU several times over; they go on to further rows by themselves.
  const int64_t most = int64_t{device_->multiprocessors()} * 64;
  GF_CUDA_RETURN_IF_ERROR(device_->Launch(conversion.part(), kernel, std::min(blocks, most), kThreads, args, stream));
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

Outcome Table::CopyRows(const Column& column, const std::vector<Run>& runs, unsigned char* out, CUstream stream) {
  const Driver& driver = device_->driver();
  for (const Run& run : runs) {
    bool on_device;
    const unsigned char* base = SourceOf(column, run.segment, &on_device);
    const unsigned char* from = base + run.begin * column.row_bytes;
    const auto bytes = static_cast<uint64_t>(run.count * column.row_bytes);
    const uint8_t* file = snapshot_->segments()[run.segment].segment->mapping()->data();
    for (uint64_t at = 0; at < bytes;) {
      uint64_t size = bytes - at;
      if (!on_device) size = std::min(size, kPinnedPiece - static_cast<uint64_t>(from + at - file) % kPinnedPiece);
      GF_CUDA_RETURN_IF_ERROR(
          driver.Check(driver.MemcpyAsync(Address(out + at), Address(from + at), size, stream), "copy rows"));
      at += size;
    }
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
  const Column& it = columns_[column];
  if (device_ == nullptr) return OnProcessor(it, conversion, args);
  const Current current(*device_);
  if (!rows_on_device && !conversion.converts && it.row_bytes >= kCopiedRow) {
    std::vector<Run> runs;
    plan_.Find({rows, rows + count}, &runs);
    return CopyRows(it, runs, args.out, stream);
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
  const Column& it = columns_[column];
  if (device_ == nullptr) return OnProcessor(it, conversion, args);
  const Current current(*device_);
  if (!conversion.converts) {
    std::vector<Run> runs;
    RowPlan::Cursor cursor = plan_.Seek(start);
    plan_.Take(count, &cursor, &runs);
    if (runs.size() <= 16 || it.row_bytes >= kCopiedRow) return CopyRows(it, runs, args.out, stream);
  }
  return RunKernel(it, conversion, args, stream);
}

Outcome Table::View(int32_t column, int64_t start, int64_t count, const void** out) {
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
  bool on_device;
  const unsigned char* base = SourceOf(columns_[column], runs[0].segment, &on_device);
  if (on_device || device_ == nullptr) *out = base + runs[0].begin * described.row_bytes;
  return Ok();
}

Outcome Table::Check(CUstream stream) {
  if (device_ == nullptr) return Ok();
  std::lock_guard<std::mutex> lock(mutex_);
  const Current current(*device_);
  const Driver& driver = device_->driver();
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.StreamSynchronize(stream), "wait for the GPU"));
  int64_t bad[2] = {0, 0};
  GF_CUDA_RETURN_IF_ERROR(driver.Check(
      driver.MemcpyAsync(Address(bad), Address(bad_->data()), sizeof(bad), own_), "copy from the GPU"));
  GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.StreamSynchronize(own_), "copy from the GPU"));
  if (bad[0] == 0) return Ok();
  const int64_t none[2] = {0, 0};
  GF_CUDA_RETURN_IF_ERROR(Upload(none, sizeof(none), bad_->data()));
  return Fail(GF_CUDA_OUT_OF_RANGE, "no row " + std::to_string(bad[1]) + ": there are " + std::to_string(rows()));
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
  return MakeSpans();
}

}  // namespace cuda
}  // namespace gridflow
