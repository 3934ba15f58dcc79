/* Tables of a grid on an NVIDIA GPU: plain C, for whoever has no TensorFlow, and for TensorFlow's ops.
 *
 * The library needs no CUDA toolkit, neither to be built nor to be loaded. At the first call it opens the driver
 * (libcuda.so.1) and, for kernels, NVRTC; without them every call says what is missing, and device GF_CUDA_CPU works: it
 * does everything in host memory with results that are the same to the last bit.
 *
 *     open ──> pin (rows are read where they are mapped, over the bus) ──> gather, batch
 *         └──> load (columns are copied into the GPU's memory)          ──> view, gather, batch; share
 *
 * A row is named by its ordinal: 0 to rows - 1, in the order of segments, and within one in that of its live rows.
 *
 * Every function but those that return void gives 0 or a gf_cuda_code, and then says in *error, unless that is null,
 * what is wrong. Functions may be called by any thread; calls with the same table must not overlap with its close.
 */
#ifndef GRIDFLOW_CUDA_API_H_
#define GRIDFLOW_CUDA_API_H_

#include <stddef.h>
#include <stdint.h>

#define GF_CUDA_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gf_cuda_code {
  GF_CUDA_OK = 0,
  GF_CUDA_NO_DRIVER = 1,    /* there is no driver, or it does not start */
  GF_CUDA_NO_COMPILER = 2,  /* there is no NVRTC, or it cannot compile for this GPU */
  GF_CUDA_NO_DEVICE = 3,    /* no such GPU, or one that is too old */
  GF_CUDA_NO_MEMORY = 4,    /* the GPU's memory does not suffice, or that which can be pinned */
  GF_CUDA_NOT_FOUND = 5,    /* no such table, version or column */
  GF_CUDA_INVALID = 6,      /* arguments that make no sense */
  GF_CUDA_OUT_OF_RANGE = 7, /* a row that the table does not have */
  GF_CUDA_CORRUPT = 8,      /* a damaged file */
  GF_CUDA_FAILED = 9        /* anything else, in the driver's words */
} gf_cuda_code;

typedef struct gf_cuda_error {
  int32_t code;
  char message[1020];
} gf_cuda_error;

enum { GF_CUDA_CPU = -1 }; /* as a device: host memory; streams are null there and all is done when a call returns */

/* What a number is; those of a column's type have the same value in gf_kind. */
typedef enum gf_cuda_dtype {
  GF_CUDA_BOOL = 1, /* a byte each */
  GF_CUDA_INT8 = 2,
  GF_CUDA_INT16 = 3,
  GF_CUDA_INT32 = 4,
  GF_CUDA_INT64 = 5,
  GF_CUDA_UINT8 = 6,
  GF_CUDA_UINT16 = 7,
  GF_CUDA_UINT32 = 8,
  GF_CUDA_UINT64 = 9,
  GF_CUDA_FLOAT16 = 10,
  GF_CUDA_FLOAT32 = 11,
  GF_CUDA_FLOAT64 = 12,
  GF_CUDA_BFLOAT16 = 64 /* only as the result of a conversion */
} gf_cuda_dtype;

/* ---- GPUs, their memory and streams ---- */

typedef struct gf_cuda_device {
  char name[256];
  uint8_t uuid[16];
  int32_t major, minor; /* compute capability */
  int32_t multiprocessors;
  int32_t reads_pinned; /* whether it can read pinned mappings of files that may not be written */
  uint64_t memory_bytes, free_bytes;
} gf_cuda_device;

GF_CUDA_EXPORT int gf_cuda_count(int32_t* count, gf_cuda_error* error);
GF_CUDA_EXPORT int gf_cuda_describe(int32_t device, gf_cuda_device* out, gf_cuda_error* error);
/* Memory of the device, aligned to 256 bytes at least. */
GF_CUDA_EXPORT int gf_cuda_allocate(int32_t device, uint64_t bytes, void** out, gf_cuda_error* error);
GF_CUDA_EXPORT int gf_cuda_free(int32_t device, void* memory, gf_cuda_error* error);
/* Streams are CUstream, so those of CuPy, PyTorch and TensorFlow will do. Null is the device's default stream. */
GF_CUDA_EXPORT int gf_cuda_stream_create(int32_t device, void** out, gf_cuda_error* error);
GF_CUDA_EXPORT int gf_cuda_stream_destroy(int32_t device, void* stream, gf_cuda_error* error);
GF_CUDA_EXPORT int gf_cuda_stream_synchronize(int32_t device, void* stream, gf_cuda_error* error);
/* In the order of the stream. Copies may be between host and device memory either way. */
GF_CUDA_EXPORT int gf_cuda_copy(int32_t device, void* to, const void* from, uint64_t bytes, void* stream,
                                gf_cuda_error* error);
/* Milliseconds that the device takes from the first to the second mark in a stream. */
GF_CUDA_EXPORT int gf_cuda_event_create(int32_t device, void** out, gf_cuda_error* error);
GF_CUDA_EXPORT int gf_cuda_event_record(int32_t device, void* event, void* stream, gf_cuda_error* error);
GF_CUDA_EXPORT int gf_cuda_event_elapsed(int32_t device, void* first, void* second, float* ms, gf_cuda_error* error);
GF_CUDA_EXPORT int gf_cuda_event_destroy(int32_t device, void* event, gf_cuda_error* error);
/* Where the driver is, if the loader does not find libcuda.so.1: its path, before the first call that needs it. */
GF_CUDA_EXPORT int gf_cuda_use_driver(const char* path, gf_cuda_error* error);
/* Where NVRTC is, if the loader does not find it: the path of libnvrtc.so.*, before the first kernel is needed. */
GF_CUDA_EXPORT int gf_cuda_use_compiler(const char* path, gf_cuda_error* error);
/* Compiles all kernels for a compute capability, major * 10 + minor, without a GPU. */
GF_CUDA_EXPORT int gf_cuda_compile(int32_t capability, uint64_t* cubin_bytes, gf_cuda_error* error);

/* ---- memory that others have mapped ---- */

typedef struct gf_cuda_pinned gf_cuda_pinned;

/* Registers whole pages of host memory with the driver, which may be read-only, as one piece: any GPU copies from them, and
 * any part of them, without a copy on the host. All pages are read into memory; that takes about 50 ms for a GiB. The
 * memory must stay mapped until it is unpinned. */
GF_CUDA_EXPORT int gf_cuda_pin_memory(int32_t device, const void* begin, uint64_t bytes, gf_cuda_pinned** out,
                                      gf_cuda_error* error);
GF_CUDA_EXPORT void gf_cuda_unpin_memory(gf_cuda_pinned* pinned);

/* ---- tables ---- */

typedef struct gf_cuda_table gf_cuda_table;

typedef struct gf_cuda_column {
  int32_t dtype;       /* gf_cuda_dtype of its numbers */
  int32_t rank;        /* dimensions of a row; 0: one number */
  const int64_t* dims; /* lives as long as the table */
  int64_t row_bytes;
} gf_cuda_column;

/* Opens columns of one version of a table; version 0 is the current one. Columns are named as in SQL, and are numbers,
 * tensors, or dates and times, which are the integers that they are stored as; no row may be null. Blocks are checked
 * against their checksums when they are pinned, loaded or read. */
GF_CUDA_EXPORT int gf_cuda_open(const char* grid, uint32_t table_id, uint64_t version, int32_t device,
                                const char* const* columns, int32_t count, gf_cuda_table** out, gf_cuda_error* error);
/* One holder more, who is to call gf_cuda_close() as well. GF_CUDA_NOT_FOUND: that is no table that is open. */
GF_CUDA_EXPORT int gf_cuda_retain(gf_cuda_table* table, gf_cuda_error* error);
/* When the last holder calls it, waits for what was begun on the table's rows, in any stream. */
GF_CUDA_EXPORT void gf_cuda_close(gf_cuda_table* table);
GF_CUDA_EXPORT int32_t gf_cuda_device_of(const gf_cuda_table* table);
GF_CUDA_EXPORT int64_t gf_cuda_rows(const gf_cuda_table* table);
GF_CUDA_EXPORT uint64_t gf_cuda_version(const gf_cuda_table* table);
GF_CUDA_EXPORT int gf_cuda_describe_column(const gf_cuda_table* table, int32_t column, gf_cuda_column* out,
                                           gf_cuda_error* error);

/* Called now and then; another value than 0 ends the work, which then fails with GF_CUDA_FAILED. */
typedef int (*gf_cuda_progress)(uint64_t done_bytes, uint64_t all_bytes, void* argument);

/* Registers the table's files with the driver, so that the GPU reads rows where they are mapped. A file is registered once
 * in a process, and as long as it is mapped. Of a table that is pinned already it does nothing. */
GF_CUDA_EXPORT int gf_cuda_pin(gf_cuda_table* table, gf_cuda_progress progress, void* argument, gf_cuda_error* error);

/* Copies the columns into the GPU's memory, segment after segment, until `budget` bytes are in use by this table; what
 * is left out is read over the bus. 0: no limit, and if it does not fit, GF_CUDA_NO_MEMORY and nothing is loaded. Memory
 * that runs out below a budget ends the loading, without an error.
 *
 * Of a table that does not fit, a segment later takes the place of the least recently used ones: once twice its bytes have
 * been read over the bus, if those were not used since the first of them. So a table that is read from end to end again and
 * again stays as it is, and rows that are read often come to be loaded. Rows that are named on the device do not count. */
GF_CUDA_EXPORT int gf_cuda_load(gf_cuda_table* table, uint64_t budget, gf_cuda_progress progress, void* argument,
                                gf_cuda_error* error);
/* How many rows are in the device's memory now; all of them in host memory. */
GF_CUDA_EXPORT int64_t gf_cuda_resident_rows(gf_cuda_table* table);
/* Gives the memory back, once no view of it is held. */
GF_CUDA_EXPORT int gf_cuda_unload(gf_cuda_table* table, gf_cuda_error* error);

/* What is done with the numbers of a row on their way: result = number * scale[channel] + offset[channel], in float32,
 * without fusing, then rounded to the nearest number of `dtype`, ties to even.
 *
 * A row is an image of height * width * channels numbers if height is not 0, else a row of numbers whose channel is its
 * index modulo `channels`. */
typedef struct gf_cuda_convert {
  int32_t dtype;                  /* GF_CUDA_FLOAT32, _FLOAT16 or _BFLOAT16 */
  int32_t channels;               /* at least 1 */
  const float* scale;             /* of each channel, in host memory; null: 1 */
  const float* offset;            /* likewise; null: 0 */
  int32_t height, width;          /* of an image, or 0 */
  int32_t crop_height, crop_width; /* of what is taken of it; 0: all */
  int32_t channels_first;         /* whether the result is [channels, height, width] instead of [height, width, channels] */
  const int32_t* places;          /* for each row three numbers in memory of the device: the top and left end of what is
                                     taken, held within the image, and whether it is mirrored from left to right; null:
                                     the middle, not mirrored */
} gf_cuda_convert;

/* Bytes that a row takes in the result; `convert` may be null. */
GF_CUDA_EXPORT int gf_cuda_result_bytes(const gf_cuda_table* table, int32_t column, const gf_cuda_convert* convert,
                                        int64_t* out, gf_cuda_error* error);

/* Rows by number, in any order. `rows` are in host memory, or, with rows_on_device, in the device's, where the kernel
 * checks each of them: a row that is not there gives zeros, and the next gf_cuda_check() of the table says so. */
GF_CUDA_EXPORT int gf_cuda_gather(gf_cuda_table* table, int32_t column, const int64_t* rows, int32_t rows_on_device,
                                  int64_t count, const gf_cuda_convert* convert, void* out, void* stream,
                                  gf_cuda_error* error);
/* Rows [start, start + count). */
GF_CUDA_EXPORT int gf_cuda_batch(gf_cuda_table* table, int32_t column, int64_t start, int64_t count,
                                 const gf_cuda_convert* convert, void* out, void* stream, gf_cuda_error* error);
/* Holds memory of a table. */
typedef struct gf_cuda_memory gf_cuda_memory;
/* Where these rows lie in the device's memory, which stays until *holder is released, whatever becomes of the table. Both
 * are null if the rows are not there, or not one behind the other. */
GF_CUDA_EXPORT int gf_cuda_view(gf_cuda_table* table, int32_t column, int64_t start, int64_t count, const void** out,
                                gf_cuda_memory** holder, gf_cuda_error* error);
/* Memory that nobody holds any more is given back when the device has done all that was begun, in any stream. */
GF_CUDA_EXPORT void gf_cuda_release(gf_cuda_memory* holder);
/* Waits for the stream. GF_CUDA_OUT_OF_RANGE: since the last call a gather was asked for a row that is not there. */
GF_CUDA_EXPORT int gf_cuda_check(gf_cuda_table* table, void* stream, gf_cuda_error* error);

/* ---- one copy for several processes ---- */

/* The loaded memory as file descriptors, which the caller closes; another process of the same GPU maps them, however it
 * gets them. *count: room in `descriptors`, then how many there are. The memory stays until all that hold it, those who
 * have a descriptor included, have let it go or ended. */
GF_CUDA_EXPORT int gf_cuda_share(gf_cuda_table* table, int32_t* descriptors, int32_t* count, gf_cuda_error* error);
/* As load, from descriptors that another process got of the same version and columns with share(); they are still the
 * caller's to close. */
GF_CUDA_EXPORT int gf_cuda_adopt(gf_cuda_table* table, const int32_t* descriptors, int32_t count, gf_cuda_error* error);

#ifdef __cplusplus
}
#endif

#endif /* GRIDFLOW_CUDA_API_H_ */
