// Columns of a Table that lie compressed beside their segments: which way they take to the device, and that way.

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "cuda/table.h"
#include "cuda/table_parts.h"

namespace gridflow {
namespace cuda {

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
  const Outcome outcome = Pinned::File(device_, copy->mapping(), registered, &pinned);
  if (outcome.code == GF_CUDA_NO_MEMORY) {  // what can be pinned is better used for segments
    for (Column& column : columns_) column.blocks[part->segment] = {};
    return Ok();
  }
  if (!outcome.ok()) return outcome;
  part->pinned.push_back(std::move(pinned));
  part->compressed = copy;
  return Ok();
}

// Decides for each column that is there compressed whether that way is the faster one: by going both. The environment
// may say instead: GRIDFLOW_CUDA_DECODE is "always" or "never".
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
    // The plain way needs neither memory beside nor a kernel.
    if (!outcome.ok() && outcome.code != GF_CUDA_NO_MEMORY && outcome.code != GF_CUDA_NO_COMPILER) return outcome;
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
  const char* given = std::getenv("GRIDFLOW_CUDA_DECODE");
  const std::string wanted = given != nullptr ? given : "";
  *decodes = outcome.ok() && bad[0] == 0 && wanted != "never" && (wanted == "always" || fastest[1] < fastest[0]);
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

// The same in pieces of a size that does not grow with the table; NO_MEMORY: nothing is certain of what is in `out`.
Outcome Table::Decode(const Column& column, const Part& part, uint64_t begin, uint64_t bytes, unsigned char* out,
                      CUstream stream) {
  return WaitIfFailed(stream, [&]() GF_REQUIRES(mutex_) -> Outcome {
    for (uint64_t at = 0; at < bytes; at += kDecodedAtOnce)
      GF_CUDA_RETURN_IF_ERROR(DecodeRange(column, part, begin + at, std::min(bytes - at, kDecodedAtOnce), out + at, stream));
    return Ok();
  });
}

void Table::ReleaseStaging() {
  for (Staging& staging : staging_) staging.memory.reset();  // waits for what is under way
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

}  // namespace cuda
}  // namespace gridflow
