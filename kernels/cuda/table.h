// Table: columns of one version of a table, as a GPU or the processor gathers rows of them.
//
//     table.cc             what is open
//     table_memory.cc      where its rows are for the device: pinned files, or copies in its memory that come and go
//     table_compressed.cc  columns that lie compressed beside their segments
//     table_rows.cc        rows gathered, copied, or shown where they lie
#ifndef GRIDFLOW_CUDA_TABLE_H_
#define GRIDFLOW_CUDA_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "core/row_plan.h"
#include "core/snapshot.h"
#include "cuda/compressed.h"
#include "cuda/convert.h"
#include "cuda/device.h"
#include "cuda/pinned.h"

namespace gridflow {
namespace cuda {

// See gridflow/cuda_api.h for what the functions do. Any thread may call them; one at a time does.
class Table {
 public:
  using Progress = std::function<Outcome(uint64_t done, uint64_t all)>;

  // `device` is null for the processor.
  static Outcome Open(const std::string& grid, uint32_t table_id, uint64_t version, Device* device,
                      const std::vector<std::string>& columns, std::unique_ptr<Table>* out);
  // Waits for what was begun.
  ~Table();

  int64_t rows() const { return plan_->rows(); }
  uint64_t version() const { return snapshot_->manifest().version; }
  Outcome Describe(int32_t column, gf_cuda_column* out) const;
  Outcome ResultBytes(int32_t column, const gf_cuda_convert* convert, int64_t* out) const;

  Outcome Pin(const Progress& progress);
  Outcome Load(uint64_t budget, const Progress& progress);
  int64_t ResidentRows();
  Outcome Unload();
  Outcome Gather(int32_t column, const int64_t* rows, bool rows_on_device, int64_t count,
                 const gf_cuda_convert* convert, void* out, CUstream stream);
  Outcome Batch(int32_t column, int64_t start, int64_t count, const gf_cuda_convert* convert, void* out,
                CUstream stream);
  // `holder` keeps what `out` points to.
  Outcome View(int32_t column, int64_t start, int64_t count, const void** out, std::shared_ptr<const void>* holder);
  Outcome Check(CUstream stream);
  Outcome Share(std::vector<int>* descriptors);
  Outcome Adopt(const std::vector<int>& descriptors);

 private:
  struct Column {
    std::string name;
    int position;  // in the version's schema
    int32_t dtype;
    std::vector<int64_t> dims;
    int64_t row_bytes, row_numbers;
    std::vector<size_t> offsets;  // of the column in each segment's memory on the device
    std::vector<const unsigned char*> pages;     // as GatherArgs has them, for who gathers
    std::shared_ptr<DeviceMemory> device_pages;  // the same, where kernels read them
    std::vector<CompressedCopy::Column> blocks;  // of each segment; without bounds where it is not compressed
    bool decodes = false;  // whether blocks are copied and decoded on the device, which is faster then
  };
  // Of the rows that are read of a segment.
  struct Part {
    int segment;
    int64_t first;               // number of its row 0, where rows are numbered in pages, deleted ones included
    size_t bytes = 0;            // of all columns, in the device's memory
    std::shared_ptr<DeviceMemory> memory;  // null: not loaded
    int64_t used = 0;            // when it was read last, by clock_
    uint64_t read = 0;           // bytes that were read of it over the bus, since when
    int64_t read_since = 0;
    std::vector<std::shared_ptr<Pinned>> pinned;
    std::shared_ptr<const CompressedCopy> compressed;  // null: there is none
  };
  // Row numbers on their way to the device.
  struct Slot {
    void* host = nullptr;
    std::shared_ptr<DeviceMemory> memory;
    size_t bytes = 0;
    CUevent used = nullptr;  // null: never
  };

  // Blocks on their way to the device, and what they become there if that is not where they are to be.
  struct Staging {
    std::shared_ptr<DeviceMemory> memory;
    CUevent used = nullptr;  // null: never
  };

  Table() = default;
  Outcome AddColumn(const std::string& name);
  Outcome CheckNulls(const Column& column) const;
  Outcome MakeParts();
  const uint8_t* HostData(const Column& column, const Part& part) const;
  // Appends those of a part, whose values of the column begin at `data`.
  void AddPages(const Part& part, const unsigned char* data, Column* column) const;
  bool IsMapped(const Column& column, const Part& part) const;
  uint64_t AllBytes() const;

  Outcome CheckPart(const Part& part) const;
  Outcome PinLocked(const Progress& progress) GF_REQUIRES(mutex_);
  Outcome LoadPart(Part* part) GF_REQUIRES(mutex_);
  bool HasAllColumns(const Part& part) const;
  Outcome Used(const int64_t* rows, int64_t first, int64_t count, int64_t row_bytes) GF_REQUIRES(mutex_);
  Outcome Replace(Part* part) GF_REQUIRES(mutex_);
  Outcome MakePages() GF_REQUIRES(mutex_);
  Outcome Upload(const void* from, size_t bytes, unsigned char* to) GF_REQUIRES(mutex_);
  Outcome WaitForAll() GF_REQUIRES(mutex_);
  // Notes that work was begun in the stream.
  Outcome Begun(CUstream stream) GF_REQUIRES(mutex_);
  // Does what begins work in the stream; where that fails nothing is under way any more.
  Outcome WaitIfFailed(CUstream stream, const std::function<Outcome()>& work) GF_REQUIRES(mutex_);

  Outcome Prepare(int32_t column, const gf_cuda_convert* convert, Conversion* out) const;
  Outcome CheckRange(int64_t start, int64_t count) const;
  Outcome RunKernel(const Column& column, const Conversion& conversion, GatherArgs args, CUstream stream) GF_REQUIRES(mutex_);
  Outcome OnProcessor(const Column& column, const Conversion& conversion, GatherArgs args);
  Outcome SendRows(const int64_t* rows, int64_t count, CUstream stream, const int64_t** out, Slot** slot) GF_REQUIRES(mutex_);
  Outcome CopyRows(Column* column, const std::vector<Run>& runs, unsigned char* out, CUstream stream) GF_REQUIRES(mutex_);
  Outcome CopyMapped(const Mapping& mapping, const void* from, uint64_t bytes, unsigned char* to, CUstream stream) GF_REQUIRES(mutex_);
  bool Decodes(const Column& column, int segment, uint64_t bytes) const;
  Outcome OpenCompressed(Part* part) GF_REQUIRES(mutex_);
  Outcome ChooseWays() GF_REQUIRES(mutex_);
  Outcome TimeWays(const Column& column, const Part& part, bool* decodes) GF_REQUIRES(mutex_);
  Outcome Decode(const Column& column, const Part& part, uint64_t begin, uint64_t bytes, unsigned char* out,
                 CUstream stream) GF_REQUIRES(mutex_);
  void ReleaseStaging() GF_REQUIRES(mutex_);
  Outcome DecodeRange(const Column& column, const Part& part, uint64_t begin, uint64_t bytes, unsigned char* out,
                      CUstream stream) GF_REQUIRES(mutex_);
  Outcome TakeBad(int which, int64_t* bad) GF_REQUIRES(mutex_);
  const Part& PartOf(int segment) const;
  const unsigned char* SourceOf(const Column& column, int segment, bool* on_device) const;

  Device* device_ = nullptr;
  std::shared_ptr<const TableSnapshot> snapshot_;
  std::shared_ptr<const RowPlan> plan_;
  std::vector<Column> columns_;
  std::vector<Part> parts_;
  std::vector<uint32_t> order_;  // the numbers of the rows, in their order; empty: it is that of the numbers
  Mutex mutex_;  // guards memory and pinned of parts_, too
  bool pinned_ GF_GUARDED_BY(mutex_) = false;
  bool partial_ GF_GUARDED_BY(mutex_) = false;  // whether some parts are loaded and others are not
  uint64_t budget_ GF_GUARDED_BY(mutex_) = 0;   // of a partial one: bytes that may be loaded
  int64_t clock_ GF_GUARDED_BY(mutex_) = 0;     // counts reads of a partial one
  std::shared_ptr<DeviceMemory> device_order_ GF_GUARDED_BY(mutex_), bad_ GF_GUARDED_BY(mutex_);
  CUstream own_ GF_GUARDED_BY(mutex_) = nullptr;  // for uploads
  std::map<CUstream, CUevent> begun_ GF_GUARDED_BY(mutex_);
  std::vector<Slot> slots_ GF_GUARDED_BY(mutex_) = std::vector<Slot>(4);
  size_t next_slot_ GF_GUARDED_BY(mutex_) = 0;
  std::vector<Staging> staging_ GF_GUARDED_BY(mutex_) = std::vector<Staging>(2);
  size_t next_staging_ GF_GUARDED_BY(mutex_) = 0;
};

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_TABLE_H_
