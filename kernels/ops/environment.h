// Environment: what the process that executes a dataset wants otherwise than the graph says.
#ifndef GRIDFLOW_OPS_ENVIRONMENT_H_
#define GRIDFLOW_OPS_ENVIRONMENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gridflow {
namespace ops {

struct ReaderOptions;

// One graph is executed by many workers, each of which reads something else: the process that starts them says what, in
// environment variables GRIDFLOW_DATASET_<NAME>, or IGNITE_DATASET_<NAME> as for Ignite's dataset. One that is set to
// nothing counts as not set. docs/ignite.md lists them all. Immutable; any thread may read it.
struct Environment {
  using Get = std::function<const char*(const char*)>;  // as getenv: null if there is no such variable

  struct Setting {
    std::string variable;
    std::string value;
  };

  std::optional<Setting> home;          // GRIDFLOW_DATASET_HOME
  std::optional<Setting> default_home;  // GRIDFLOW_HOME
  std::optional<Setting> table;         // GRIDFLOW_DATASET_TABLE
  std::optional<Setting> part;          // GRIDFLOW_DATASET_PART
  std::vector<int64_t> partitions;      // what `part` means: pairs of begin and end; none for all

  // InvalidArgument: a variable is set to what it cannot be. Unimplemented: to a host that is not this machine.
  static absl::StatusOr<Environment> Read(const Get& get);

  // Changes what a dataset reads: its grid, its table, the ids of its columns, which are found by their names, and its
  // partitions. NotFound: there is no such grid, table or column. InvalidArgument: there is no such partition, or it is
  // another table and the dataset reads a past version.
  absl::Status Apply(ReaderOptions* options) const;
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_ENVIRONMENT_H_
