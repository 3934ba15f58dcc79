#include "ops/instance.h"

#include <cstdlib>
#include <map>
#include <mutex>

namespace gridflow {
namespace ops {
namespace {

// Guarded by RegistryMutex(). An entry is there as long as somebody holds what it names, or a moment longer.
using Registry = std::map<int64_t, std::weak_ptr<Instance>>;
std::mutex& RegistryMutex() {
  static std::mutex* mutex = new std::mutex;
  return *mutex;
}
Registry& All() {
  static Registry* registry = new Registry;
  return *registry;
}

}  // namespace

Instance::Instance(int64_t number, uint64_t seed)
    : number(number), seed(seed), environment(Environment::Read(&std::getenv)) {}

std::shared_ptr<Instance> Instance::Of(int64_t number, uint64_t seed) {
  std::lock_guard<std::mutex> lock(RegistryMutex());
  std::weak_ptr<Instance>& entry = All()[number];
  std::shared_ptr<Instance> found = entry.lock();
  if (found == nullptr) entry = found = std::make_shared<Instance>(number, seed);
  return found;
}

Instance::~Instance() {
  std::lock_guard<std::mutex> lock(RegistryMutex());
  const auto entry = All().find(number);
  // Another one may have been made between the last holder's leaving and now.
  if (entry != All().end() && entry->second.expired()) All().erase(entry);
}

}  // namespace ops
}  // namespace gridflow
