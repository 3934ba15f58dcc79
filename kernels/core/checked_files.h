// CheckedFiles: which blocks of files that are mapped no more were checked.
#ifndef GRIDFLOW_CORE_CHECKED_FILES_H_
#define GRIDFLOW_CORE_CHECKED_FILES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "core/mutex.h"

namespace gridflow {

// A file is mapped again by the next dataset, say, and its bytes are the same if it has not been changed since. Any thread
// may call anything.
class CheckedFiles {
 public:
  using Name = std::tuple<uint64_t, uint64_t, uint64_t, int64_t>;  // device, inode, size, time of the last change
  using Blocks = std::vector<uint64_t>;                            // a bit for each block

  // The blocks that were checked when the file was mapped before; none if it was not.
  Blocks Find(const Name& file) const {
    MutexLock lock(&mutex_);
    const auto entry = files_.find(file);
    return entry == files_.end() ? Blocks() : entry->second;
  }

  // From now on these are the blocks of that file.
  void Set(const Name& file, Blocks blocks) {
    MutexLock lock(&mutex_);
    if (files_.size() >= kMostFiles) files_.clear();
    files_[file] = std::move(blocks);
  }

 private:
  static constexpr size_t kMostFiles = 4096;

  mutable Mutex mutex_;
  std::map<Name, Blocks> files_ GF_GUARDED_BY(mutex_);
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_CHECKED_FILES_H_
