#include "cuda/table.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "cuda/table_parts.h"

namespace gridflow {
namespace cuda {
namespace {

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
    case GF_INT8:
    case GF_INT16:
    case GF_INT32:
    case GF_INT64:
    case GF_UINT8:
    case GF_UINT16:
    case GF_UINT32:
    case GF_UINT64:
    case GF_FLOAT16:
    case GF_FLOAT32:
    case GF_FLOAT64:
      return type.kind;
    case GF_BOOL:  // bits
    case GF_DECIMAL:
    case GF_STRING:
    case GF_BINARY:
    case GF_UUID:
    case GF_LIST:
    case GF_STRUCT:
    case GF_MAP:
      break;
  }
  return 0;
}

}  // namespace

Outcome Table::Open(const std::string& grid, uint32_t table_id, uint64_t version, Device* device,
                    const std::vector<std::string>& columns, std::unique_ptr<Table>* out) {
  std::unique_ptr<Table> table(new Table);
  table->device_ = device;
  GF_CUDA_RETURN_IF_ERROR(From(TableSnapshot::Open(grid, table_id, version, &table->snapshot_)));
  GF_CUDA_RETURN_IF_ERROR(From(RowPlan::Make(table->snapshot_, {}, &table->plan_)));
  if (columns.empty()) return Fail(GF_CUDA_INVALID, "no column is asked for");
  for (const std::string& name : columns) GF_CUDA_RETURN_IF_ERROR(table->AddColumn(name));
  GF_CUDA_RETURN_IF_ERROR(table->MakeParts());
  if (device != nullptr) {
    MutexLock lock(&table->mutex_);
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
  const std::vector<SegmentRef>& segments = snapshot_->segments();
  std::vector<int64_t> firsts(segments.size());
  for (Column& column : columns_) column.offsets.resize(segments.size());
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].live_rows() == 0) continue;
    const int64_t rows = segments[i].segment->rows();
    Part part;
    part.segment = static_cast<int>(i);
    part.first = first;
    for (Column& column : columns_) {
      column.offsets[i] = part.bytes;
      part.bytes += Aligned(static_cast<size_t>(rows * column.row_bytes));
    }
    firsts[i] = first;
    first += (rows + kPageRows - 1) / kPageRows * kPageRows;
    for (Column& column : columns_)
      if (device_ == nullptr) AddPages(part, HostData(column, part), &column);
    parts_.push_back(std::move(part));
  }
  if (plan_->plain()) return Ok();
  if (first > int64_t{std::numeric_limits<uint32_t>::max()})
    return Fail(GF_CUDA_INVALID, "the table's " + std::to_string(parts_.size()) +
                                     " segments have too many rows to be put in order, deleted ones included and each "
                                     "segment in whole pages of 65,536: merge them first");
  std::vector<Run> runs;
  GF_CUDA_RETURN_IF_ERROR(From(plan_->All(&runs)));
  order_.reserve(static_cast<size_t>(plan_->rows()));
  for (const Run& run : runs) {
    const int64_t number = firsts[static_cast<size_t>(run.segment)] + run.begin;
    for (int64_t i = 0; i < run.count; ++i) order_.push_back(static_cast<uint32_t>(number + i));
  }
  return Ok();
}

void Table::AddPages(const Part& part, const unsigned char* data, Column* column) const {
  const int64_t rows = snapshot_->segments()[static_cast<size_t>(part.segment)].segment->rows();
  for (int64_t row = 0; row < rows; row += kPageRows) column->pages.push_back(data + row * column->row_bytes);
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

Outcome Table::WaitForAll() {
  if (device_ == nullptr) return Ok();
  const Current current(*device_);
  const Driver& driver = device_->driver();
  Outcome outcome;
  const auto waited = [&](CUresult result) {
    if (outcome.ok()) outcome = driver.Check(result, "wait for the GPU");
  };
  for (const auto& [stream, event] : begun_) waited(driver.EventSynchronize(event));
  if (own_ != nullptr) waited(driver.StreamSynchronize(own_));
  return outcome;
}

Outcome Table::Begun(CUstream stream) {
  const Driver& driver = device_->driver();
  auto found = begun_.find(stream);
  if (found == begun_.end()) {
    CUevent event;
    GF_CUDA_RETURN_IF_ERROR(driver.Check(driver.EventCreate(&event, kNoTiming), "make an event"));
    found = begun_.emplace(stream, event).first;
  }
  return driver.Check(driver.EventRecord(found->second, stream), "record an event");
}

Outcome Table::WaitIfFailed(CUstream stream, const std::function<Outcome()>& work) {
  const Outcome outcome = work();
  // Nobody has noted what it began: buffers would be used again, and files be unpinned, too early.
  if (!outcome.ok()) device_->driver().StreamSynchronize(stream);
  return outcome;
}

}  // namespace cuda
}  // namespace gridflow
