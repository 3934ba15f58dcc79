// Asking whoever writes a table to make its newest rows readable, before they are read.
#ifndef GRIDFLOW_OPS_REFRESH_H_
#define GRIDFLOW_OPS_REFRESH_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace gridflow {
namespace ops {

// Calls what gridflow_ops_set_refresh() was given, if anything: Python's way to flush a table of which this process
// has a grid open. Called once for every new iterator, and never while elements are read.
absl::Status RefreshTable(const std::string& directory, const std::string& table);

}  // namespace ops
}  // namespace gridflow

extern "C" {

// Flushes the table of that name. Returns 0, or an absl::StatusCode and a message, at most `room` bytes with its NUL.
typedef int (*gridflow_refresh)(const char* directory, const char* table, char* message, int64_t room);

// Sets the function, or null for none. Returns once no thread is in the old one. May be called by any thread.
__attribute__((visibility("default"))) void gridflow_ops_set_refresh(gridflow_refresh refresh);
}

#endif  // GRIDFLOW_OPS_REFRESH_H_
