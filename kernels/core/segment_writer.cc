#include "core/segment_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>

#include "core/check.h"
#include "core/checksum.h"
#include "core/failpoint.h"
#include "core/key_hash.h"
#include "core/mapping.h"
#include "core/merge_order.h"
#include "core/mutex.h"
#include "core/parallel.h"
#include "core/row_codec.h"
#include "gridflow/segment_format.h"

namespace gridflow {
namespace {

using Order = RowOrderView;

// One buffer to be written: how many bytes, and how to produce any range of them. Ranges are asked for in parallel.
struct Output {
  uint64_t bytes = 0;
  std::function<void(uint64_t begin, uint64_t end, uint8_t* out)> fill;
};

// What is kept alive until all buffers are written.
struct Plan {
  std::vector<Output> outputs;
  std::vector<std::unique_ptr<std::vector<RowRef>>> orders;
  std::vector<std::unique_ptr<Order>> spans;
  std::vector<std::unique_ptr<std::vector<int64_t>>> offsets;
  std::vector<std::unique_ptr<std::vector<uint8_t>>> bits;
  std::vector<std::unique_ptr<std::vector<const ColumnView*>>> views;
  std::vector<std::unique_ptr<std::vector<const uint8_t*>>> values;
};

Output Bytes(const uint8_t* data, uint64_t bytes) {
  return {bytes, [data](uint64_t begin, uint64_t end, uint8_t* out) { std::memcpy(out, data + begin, end - begin); }};
}

constexpr int64_t kMaxItems = 0xFFFFFFFF;    // RowRef counts items, too
constexpr size_t kAhead = 32;                // rows are picked at random: memory is asked for so many rows before
constexpr uint64_t kShort = 16;              // to copy so many bytes takes less than to tell how many there are
constexpr size_t kRowsForThreads = 1 << 16;  // what a thread takes at a time; fewer are done before it has begun

bool IsNullAt(const std::vector<const ColumnView*>& views, RowRef ref) {
  return views[ref.source]->missing() || views[ref.source]->IsNull(ref.row);
}

Status Damaged(const ColumnView& view) {
  return {Code::kCorrupt, "column " + view.type->name + " has impossible offsets", "", -1};
}

// Plans the buffers of a column: `views` are its sources' views, `order` the rows to take.
class Planner {
 public:
  explicit Planner(Plan* plan) : plan_(plan) {}

  Status Column(const Type& type, const std::vector<const ColumnView*>& given, const Order& order) {
    plan_->views.push_back(std::make_unique<std::vector<const ColumnView*>>(given));
    const std::vector<const ColumnView*>& views = *plan_->views.back();
    GF_RETURN_IF_ERROR(Validity(type, views, order));
    switch (type.layout()) {
      case Layout::kBits:
        return Bits(views, order);
      case Layout::kBytes:
        return Variable(views, order);
      case Layout::kList:
      case Layout::kMap:
        return Items(type, views, order);
      case Layout::kStruct:
        for (size_t i = 0; i < type.children.size(); ++i)
          GF_RETURN_IF_ERROR(Column(type.children[i], Children(views, i), order));
        break;
      case Layout::kFixed:
        Fixed(static_cast<uint64_t>(type.width), views, order);
        break;
    }
    return Status::Ok();
  }

 private:
  static const ColumnView& Missing() {
    static const ColumnView* missing = new ColumnView;
    return *missing;
  }

  static std::vector<const ColumnView*> Children(const std::vector<const ColumnView*>& views, size_t i) {
    std::vector<const ColumnView*> children;
    for (const ColumnView* view : views) children.push_back(view->missing() ? &Missing() : &view->children[i]);
    return children;
  }

  Status Validity(const Type& type, const std::vector<const ColumnView*>& views, const Order& order) {
    bool nulls = false;
    if (type.nullable)
      for (const ColumnView* view : views) nulls |= view->missing() || view->validity != nullptr;
    if (!nulls) {
      plan_->outputs.push_back({0, nullptr});
      return Status::Ok();
    }
    auto bits = std::make_unique<std::vector<uint8_t>>((order.size() + 7) / 8);
    nulls = false;
    for (size_t i = 0; i < order.size(); ++i) {
      if (IsNullAt(views, order[i]))
        nulls = true;
      else
        (*bits)[i / 8] |= static_cast<uint8_t>(1 << (i % 8));
    }
    plan_->outputs.push_back(nulls ? Bytes(bits->data(), bits->size()) : Output{0, nullptr});
    plan_->bits.push_back(std::move(bits));
    return Status::Ok();
  }

  Status Bits(const std::vector<const ColumnView*>& views, const Order& order) {
    auto bits = std::make_unique<std::vector<uint8_t>>((order.size() + 7) / 8);
    for (size_t i = 0; i < order.size(); ++i)
      if (!IsNullAt(views, order[i]) && views[order[i].source]->Bit(order[i].row))
        (*bits)[i / 8] |= static_cast<uint8_t>(1 << (i % 8));
    plan_->outputs.push_back(Bytes(bits->data(), bits->size()));
    plan_->bits.push_back(std::move(bits));
    return Status::Ok();
  }

  void Fixed(uint64_t width, const std::vector<const ColumnView*>& views, const Order& order) {
    if (width == 1) return Narrow<1>(views, order);
    if (width == 2) return Narrow<2>(views, order);
    if (width == 4) return Narrow<4>(views, order);
    if (width == 8) return Narrow<8>(views, order);
    if (width == 16) return Narrow<16>(views, order);
    const RowRef* rows = order.data();
    const auto* sources = &views;
    auto fill = [=](uint64_t begin, uint64_t end, uint8_t* out) {
      for (uint64_t i = begin / width; begin < end; ++i) {
        const uint64_t skip = begin - i * width;
        const uint64_t bytes = std::min(width - skip, end - begin);
        const RowRef ref = rows[i];
        if (IsNullAt(*sources, ref))
          std::memset(out, 0, bytes);  // so that equal rows give equal files
        else
          std::memcpy(out, (*sources)[ref.source]->Value(ref.row) + skip, bytes);
        out += bytes;
        begin += bytes;
      }
    };
    plan_->outputs.push_back({order.size() * width, fill});
  }

  // Values of a width that the compiler knows. Blocks begin and end with whole ones: see Align.
  template <uint64_t kWidth>
  void Narrow(const std::vector<const ColumnView*>& views, const Order& order) {
    static_assert(GF_BUFFER_ALIGNMENT % kWidth == 0 && GF_BLOCK_BYTES % GF_BUFFER_ALIGNMENT == 0);
    static const uint8_t kNothing = 0;
    auto owned = std::make_unique<std::vector<const uint8_t*>>();
    bool nulls = false;
    for (const ColumnView* view : views) {
      nulls |= view->missing() || view->validity != nullptr;
      owned->push_back(view->missing() ? &kNothing : view->Value(0));
    }
    const Order rows = order;
    const auto* sources = &views;
    const auto* columns = owned.get();
    plan_->values.push_back(std::move(owned));
    plan_->outputs.push_back({order.size() * kWidth, [=](uint64_t begin, uint64_t end, uint8_t* out) {
      const RowRef* refs = rows.data();
      const uint8_t* const* values = columns->data();
      const size_t count = rows.size();
      for (uint64_t i = begin / kWidth; i < end / kWidth; ++i, out += kWidth) {
        if (i + kAhead < count) {
          const RowRef ahead = refs[i + kAhead];
          __builtin_prefetch(values[ahead.source] + ahead.row * kWidth);
        }
        const RowRef ref = refs[i];
        if (nulls && IsNullAt(*sources, ref))
          std::memset(out, 0, kWidth);  // so that equal rows give equal files
        else
          std::memcpy(out, values[ref.source] + ref.row * kWidth, kWidth);
      }
    }});
  }

  static void PrefetchOffsets(const std::vector<const ColumnView*>& views, const Order& order, size_t i) {
    if (i >= order.size()) return;
    const ColumnView& view = *views[order[i].source];
    if (!view.missing()) __builtin_prefetch(view.offsets + (view.offset + order[i].row) * 8);
  }

  static void PrefetchBytes(const std::vector<const ColumnView*>& views, const Order& order, size_t i) {
    if (i >= order.size() || IsNullAt(views, order[i])) return;
    const ColumnView& view = *views[order[i].source];
    __builtin_prefetch(view.data + view.Offset(order[i].row));
  }

  Status Variable(const std::vector<const ColumnView*>& views, const Order& order) {
    auto owned = std::make_unique<std::vector<int64_t>>(order.size() + 1);
    std::vector<int64_t>& offsets = *owned;
    for (size_t i = 0; i < order.size(); ++i) {
      PrefetchOffsets(views, order, i + kAhead);
      int64_t start = 0, end = 0;
      if (!IsNullAt(views, order[i]) && !CheckedRange(*views[order[i].source], order[i].row, &start, &end))
        return Damaged(*views[order[i].source]);
      offsets[i + 1] = offsets[i] + (end - start);
    }
    plan_->outputs.push_back(Bytes(reinterpret_cast<const uint8_t*>(offsets.data()), offsets.size() * 8));
    const Order* rows = &order;
    const auto* sources = &views;
    const std::vector<int64_t>* ends = owned.get();
    plan_->offsets.push_back(std::move(owned));
    plan_->outputs.push_back({static_cast<uint64_t>(ends->back()), [=](uint64_t begin, uint64_t end, uint8_t* out) {
      size_t i = static_cast<size_t>(
          std::upper_bound(ends->begin(), ends->end(), static_cast<int64_t>(begin)) - ends->begin() - 1);
      for (; begin < end; ++i) {
        PrefetchOffsets(*sources, *rows, i + 2 * kAhead);
        PrefetchBytes(*sources, *rows, i + kAhead);
        const auto from = static_cast<uint64_t>((*ends)[i]), to = static_cast<uint64_t>((*ends)[i + 1]);
        if (from == to) continue;
        const uint64_t skip = begin - from, bytes = std::min(to, end) - begin;
        const ColumnView& view = *(*sources)[(*rows)[i].source];
        const int64_t start = view.Offset((*rows)[i].row) + static_cast<int64_t>(skip);
        if (bytes <= kShort && end - begin >= kShort && view.limit - start >= static_cast<int64_t>(kShort))
          std::memcpy(out, view.data + start, kShort);  // what is too much is written over
        else
          std::memcpy(out, view.data + start, bytes);
        out += bytes;
        begin += bytes;
      }
    }});
    return Status::Ok();
  }

  Status Items(const Type& type, const std::vector<const ColumnView*>& views, const Order& order) {
    auto owned = std::make_unique<std::vector<int64_t>>(order.size() + 1);
    auto items = std::make_unique<std::vector<RowRef>>();
    std::vector<int64_t>& offsets = *owned;
    for (size_t i = 0; i < order.size(); ++i) {
      int64_t start = 0, end = 0;
      if (!IsNullAt(views, order[i]) && !CheckedRange(*views[order[i].source], order[i].row, &start, &end))
        return Damaged(*views[order[i].source]);
      offsets[i + 1] = offsets[i] + (end - start);
      if (end > kMaxItems) return Status::Invalid("a list column of 4 G items: load it in parts");
      for (int64_t item = start; item < end; ++item)
        items->push_back({order[i].source, static_cast<uint32_t>(item)});
    }
    if (type.kind == GF_MAP) {
      if (offsets.back() > 0x7FFFFFFF) return Status::Invalid("a map column of 2 G entries: load it in parts");
      auto bits = std::make_unique<std::vector<uint8_t>>(offsets.size() * 4);
      for (size_t i = 0; i < offsets.size(); ++i) {
        const auto narrow = static_cast<int32_t>(offsets[i]);
        std::memcpy(bits->data() + i * 4, &narrow, 4);
      }
      plan_->outputs.push_back(Bytes(bits->data(), bits->size()));
      plan_->bits.push_back(std::move(bits));
    } else {
      plan_->outputs.push_back(Bytes(reinterpret_cast<const uint8_t*>(offsets.data()), offsets.size() * 8));
      plan_->offsets.push_back(std::move(owned));
    }
    plan_->spans.push_back(std::make_unique<Order>(*items));
    const Order& rows = *plan_->spans.back();
    plan_->orders.push_back(std::move(items));
    for (size_t i = 0; i < type.children.size(); ++i)
      GF_RETURN_IF_ERROR(Column(type.children[i], Children(views, i), rows));
    return Status::Ok();
  }

  Plan* plan_;
};

// Writes the data region block by block: fills a block in cache, sums it, hands it to the kernel.
class DataWriter {
 public:
  DataWriter(int fd, const std::string& path, uint64_t begin, uint64_t end, const std::vector<gf_buffer>& buffers,
             const std::vector<Output>& outputs, const std::atomic<bool>* cancelled)
      : fd_(fd), path_(path), begin_(begin), end_(end), buffers_(buffers), outputs_(outputs), cancelled_(cancelled) {
    checksums_.resize((end - begin + GF_BLOCK_BYTES - 1) / GF_BLOCK_BYTES);
  }

  Status Run(int threads) {
    OnThreads(std::min<int>(threads, static_cast<int>(checksums_.size() / 4)), [this] { Work(); });
    MutexLock lock(&mutex_);
    return status_;
  }

  const std::vector<uint32_t>& checksums() const { return checksums_; }

 private:
  void Work() {
    // Not zeroed: a thread that fills it touches it first.
    std::unique_ptr<uint8_t[]> block(new (std::nothrow) uint8_t[GF_BLOCK_BYTES]);
    if (block == nullptr) return Fail(Status::Internal("out of memory"));
    while (!failed_.load(std::memory_order_relaxed)) {
      const size_t i = next_.fetch_add(1);
      if (i >= checksums_.size()) return;
      if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed))
        return Fail({Code::kCancelled, "the writing of " + path_ + " was cancelled", path_, -1});
      const uint64_t from = begin_ + uint64_t{i} * GF_BLOCK_BYTES;
      const uint64_t to = std::min<uint64_t>(from + GF_BLOCK_BYTES, end_);
      Fill(from, to, block.get());
      checksums_[i] = BlockChecksum(block.get(), to - from);
      Status status = WriteAll(fd_, path_, block.get(), to - from, from);
      if (!status.ok()) return Fail(status);
    }
  }

  void Fail(const Status& status) {
    MutexLock lock(&mutex_);
    if (status_.ok()) status_ = status;
    failed_ = true;
  }

  void Fill(uint64_t from, uint64_t to, uint8_t* out) const {
    // The last buffer that starts at or before `from`; zeros lie between buffers.
    auto it = std::upper_bound(buffers_.begin(), buffers_.end(), from,
                               [](uint64_t at, const gf_buffer& buffer) { return at < buffer.offset; });
    size_t i = static_cast<size_t>(it - buffers_.begin());
    if (i > 0) --i;
    uint64_t at = from;
    for (; i < buffers_.size() && buffers_[i].offset < to; ++i) {
      const gf_buffer& buffer = buffers_[i];
      const uint64_t first = std::max(at, buffer.offset), last = std::min(to, buffer.offset + buffer.bytes);
      if (buffer.bytes == 0 || first >= last) continue;
      std::memset(out + (at - from), 0, first - at);
      outputs_[i].fill(first - buffer.offset, last - buffer.offset, out + (first - from));
      at = last;
    }
    std::memset(out + (at - from), 0, to - at);
  }

  const int fd_;
  const std::string& path_;
  const uint64_t begin_, end_;
  const std::vector<gf_buffer>& buffers_;
  const std::vector<Output>& outputs_;
  const std::atomic<bool>* const cancelled_;
  std::vector<uint32_t> checksums_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> failed_{false};
  Mutex mutex_;
  Status status_ GF_GUARDED_BY(mutex_);
};

uint64_t Align(uint64_t offset) {
  return (offset + GF_BUFFER_ALIGNMENT - 1) / GF_BUFFER_ALIGNMENT * GF_BUFFER_ALIGNMENT;
}

Status WriteFile(int fd, const std::string& path, const SegmentSpec& spec, const std::vector<Output>& outputs,
                 uint64_t rows) {
  const std::string schema = spec.schema->Serialize(false);
  gf_segment_header header = {};
  header.magic = GF_SEGMENT_MAGIC;
  header.version = GF_SEGMENT_VERSION;
  header.rows = rows;
  header.segment_id = spec.segment_id;
  header.table_id = spec.table_id;
  header.buffer_count = static_cast<uint32_t>(outputs.size());
  header.schema_offset = sizeof(header);
  header.schema_bytes = schema.size();
  header.directory_offset = Align(sizeof(header) + schema.size());
  header.header_bytes = Align(header.directory_offset + outputs.size() * sizeof(gf_buffer));
  std::vector<gf_buffer> buffers;
  uint64_t at = header.header_bytes;
  for (const Output& output : outputs) {
    buffers.push_back({Align(at), output.bytes});
    at = Align(at) + output.bytes;
  }
  header.checksum_offset = Align(at);

  DataWriter writer(fd, path, header.header_bytes, header.checksum_offset, buffers, outputs, spec.cancelled);
  GF_RETURN_IF_ERROR(writer.Run(spec.threads));
  GF_FAILPOINT("segment.data");
  std::vector<uint32_t> sums = writer.checksums();
  sums.push_back(Crc32c(0, sums.data(), sums.size() * 4));
  GF_RETURN_IF_ERROR(WriteAll(fd, path, sums.data(), sums.size() * 4, header.checksum_offset));
  header.file_bytes = header.checksum_offset + sums.size() * 4;

  std::string head(header.header_bytes, '\0');
  std::memcpy(&head[header.schema_offset], schema.data(), schema.size());
  std::memcpy(&head[header.directory_offset], buffers.data(), buffers.size() * sizeof(gf_buffer));
  std::memcpy(&head[0], &header, sizeof(header));
  header.header_crc = Crc32c(0, head.data(), head.size());
  std::memcpy(&head[0], &header, sizeof(header));
  GF_RETURN_IF_ERROR(WriteAll(fd, path, head.data(), head.size(), 0));
  if (spec.durable && ::fsync(fd) != 0) return Status::System(errno, "sync", path);
  return Status::Ok();
}

// Calls body(source, begin, end, at) for the rows of each source that are among [at, last) of all; starts[i] is how many
// come before source i.
template <typename Body>
void InSources(const std::vector<size_t>& starts, size_t at, size_t last, const Body& body) {
  size_t s = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), at) - starts.begin() - 1);
  for (; at < last; ++s) {
    const size_t end = std::min(last, starts[s + 1]);
    if (end > at) body(s, static_cast<uint32_t>(at - starts[s]), static_cast<uint32_t>(end - starts[s]), at);
    at = end;
  }
}

Status HashKeys(const Schema& schema, const Source& source, uint32_t begin, uint32_t end, uint64_t* out) {
  const ColumnView& first = source[schema.key[0]];
  if (schema.key.size() == 1 && first.type->width > 0) {  // its bytes are what EncodeKey makes of it
    const auto width = static_cast<size_t>(first.type->width);
    for (uint32_t row = begin; row < end; ++row) *out++ = KeyHash(first.Value(row), width);
    return Status::Ok();
  }
  std::string key;
  for (uint32_t row = begin; row < end; ++row) {
    key.clear();
    GF_RETURN_IF_ERROR(EncodeKey(schema, source, row, &key));
    *out++ = KeyHash(key.data(), key.size());
  }
  return Status::Ok();
}

// Rows are sorted in buckets of the first bits of their hashes: each is one thread's, and small enough for its cache.
constexpr int kBucketBits = 8;
constexpr size_t kBuckets = size_t{1} << kBucketBits;

size_t BucketOf(uint64_t hash) { return hash >> (64 - kBucketBits); }

struct HashedRow {
  uint64_t hash;
  RowRef row;
};

bool Before(const HashedRow& a, const HashedRow& b) { return a.hash < b.hash; }

// Sorts by hash; equal hashes keep their order. `sorted` is for as many rows.
void SortBucket(HashedRow* rows, HashedRow* sorted, size_t count) {
  constexpr uint32_t kCrowd = 32;  // rows of one bin: more are the work of somebody who chose their hashes
  constexpr int kMostBits = 14;
  if (count < kCrowd) {
    std::copy_n(rows, count, sorted);
  } else {
    int bits = 1;
    while (bits < kMostBits && (size_t{1} << bits) < count) ++bits;
    // Hashes are uniform: of so many bins each gets a row or two, and every row is nearly where it belongs.
    auto bin = [bits](const HashedRow& row) { return row.hash << kBucketBits >> (64 - bits); };
    std::vector<uint32_t> ends((size_t{1} << bits) + 1);
    for (size_t i = 0; i < count; ++i) ++ends[bin(rows[i]) + 1];
    for (size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
    for (size_t i = 0; i < count; ++i) sorted[ends[bin(rows[i])]++] = rows[i];
    for (size_t i = 0, begin = 0; i + 1 < ends.size(); begin = ends[i++])
      if (ends[i] - begin > kCrowd) std::stable_sort(sorted + begin, sorted + ends[i], Before);
  }
  for (size_t i = 1; i < count; ++i) {
    const HashedRow row = sorted[i];
    size_t at = i;
    for (; at > 0 && Before(row, sorted[at - 1]); --at) sorted[at] = sorted[at - 1];
    sorted[at] = row;
  }
}

// All rows by hash; those of one hash in their original order. *ties is whether there are any of one hash.
Status SortByHash(const Schema& schema, const std::vector<Source>& sources, int threads, KeyOrder* out, bool* ties) {
  std::vector<size_t> starts = {0};
  for (const Source& source : sources)
    starts.push_back(starts.back() + static_cast<size_t>(source[schema.key[0]].length));
  const size_t rows = starts.back();
  if (rows > GF_MAX_SEGMENT_ROWS) return Status::Invalid("too many rows for one segment");
  const size_t pieces = (rows + kRowsForThreads - 1) / kRowsForThreads;
  if (pieces < 2) threads = 1;
  out->hashes.resize(rows);
  out->order.resize(rows);
  std::vector<Status> statuses(pieces);
  std::vector<std::vector<size_t>> places(pieces, std::vector<size_t>(kBuckets));
  ForEach(threads, pieces, [&](size_t p) {
    const size_t first = p * kRowsForThreads, last = std::min(rows, first + kRowsForThreads);
    InSources(starts, first, last, [&](size_t s, uint32_t begin, uint32_t end, size_t at) {
      if (statuses[p].ok()) statuses[p] = HashKeys(schema, sources[s], begin, end, &out->hashes[at]);
    });
    for (size_t i = first; i < last; ++i) ++places[p][BucketOf(out->hashes[i])];
  });
  for (const Status& status : statuses) GF_RETURN_IF_ERROR(status);
  std::vector<size_t> ends(kBuckets);
  size_t sum = 0;
  for (size_t b = 0; b < kBuckets; ends[b++] = sum) {
    for (std::vector<size_t>& place : places) {
      const size_t here = place[b];
      place[b] = sum;
      sum += here;
    }
  }
  const HugeArray<HashedRow> moved(rows);
  ForEach(threads, pieces, [&](size_t p) {
    const size_t first = p * kRowsForThreads, last = std::min(rows, first + kRowsForThreads);
    InSources(starts, first, last, [&](size_t s, uint32_t begin, uint32_t end, size_t at) {
      for (uint32_t row = begin; row < end; ++row, ++at) {
        const uint64_t hash = out->hashes[at];
        moved[places[p][BucketOf(hash)]++] = {hash, {static_cast<uint32_t>(s), row}};
      }
    });
  });
  std::atomic<bool> any_ties{false};
  ForEach(threads, kBuckets, [&](size_t b) {
    size_t at = b == 0 ? 0 : ends[b - 1];
    const size_t count = ends[b] - at;
    const std::unique_ptr<HashedRow[]> bucket(new HashedRow[count]);
    SortBucket(moved.data() + at, bucket.get(), count);
    bool same = false;
    for (size_t i = 0; i < count; ++i) {
      same |= i > 0 && bucket[i].hash == bucket[i - 1].hash;
      out->hashes[at] = bucket[i].hash;
      out->order[at++] = bucket[i].row;
    }
    if (same) any_ties = true;
  });
  *ties = any_ties;
  return Status::Ok();
}

Status EncodeKeyTo(const Schema& schema, const std::vector<Source>& sources, RowRef row, std::string* out) {
  out->clear();
  return EncodeKey(schema, sources[row.source], row.row, out);
}

// Writes a whole segment under a name of its own. On any error it is gone.
Status WriteTo(const std::string& path, const SegmentSpec& spec, const std::vector<ColumnRows>& columns,
               const uint64_t* hashes) {
  const size_t rows = columns.empty() ? 0 : columns[0].order.size();
  if (rows == 0 || rows > GF_MAX_SEGMENT_ROWS) return Status::Internal("a segment of no or too many rows");
  GF_DCHECK(columns.size() == spec.schema->columns.size());
  std::vector<Plan> plans(columns.size());
  std::vector<Status> statuses(columns.size());
  ForEach(rows < kRowsForThreads ? 1 : spec.threads, columns.size(), [&](size_t i) {
    GF_DCHECK(columns[i].order.size() == rows);
    statuses[i] = Planner(&plans[i]).Column(spec.schema->columns[i].type, columns[i].views, columns[i].order);
  });
  for (const Status& status : statuses) GF_RETURN_IF_ERROR(status);
  std::vector<Output> outputs = {Bytes(reinterpret_cast<const uint8_t*>(hashes), rows * 8)};
  for (const Plan& plan : plans) outputs.insert(outputs.end(), plan.outputs.begin(), plan.outputs.end());
  const int fd = CreateOwn(path);
  if (fd < 0) return Status::System(errno, "create", path);
  Status status = WriteFile(fd, path, spec, outputs, rows);
  if (::close(fd) != 0 && status.ok()) status = Status::System(errno, "close", path);
  if (!status.ok()) ::unlink(path.c_str());
  return status;
}

// Gives a whole file its name. On any error it is gone.
Status Rename(const std::string& from, const std::string& to, bool durable) {
  Status status;
  GF_KILLPOINT("segment.rename");
  if (::rename(from.c_str(), to.c_str()) != 0) status = Status::System(errno, "rename", from);
  if (status.ok() && durable) status = SyncFolderOf(to);
  if (!status.ok()) ::unlink(from.c_str());
  return status;
}

uint64_t BytesOf(const ColumnView& view, int64_t begin, int64_t end) {
  if (view.missing() || end <= begin) return 0;
  const auto rows = static_cast<uint64_t>(end - begin);
  uint64_t bytes = view.validity != nullptr ? rows / 8 : 0;
  switch (view.type->layout()) {
    case Layout::kBits:
      return bytes + rows / 8;
    case Layout::kFixed:
      return bytes + rows * static_cast<uint64_t>(view.type->width);
    case Layout::kStruct:
      for (const ColumnView& child : view.children) bytes += BytesOf(child, begin, end);
      return bytes;
    case Layout::kBytes:
    case Layout::kList:
    case Layout::kMap:
      break;
  }
  const int64_t first = view.Offset(begin), last = view.Offset(end);
  bytes += rows * 8;
  if (first < 0 || first > last || last > view.limit) return bytes;  // whoever reads the rows says what is wrong
  if (view.type->layout() == Layout::kBytes) return bytes + static_cast<uint64_t>(last - first);
  for (const ColumnView& child : view.children) bytes += BytesOf(child, first, last);
  return bytes;
}

// Rows of which each lies in one source, by column.
std::vector<ColumnRows> ByColumn(const SegmentSpec& spec, const std::vector<Source>& sources, RowOrderView order) {
  std::vector<ColumnRows> columns(spec.schema->columns.size());
  for (size_t i = 0; i < columns.size(); ++i) {
    columns[i].order = order;
    for (const Source& source : sources) columns[i].views.push_back(&source[i]);
  }
  return columns;
}

}  // namespace

Status WriteSegment(const SegmentSpec& spec, const std::vector<ColumnRows>& columns, const uint64_t* hashes) {
  const std::string temporary = spec.path + ".tmp";
  GF_RETURN_IF_ERROR(WriteTo(temporary, spec, columns, hashes));
  return Rename(temporary, spec.path, spec.durable);
}

Status WriteSegment(const SegmentSpec& spec, const std::vector<Source>& sources, RowOrderView order,
                    const uint64_t* hashes) {
  return WriteSegment(spec, ByColumn(spec, sources, order), hashes);
}

Status WriteUnsealed(const SegmentSpec& spec, const std::vector<Source>& sources, RowOrderView order,
                     const uint64_t* hashes) {
  return WriteTo(spec.path, spec, ByColumn(spec, sources, order), hashes);
}

Status SealSegment(const std::string& unsealed, uint64_t segment_id, const std::string& path, bool durable) {
  const int fd = OpenOwn(unsealed, O_RDWR);
  if (fd < 0) return Status::System(errno, "open", unsealed);
  gf_segment_header header = {};
  std::string head;
  Status status;
  auto read = [&](void* out, size_t bytes) {
    const ssize_t count = ::pread(fd, out, bytes, 0);
    if (count < 0) status = Status::System(errno, "read", unsealed);
    if (count >= 0 && static_cast<size_t>(count) != bytes) status = Status::Corrupt(unsealed, count, "it is cut off");
    return status.ok();
  };
  if (read(&header, sizeof(header))) {
    head.resize(header.header_bytes);
    if (read(&head[0], head.size())) {
      header.segment_id = segment_id;
      header.header_crc = 0;
      std::memcpy(&head[0], &header, sizeof(header));
      header.header_crc = Crc32c(0, head.data(), head.size());
      status = WriteAll(fd, unsealed, &header, sizeof(header), 0);
    }
  }
  if (status.ok() && durable && ::fsync(fd) != 0) status = Status::System(errno, "sync", unsealed);
  if (::close(fd) != 0 && status.ok()) status = Status::System(errno, "close", unsealed);
  if (!status.ok()) {
    ::unlink(unsealed.c_str());
    return status;
  }
  return Rename(unsealed, path, durable);
}

uint64_t BytesInSegment(const Source& source) {
  uint64_t bytes = 0;
  for (const ColumnView& view : source) bytes += BytesOf(view, 0, view.length);
  return bytes + (source.empty() ? 0 : 8 * static_cast<uint64_t>(source[0].length));
}

Status OrderByKey(const Schema& schema, const std::vector<Source>& sources, int threads, KeyOrder* out,
                  int64_t* duplicate_source, int64_t* duplicate_row, Twice twice) {
  *duplicate_source = -1;
  bool ties = false;
  GF_RETURN_IF_ERROR(SortByHash(schema, sources, threads, out, &ties));
  if (!ties) return Status::Ok();
  HugeVector<uint64_t>& hashes = out->hashes;
  HugeVector<RowRef>& order = out->order;
  const size_t rows = hashes.size();
  // Rows with the same hash lie side by side, in their original order: keep the last of each key, or the first.
  size_t kept = 0;
  std::string key, next;
  for (size_t begin = 0, end = 0; begin < rows; begin = end) {
    while (end < rows && hashes[end] == hashes[begin]) ++end;
    if (end - begin > 1) GF_RETURN_IF_ERROR(OrderTies(schema, sources, &order[begin], order.data() + end));
    for (size_t i = begin; i < end; ++i) {
      if (end - begin > 1) {
        if (i == begin) GF_RETURN_IF_ERROR(EncodeKeyTo(schema, sources, order[i], &next));
        key.swap(next);
        if (i + 1 < end) {
          GF_RETURN_IF_ERROR(EncodeKeyTo(schema, sources, order[i + 1], &next));
          if (key == next) {
            *duplicate_source = order[i].source;
            *duplicate_row = order[i].row;
            if (twice == Twice::kFirst) order[i + 1] = order[i];  // its key is the same
            continue;
          }
        }
      }
      hashes[kept] = hashes[i];
      order[kept++] = order[i];
    }
  }
  hashes.resize(kept);
  order.resize(kept);
  return Status::Ok();
}

}  // namespace gridflow
