// The functions of gridflow/cuda_api.h.
#include "gridflow/cuda_api.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "cuda/compiler.h"
#include "cuda/device.h"
#include "cuda/driver.h"
#include "cuda/pinned.h"
#include "cuda/table.h"

using gridflow::Mutex;
using gridflow::MutexLock;
using gridflow::cuda::Current;
using gridflow::cuda::CUdeviceptr;
using gridflow::cuda::CUevent;
using gridflow::cuda::CUstream;
using gridflow::cuda::Device;
using gridflow::cuda::Fail;
using gridflow::cuda::Ok;
using gridflow::cuda::Outcome;
using gridflow::cuda::Pinned;
using gridflow::cuda::Table;

struct gf_cuda_table {
  std::unique_ptr<Table> table;
  int32_t device;
};

struct gf_cuda_memory {
  std::shared_ptr<const void> memory;
};

struct gf_cuda_pinned {
  std::unique_ptr<Pinned> pinned;
};

namespace {

// How many holders each open table has.
struct Tables {
  Mutex mutex;
  std::map<const gf_cuda_table*, int64_t> holders GF_GUARDED_BY(mutex);
};
Tables& Open() {
  static auto* tables = new Tables;
  return *tables;
}

int Answer(const Outcome& outcome, gf_cuda_error* error) {
  if (error != nullptr) {
    error->code = outcome.code;
    const size_t size = std::min(outcome.message.size(), sizeof(error->message) - 1);
    std::memcpy(error->message, outcome.message.data(), size);
    error->message[size] = '\0';
  }
  return outcome.code;
}

// Nothing may be thrown into C.
template <typename Body>
int Guarded(gf_cuda_error* error, const Body& body) {
  try {
    return Answer(body(), error);
  } catch (const std::bad_alloc&) {
    return Answer(Fail(GF_CUDA_NO_MEMORY, "there is no memory"), error);
  } catch (const std::exception& failure) {
    return Answer(Fail(GF_CUDA_FAILED, failure.what()), error);
  }
}

// The device of that number; null for the processor.
Outcome DeviceOf(int32_t number, Device** out) {
  *out = nullptr;
  return number == GF_CUDA_CPU ? Ok() : Device::Get(number, out);
}

// Calls body(driver) with the device's context; what it returns is a result of the driver. Of the processor nothing.
template <typename Body>
int WithDriver(int32_t number, const char* what, gf_cuda_error* error, const Body& body) {
  return Guarded(error, [&]() -> Outcome {
    Device* device;
    GF_CUDA_RETURN_IF_ERROR(DeviceOf(number, &device));
    if (device == nullptr) return Ok();
    const Current current(*device);
    return device->driver().Check(body(device->driver()), what);
  });
}

Table::Progress Telling(gf_cuda_progress progress, void* argument) {
  return [progress, argument](uint64_t done, uint64_t all) {
    const bool goes_on = progress == nullptr || progress(done, all, argument) == 0;
    return goes_on ? Ok() : Fail(GF_CUDA_FAILED, "interrupted");
  };
}

}  // namespace

int gf_cuda_count(int32_t* count, gf_cuda_error* error) {
  *count = 0;
  return Guarded(error, [&] { return Device::Count(count); });
}

int gf_cuda_describe(int32_t device, gf_cuda_device* out, gf_cuda_error* error) {
  return Guarded(error, [&]() -> Outcome {
    Device* it;
    GF_CUDA_RETURN_IF_ERROR(Device::Get(device, &it));
    return it->Describe(out);
  });
}

int gf_cuda_allocate(int32_t device, uint64_t bytes, void** out, gf_cuda_error* error) {
  *out = nullptr;
  if (device == GF_CUDA_CPU) {
    const uint64_t size = (std::max<uint64_t>(bytes, 1) + 255) / 256 * 256;
    *out = size < bytes ? nullptr : std::aligned_alloc(256, size);
    return Answer(*out != nullptr ? Ok() : Fail(GF_CUDA_NO_MEMORY, "there is no memory"), error);
  }
  return WithDriver(device, "allocate memory on the GPU", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.MemAlloc(reinterpret_cast<CUdeviceptr*>(out), std::max<uint64_t>(bytes, 1));
  });
}

int gf_cuda_free(int32_t device, void* memory, gf_cuda_error* error) {
  if (device == GF_CUDA_CPU) {
    std::free(memory);
    return Answer(Ok(), error);
  }
  return WithDriver(device, "free memory of the GPU", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.MemFree(reinterpret_cast<CUdeviceptr>(memory));
  });
}

int gf_cuda_stream_create(int32_t device, void** out, gf_cuda_error* error) {
  *out = nullptr;
  return WithDriver(device, "make a stream", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.StreamCreate(reinterpret_cast<CUstream*>(out), 1);
  });
}

int gf_cuda_stream_destroy(int32_t device, void* stream, gf_cuda_error* error) {
  return WithDriver(device, "end a stream", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.StreamDestroy(static_cast<CUstream>(stream));
  });
}

int gf_cuda_stream_synchronize(int32_t device, void* stream, gf_cuda_error* error) {
  return WithDriver(device, "wait for a stream", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.StreamSynchronize(static_cast<CUstream>(stream));
  });
}

int gf_cuda_copy(int32_t device, void* to, const void* from, uint64_t bytes, void* stream, gf_cuda_error* error) {
  if (bytes == 0) return Answer(Ok(), error);
  if (device == GF_CUDA_CPU) {
    std::memmove(to, from, bytes);
    return Answer(Ok(), error);
  }
  return WithDriver(device, "copy memory", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.MemcpyAsync(reinterpret_cast<CUdeviceptr>(to), reinterpret_cast<CUdeviceptr>(from), bytes,
                              static_cast<CUstream>(stream));
  });
}

int gf_cuda_event_create(int32_t device, void** out, gf_cuda_error* error) {
  *out = nullptr;
  return WithDriver(device, "make an event", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.EventCreate(reinterpret_cast<CUevent*>(out), 0);
  });
}

int gf_cuda_event_record(int32_t device, void* event, void* stream, gf_cuda_error* error) {
  return WithDriver(device, "record an event", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.EventRecord(static_cast<CUevent>(event), static_cast<CUstream>(stream));
  });
}

int gf_cuda_event_elapsed(int32_t device, void* first, void* second, float* ms, gf_cuda_error* error) {
  *ms = 0;
  return WithDriver(device, "ask for the time between events", error, [&](const gridflow::cuda::Driver& driver) {
    const int result = driver.EventSynchronize(static_cast<CUevent>(second));
    return result != 0 ? result : driver.EventElapsedTime(ms, static_cast<CUevent>(first), static_cast<CUevent>(second));
  });
}

int gf_cuda_event_destroy(int32_t device, void* event, gf_cuda_error* error) {
  return WithDriver(device, "end an event", error, [&](const gridflow::cuda::Driver& driver) {
    return driver.EventDestroy(static_cast<CUevent>(event));
  });
}

int gf_cuda_use_driver(const char* path, gf_cuda_error* error) {
  return Guarded(error, [&] {
    gridflow::cuda::UseDriver(path);
    return Ok();
  });
}

int gf_cuda_use_compiler(const char* path, gf_cuda_error* error) {
  return Guarded(error, [&] {
    gridflow::cuda::UseCompiler(path);
    return Ok();
  });
}

int gf_cuda_compile(int32_t capability, uint64_t* cubin_bytes, gf_cuda_error* error) {
  *cubin_bytes = 0;
  return Guarded(error, [&]() -> Outcome {
    for (int part = 0; part <= GF_CUDA_FLOAT64; ++part) {
      std::string cubin;
      GF_CUDA_RETURN_IF_ERROR(gridflow::cuda::CompileKernels(capability, part, &cubin));
      *cubin_bytes += cubin.size();
    }
    return Ok();
  });
}

int gf_cuda_pin_memory(int32_t device, const void* begin, uint64_t bytes, gf_cuda_pinned** out, gf_cuda_error* error) {
  *out = nullptr;
  return Guarded(error, [&]() -> Outcome {
    Device* it;
    GF_CUDA_RETURN_IF_ERROR(Device::Get(device, &it));
    std::unique_ptr<gf_cuda_pinned> made(new gf_cuda_pinned);
    GF_CUDA_RETURN_IF_ERROR(Pinned::Memory(it, begin, bytes, &made->pinned));
    *out = made.release();
    return Ok();
  });
}

void gf_cuda_unpin_memory(gf_cuda_pinned* pinned) { delete pinned; }

int gf_cuda_open(const char* grid, uint32_t table_id, uint64_t version, int32_t device, const char* const* columns,
                 int32_t count, gf_cuda_table** out, gf_cuda_error* error) {
  *out = nullptr;
  return Guarded(error, [&]() -> Outcome {
    Device* it;
    GF_CUDA_RETURN_IF_ERROR(DeviceOf(device, &it));
    std::unique_ptr<gf_cuda_table> made(new gf_cuda_table);
    GF_CUDA_RETURN_IF_ERROR(
        Table::Open(grid, table_id, version, it, std::vector<std::string>(columns, columns + count), &made->table));
    made->device = device;
    MutexLock lock(&Open().mutex);
    Open().holders[made.get()] = 1;
    *out = made.release();
    return Ok();
  });
}

int gf_cuda_retain(gf_cuda_table* table, gf_cuda_error* error) {
  return Guarded(error, [&]() -> Outcome {
    MutexLock lock(&Open().mutex);
    const auto found = Open().holders.find(table);
    if (found == Open().holders.end()) return Fail(GF_CUDA_NOT_FOUND, "no such table is open in this process");
    ++found->second;
    return Ok();
  });
}

void gf_cuda_close(gf_cuda_table* table) {
  {
    MutexLock lock(&Open().mutex);
    const auto found = Open().holders.find(table);
    if (found == Open().holders.end() || --found->second > 0) return;
    Open().holders.erase(found);
  }
  delete table;
}

int32_t gf_cuda_device_of(const gf_cuda_table* table) { return table->device; }

int64_t gf_cuda_rows(const gf_cuda_table* table) { return table->table->rows(); }

uint64_t gf_cuda_version(const gf_cuda_table* table) { return table->table->version(); }

int gf_cuda_describe_column(const gf_cuda_table* table, int32_t column, gf_cuda_column* out, gf_cuda_error* error) {
  return Guarded(error, [&] { return table->table->Describe(column, out); });
}

int gf_cuda_pin(gf_cuda_table* table, gf_cuda_progress progress, void* argument, gf_cuda_error* error) {
  return Guarded(error, [&] { return table->table->Pin(Telling(progress, argument)); });
}

int gf_cuda_load(gf_cuda_table* table, uint64_t budget, gf_cuda_progress progress, void* argument,
                 gf_cuda_error* error) {
  return Guarded(error, [&] { return table->table->Load(budget, Telling(progress, argument)); });
}

int64_t gf_cuda_resident_rows(gf_cuda_table* table) { return table->table->ResidentRows(); }

int gf_cuda_unload(gf_cuda_table* table, gf_cuda_error* error) {
  return Guarded(error, [&] { return table->table->Unload(); });
}

int gf_cuda_result_bytes(const gf_cuda_table* table, int32_t column, const gf_cuda_convert* convert, int64_t* out,
                         gf_cuda_error* error) {
  return Guarded(error, [&] { return table->table->ResultBytes(column, convert, out); });
}

int gf_cuda_gather(gf_cuda_table* table, int32_t column, const int64_t* rows, int32_t rows_on_device, int64_t count,
                   const gf_cuda_convert* convert, void* out, void* stream, gf_cuda_error* error) {
  return Guarded(error, [&] {
    return table->table->Gather(column, rows, rows_on_device != 0, count, convert, out, static_cast<CUstream>(stream));
  });
}

int gf_cuda_batch(gf_cuda_table* table, int32_t column, int64_t start, int64_t count, const gf_cuda_convert* convert,
                  void* out, void* stream, gf_cuda_error* error) {
  return Guarded(error, [&] {
    return table->table->Batch(column, start, count, convert, out, static_cast<CUstream>(stream));
  });
}

int gf_cuda_view(gf_cuda_table* table, int32_t column, int64_t start, int64_t count, const void** out,
                 gf_cuda_memory** holder, gf_cuda_error* error) {
  *holder = nullptr;
  return Guarded(error, [&]() -> Outcome {
    std::unique_ptr<gf_cuda_memory> made(new gf_cuda_memory);
    GF_CUDA_RETURN_IF_ERROR(table->table->View(column, start, count, out, &made->memory));
    if (*out != nullptr) *holder = made.release();
    return Ok();
  });
}

void gf_cuda_release(gf_cuda_memory* holder) { delete holder; }

int gf_cuda_check(gf_cuda_table* table, void* stream, gf_cuda_error* error) {
  return Guarded(error, [&] { return table->table->Check(static_cast<CUstream>(stream)); });
}

int gf_cuda_share(gf_cuda_table* table, int32_t* descriptors, int32_t* count, gf_cuda_error* error) {
  return Guarded(error, [&]() -> Outcome {
    std::vector<int> made;
    Outcome outcome = table->table->Share(&made);
    const auto room = static_cast<size_t>(std::max(*count, 0));
    *count = static_cast<int32_t>(made.size());
    if (outcome.ok() && made.size() > room)
      outcome = Fail(GF_CUDA_INVALID, "there is room for " + std::to_string(room) + " descriptors, and there are " +
                                          std::to_string(made.size()));
    if (!outcome.ok()) {
      for (const int descriptor : made) ::close(descriptor);
      return outcome;
    }
    std::copy(made.begin(), made.end(), descriptors);
    return Ok();
  });
}

int gf_cuda_adopt(gf_cuda_table* table, const int32_t* descriptors, int32_t count, gf_cuda_error* error) {
  return Guarded(error, [&] { return table->table->Adopt(std::vector<int>(descriptors, descriptors + count)); });
}
