// HugePages: an allocator whose large blocks the kernel may back with huge pages.
#ifndef GRIDFLOW_CORE_HUGE_PAGES_H_
#define GRIDFLOW_CORE_HUGE_PAGES_H_

#include <cstddef>
#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace gridflow {

// For tables that are read at random: with small pages each read misses the TLB, too. A block of at least a huge page
// is aligned to one and offered to the kernel, which may decline.
template <typename T>
struct HugePages {
  using value_type = T;
  static constexpr size_t kHugePage = size_t{2} << 20;

  HugePages() = default;
  template <typename Other>
  HugePages(const HugePages<Other>&) {}

  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);  // vectors ask for no more than max_size()
    if (bytes < kHugePage) return static_cast<T*>(::operator new(bytes));
    void* block = std::aligned_alloc(kHugePage, (bytes + kHugePage - 1) / kHugePage * kHugePage);
    if (block == nullptr) throw std::bad_alloc();
#ifdef __linux__
    (void)::madvise(block, bytes, MADV_HUGEPAGE);  // only ever a wish
#endif
    return static_cast<T*>(block);
  }
  void deallocate(T* block, size_t count) {
    if (count * sizeof(T) < kHugePage) {
      ::operator delete(block);
    } else {
      std::free(block);
    }
  }
  friend bool operator==(const HugePages&, const HugePages&) { return true; }
  friend bool operator!=(const HugePages&, const HugePages&) { return false; }
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_HUGE_PAGES_H_
