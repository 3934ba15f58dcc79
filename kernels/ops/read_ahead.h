// ReadAhead: what comes next is read from storage and checked while what came before is used.
#ifndef GRIDFLOW_OPS_READ_AHEAD_H_
#define GRIDFLOW_OPS_READ_AHEAD_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/row_plan.h"
#include "ops/table_reader.h"
#include "ops/workers.h"

namespace gridflow {
namespace ops {

// Of a pass that reads the rows of a plan in their order. Windows of rows, at least as many as are read at a time, are
// given to a thread one after the other: each when the one before it begins to be read. Not thread-safe.
class ReadAhead {
 public:
  ReadAhead() = default;
  ~ReadAhead() { End(); }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Before `count` rows from `ordinal` on are read, of which a pass reads none at or after `end`.
  void Follow(const Workers& workers, const std::shared_ptr<const TableReader>& reader, int64_t ordinal, int64_t count,
              int64_t end);

 private:
  struct Task;
  void Begin(const Workers& workers, std::shared_ptr<const TableReader> reader, std::vector<Run> runs);
  // Waits for what has begun; what has not, will not.
  void End();

  std::shared_ptr<Task> task_;
  int64_t window_begin_ = 0, window_end_ = 0;  // of the window that was given away last
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_READ_AHEAD_H_
