// WeakRegistry: objects that are shared by all of a process who ask for the same, as long as somebody holds them.
#ifndef GRIDFLOW_CORE_WEAK_REGISTRY_H_
#define GRIDFLOW_CORE_WEAK_REGISTRY_H_

#include <iterator>
#include <map>
#include <memory>
#include <utility>

#include "core/mutex.h"

namespace gridflow {

// Any thread may use it. One that is static is best never destroyed: threads may outlive static objects.
template <typename Key, typename T>
class WeakRegistry {
 public:
  // The object of that key; null if nobody holds one.
  std::shared_ptr<T> Find(const Key& key) {
    MutexLock lock(&mutex_);
    const auto entry = entries_.find(key);
    return entry == entries_.end() ? nullptr : entry->second.lock();
  }

  // The object of that key; what `make` returns if nobody holds one.
  template <typename Make>
  std::shared_ptr<T> FindOrMake(const Key& key, const Make& make) {
    MutexLock lock(&mutex_);
    std::weak_ptr<T>& entry = entries_[key];
    std::shared_ptr<T> found = entry.lock();
    if (found == nullptr) entry = found = make();
    return found;
  }

  // From now on it is the object of that key. Forgets those that are gone.
  void Set(const Key& key, const std::shared_ptr<T>& object) {
    MutexLock lock(&mutex_);
    for (auto entry = entries_.begin(); entry != entries_.end();)
      entry = entry->second.expired() ? entries_.erase(entry) : std::next(entry);
    entries_[key] = object;
  }

  // For the destructor of such an object: forgets it, unless another one has been made since its last holder left.
  void Forget(const Key& key) {
    MutexLock lock(&mutex_);
    const auto entry = entries_.find(key);
    if (entry != entries_.end() && entry->second.expired()) entries_.erase(entry);
  }

 private:
  Mutex mutex_;
  std::map<Key, std::weak_ptr<T>> entries_ GF_GUARDED_BY(mutex_);
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_WEAK_REGISTRY_H_
