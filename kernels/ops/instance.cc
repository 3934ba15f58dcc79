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

std::shared_ptr<Instance> Instance::Find(int64_t number) {
  std::lock_guard<std::mutex> lock(RegistryMutex());
  const auto entry = All().find(number);
  return entry == All().end() ? nullptr : entry->second.lock();
}

}  // namespace ops
}  // namespace gridflow

void gridflow_ops_stop(int64_t instance) {
  const auto found = gridflow::ops::Instance::Find(instance);
  if (found != nullptr) found->stopped.store(true);
}

void gridflow_ops_counters(int64_t instance, int64_t* out) {
  const auto found = gridflow::ops::Instance::Find(instance);
  if (found == nullptr) return;
  const gridflow::ops::Counters& counters = found->counters;
  out[0] = counters.views.load();
  out[1] = counters.viewed_bytes.load();
  out[2] = counters.copies.load();
  out[3] = counters.copied_bytes.load();
}
