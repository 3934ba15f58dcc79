// What an op asks of Python, before it reads: to have a table's newest rows flushed, and which rows an SQL text means.
#ifndef GRIDFLOW_OPS_PYTHON_H_
#define GRIDFLOW_OPS_PYTHON_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "core/row_plan.h"
#include "core/snapshot.h"
#include "ops/row_order.h"

namespace gridflow {
namespace ops {

// Has whoever writes the table make its newest rows readable, if Python is there to ask. Called once for every new
// iterator and every pass of one, and where it follows the table.
absl::Status RefreshTable(const std::string& directory, const std::string& table);

// Which rows of a version's plan `selection` means (gridflow/tf/selection.py says how it is written): either the plan
// becomes one of these rows, or, where SQL orders them or says how likely they are, they are a selection of the plan's
// rows. Aborted: ask again. FailedPrecondition: there is no Python to ask.
absl::Status SelectRows(const std::string& directory, const std::string& table,
                        const std::shared_ptr<const TableSnapshot>& snapshot, const std::string& selection,
                        std::shared_ptr<const RowPlan>* plan, std::shared_ptr<const Selection>* out);

}  // namespace ops
}  // namespace gridflow

extern "C" {

// Both return 0, or an absl::StatusCode and a message, at most `room` bytes with its NUL.
typedef int (*gridflow_refresh)(const char* directory, const char* table, char* message, int64_t room);
// Answers with gridflow_ops_selected() or gridflow_ops_chosen(), with the same `result`. `snapshot` and `plan` are the
// addresses of the version's std::shared_ptr<const TableSnapshot> and of the std::shared_ptr<const RowPlan> whose rows are
// meant, valid for the call.
typedef int (*gridflow_select)(const char* directory, const char* table, const void* snapshot, const void* plan,
                               const char* selection, void* result, char* message, int64_t room);

// Sets the functions, or null for none. Returns once no thread is in the old ones. May be called by any thread.
__attribute__((visibility("default"))) void gridflow_ops_set_python(gridflow_refresh refresh, gridflow_select select);
// Who has blocks of mirrored segments come: the process's Fetcher (core/mirror.h), which Python made.
__attribute__((visibility("default"))) void gridflow_ops_set_fetcher(void* fetcher);
// A selection of `count` ordinals, and as many weights, or null for none: copies, which any number of answers share.
__attribute__((visibility("default"))) void* gridflow_ops_make_selection(const int64_t* ordinals, const double* weights,
                                                                         int64_t count);
// Its ordinals, which live as long as it does.
__attribute__((visibility("default"))) const int64_t* gridflow_ops_ordinals(const void* selection);
// Answers with a selection.
__attribute__((visibility("default"))) void gridflow_ops_selected(void* result, const void* selection);
// Answers with a plan of some of the rows: the address of a std::shared_ptr<const RowPlan>, of which it takes a share.
__attribute__((visibility("default"))) void gridflow_ops_chosen(void* result, const void* plan);
// To be called once for each selection, when Python will not answer with it again.
__attribute__((visibility("default"))) void gridflow_ops_free_selection(void* selection);
}

#endif  // GRIDFLOW_OPS_PYTHON_H_
