// Environment: what the process that executes a dataset says where the dataset does not.
#ifndef GRIDFLOW_OPS_ENVIRONMENT_H_
#define GRIDFLOW_OPS_ENVIRONMENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace gridflow {
namespace ops {

struct ReaderOptions;

// One graph is executed by many workers, each of which reads something else: the process that starts them says what, in
// environment variables GRIDFLOW_DATASET_<NAME>, or IGNITE_DATASET_<NAME> as for Ignite's dataset. One that is set to
// nothing counts as not set, and one that the dataset leaves no room for (ReaderOptions::default_...) is not looked at.
// docs/ignite.md lists them all. Immutable; any thread may read it.
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
  absl::Status part_status;             // what is wrong with `part`
  absl::Status server_status;           // what is wrong with the variables that say how to reach a server

  static Environment Read(const Get& get);

  // Fills in what the dataset does not say itself: its grid, its table, the ids of its columns, which are found by their
  // names, and its partitions. NotFound: there is no such grid, table or column. InvalidArgument: a variable is set to
  // what it cannot be, there is no such partition, or it is another table and the dataset reads a past version.
  // Unimplemented: a host that is not this machine.
  absl::Status Apply(ReaderOptions* options) const;
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_ENVIRONMENT_H_
