// Rows of a Table: gathered, copied, or shown where they lie.

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "cuda/table.h"
#include "cuda/table_parts.h"

namespace gridflow {
namespace cuda {
namespace {

// Rows of so many bytes are copied by the copy engines, one by one, if the processor knows which.
constexpr int64_t kCopiedRow = 64 * 1024;

}  // namespace

Outcome Table::OnProcessor(const Column& column, const Conversion& conversion, GatherArgs args) {
  args.pages = column.pages.data();
  args.order = order_.empty() ? nullptr : order_.data();
  conversion.Set(&args);
  GatherOnProcessor(conversion, args, Threads());
  return Ok();
}

Outcome Table::RunKernel(const Column& column, const Conversion& conversion, GatherArgs args, CUstream stream) {
  args.pages = reinterpret_cast<const unsigned char* const*>(column.device_pages->data());
  args.order = order_.empty() ? nullptr : reinterpret_cast<const unsigned int*>(device_order_->data());
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
      outcome = Decode(*column, PartOf(run.segment), static_cast<uint64_t>(run.begin * column->row_bytes), bytes, out,
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
  MutexLock lock(&mutex_);
  GF_CUDA_RETURN_IF_ERROR(PinLocked([](uint64_t, uint64_t) { return Ok(); }));
  GatherArgs args{};
  args.rows = reinterpret_cast<const long long*>(rows);
  args.count = count;
  args.out = static_cast<unsigned char*>(out);
  Column& it = columns_[column];
  if (device_ == nullptr) return OnProcessor(it, conversion, args);
  if (partial_ && !rows_on_device) GF_CUDA_RETURN_IF_ERROR(Used(rows, 0, count, it.row_bytes));
  const Driver& driver = device_->driver();
  const Current current(*device_);
  return WaitIfFailed(stream, [&]() GF_REQUIRES(mutex_) -> Outcome {
    if (!rows_on_device && !conversion.converts && it.row_bytes >= kCopiedRow) {
      RowList list;
      std::vector<Run> runs;
      GF_CUDA_RETURN_IF_ERROR(From(plan_->Find(rows, static_cast<size_t>(count), &list)));
      list.AppendTo(&runs);
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
    return slot == nullptr ? Ok() : driver.Check(driver.EventRecord(slot->used, stream), "record an event");
  });
}

Outcome Table::Batch(int32_t column, int64_t start, int64_t count, const gf_cuda_convert* convert, void* out,
                     CUstream stream) {
  Conversion conversion;
  GF_CUDA_RETURN_IF_ERROR(Prepare(column, convert, &conversion));
  GF_CUDA_RETURN_IF_ERROR(CheckRange(start, count));
  if (count == 0) return Ok();
  MutexLock lock(&mutex_);
  GF_CUDA_RETURN_IF_ERROR(PinLocked([](uint64_t, uint64_t) { return Ok(); }));
  GatherArgs args{};
  args.first_row = start;
  args.count = count;
  args.out = static_cast<unsigned char*>(out);
  Column& it = columns_[column];
  if (device_ == nullptr) return OnProcessor(it, conversion, args);
  if (partial_) GF_CUDA_RETURN_IF_ERROR(Used(nullptr, start, count, it.row_bytes));
  const Current current(*device_);
  return WaitIfFailed(stream, [&]() GF_REQUIRES(mutex_) -> Outcome {
    if (!conversion.converts) {
      std::vector<Run> runs;
      RowPlan::Cursor cursor = plan_->Seek(start);
      int64_t taken;
      GF_CUDA_RETURN_IF_ERROR(From(plan_->Take(count, &cursor, &runs, &taken)));
      if (runs.size() <= 16 || it.row_bytes >= kCopiedRow) return CopyRows(&it, runs, args.out, stream);
    }
    return RunKernel(it, conversion, args, stream);
  });
}

Outcome Table::View(int32_t column, int64_t start, int64_t count, const void** out,
                    std::shared_ptr<const void>* holder) {
  gf_cuda_column described;
  *out = nullptr;
  GF_CUDA_RETURN_IF_ERROR(Describe(column, &described));
  GF_CUDA_RETURN_IF_ERROR(CheckRange(start, count));
  MutexLock lock(&mutex_);
  if (count == 0) return Ok();
  std::vector<Run> runs;
  RowPlan::Cursor cursor = plan_->Seek(start);
  int64_t taken;
  GF_CUDA_RETURN_IF_ERROR(From(plan_->Take(count, &cursor, &runs, &taken)));
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
  MutexLock lock(&mutex_);
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

}  // namespace cuda
}  // namespace gridflow
