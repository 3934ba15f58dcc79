// GivenPath: where a library is, told by whoever knows, before it is opened.
#ifndef GRIDFLOW_CUDA_GIVEN_PATH_H_
#define GRIDFLOW_CUDA_GIVEN_PATH_H_

#include <string>

#include "core/mutex.h"

namespace gridflow {
namespace cuda {

// Any thread may use it. Its objects are never destroyed: threads may outlive static objects.
class GivenPath {
 public:
  void Set(const std::string& path) {
    MutexLock lock(&mutex_);
    path_ = path;
  }
  // Empty: nobody has told.
  std::string Get() {
    MutexLock lock(&mutex_);
    return path_;
  }

 private:
  Mutex mutex_;
  std::string path_ GF_GUARDED_BY(mutex_);
};

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_GIVEN_PATH_H_
