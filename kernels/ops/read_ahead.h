// ReadAhead: what comes next is read from storage and checked while what came before is used.
#ifndef GRIDFLOW_OPS_READ_AHEAD_H_
#define GRIDFLOW_OPS_READ_AHEAD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/row_plan.h"
#include "ops/table_reader.h"
#include "ops/workers.h"

namespace gridflow {
namespace ops {

// Of segments in a mirror, of which blocks have to come from elsewhere, so many rows ahead are asked for that a long way
// stays full.
//
// Of a pass. Windows of rows, at least as many as are read at a time, are given to a thread one after the other: each
// when the one before it begins to be read. So storage is asked for many rows at once, in whatever order they come, and
// for no more than two windows. Not thread-safe.
class ReadAhead {
 public:
  // Appends the rows at the places [begin, end) of a pass to `runs`. Called by one thread at a time.
  using Window = std::function<Status(int64_t begin, int64_t end, std::vector<Run>* runs)>;

  ReadAhead() = default;
  ~ReadAhead() { End(); }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Before `count` rows from `place` on are read, of which a pass reads none at or after `end`. What `window` uses must
  // outlive this.
  void Follow(const Workers& workers, const std::shared_ptr<const TableReader>& reader, int64_t place, int64_t count,
              int64_t end, const Window& window);

 private:
  struct Task;
  void Begin(const Workers& workers, std::shared_ptr<const TableReader> reader, const Window& window);
  // Of rows that no one has asked for yet, until so far ahead.
  static void AskFor(const TableReader& reader, int64_t begin, int64_t end, const Window& window);
  // Waits for what has begun; what has not, will not.
  void End();

  std::shared_ptr<Task> task_;
  int64_t window_begin_ = 0, window_end_ = 0;  // of the window that was given away last
  int64_t ask_begin_ = 0, ask_end_ = 0;        // of the rows that it asks for
};

}  // namespace ops
}  // namespace gridflow

#endif  // GRIDFLOW_OPS_READ_AHEAD_H_
