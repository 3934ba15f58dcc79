// ProcessState: what there is once in a process, though each compiled module and each library has a copy of core.
#ifndef GRIDFLOW_CORE_PROCESS_STATE_H_
#define GRIDFLOW_CORE_PROCESS_STATE_H_

#include <atomic>
#include <cstdint>
#include <utility>

#include "core/checked_files.h"
#include "core/failpoint.h"
#include "core/weak_registry.h"

namespace gridflow {

class Fetcher;
class Segment;

// All of core's state that outlives a call and belongs to no object. Any thread may use it.
struct ProcessState {
  Failpoints failpoints;
  // Segments that somebody holds, by device and inode: an inode cannot be used again while the mapping of its file lives,
  // so a hit is the same file.
  WeakRegistry<std::pair<uint64_t, uint64_t>, const Segment> segments;
  CheckedFiles checked_files;
  // Who has blocks of mirrored segments come (mirror.h): one for all copies of core in a process. Null: nobody.
  std::atomic<Fetcher*> fetcher{nullptr};
};

// That of this copy of core. Never null, and never destroyed: threads may outlive static objects.
//
// It is one of its own at first. Each compiled module makes it point to that of the module `process_state` when it is
// loaded, before anything of it is used; cython/README.md has the rule. A library of TensorFlow's or CUDA's keeps its own.
extern ProcessState* process_state;

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_PROCESS_STATE_H_
