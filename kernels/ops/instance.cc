#include "ops/instance.h"

#include <cstdlib>
#include <utility>

#include "core/weak_registry.h"

namespace gridflow {
namespace ops {
namespace {

template <typename T>
WeakRegistry<int64_t, T>& All() {
  static auto* registry = new WeakRegistry<int64_t, T>;
  return *registry;
}

}  // namespace

Epochs::Epochs(int64_t number, uint64_t seed) : number(number), seed(seed) {}

std::shared_ptr<Epochs> Epochs::Of(int64_t number, uint64_t seed) {
  return All<Epochs>().FindOrMake(number, [&] { return std::make_shared<Epochs>(number, seed); });
}

Epochs::~Epochs() { All<Epochs>().Forget(number); }

Instance::Instance(int64_t number, std::shared_ptr<Epochs> epochs)
    : number(number), epochs(std::move(epochs)), environment(Environment::Read(&std::getenv)) {}

std::shared_ptr<Instance> Instance::Of(int64_t number, std::shared_ptr<Epochs> epochs) {
  return All<Instance>().FindOrMake(number, [&] { return std::make_shared<Instance>(number, std::move(epochs)); });
}

Instance::~Instance() { All<Instance>().Forget(number); }

std::shared_ptr<Instance> Instance::Find(int64_t number) { return All<Instance>().Find(number); }

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
  out[4] = counters.pinned_bytes.load();
}
