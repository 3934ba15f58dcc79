// GivenPath: where a library is, told by whoever knows, before it is opened.
#ifndef GRIDFLOW_CUDA_GIVEN_PATH_H_
#define GRIDFLOW_CUDA_GIVEN_PATH_H_

#include <mutex>
#include <string>

namespace gridflow {
namespace cuda {

// Any thread may use it. Its objects are never destroyed: threads may outlive static objects.
class GivenPath {
 public:
  void Set(const std::string& path) {
    std::lock_guard<std::mutex> lock(mutex_);
    path_ = path;
  }
  // Empty: nobody has told.
  std::string Get() {
    std::lock_guard<std::mutex> lock(mutex_);
    return path_;
  }

 private:
  std::mutex mutex_;
  std::string path_;  // guarded by mutex_
};

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_GIVEN_PATH_H_
