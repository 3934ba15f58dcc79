// HugePages: an allocator whose large blocks the kernel may back with huge pages.
#ifndef GRIDFLOW_CORE_HUGE_PAGES_H_
#define GRIDFLOW_CORE_HUGE_PAGES_H_

#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

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

// The same for values that stay as they are until they are written: whoever resizes a vector of them fills it.
template <typename T>
struct RawHugePages : HugePages<T> {
  static_assert(std::is_trivially_destructible_v<T>);
  template <typename Other>
  struct rebind {
    using other = RawHugePages<Other>;
  };
  RawHugePages() = default;
  template <typename Other>
  RawHugePages(const RawHugePages<Other>&) {}

  template <typename Value>
  void construct(Value* place) {
    ::new (static_cast<void*>(place)) Value;
  }
  template <typename Value, typename... Arguments>
  void construct(Value* place, Arguments&&... arguments) {
    ::new (static_cast<void*>(place)) Value{std::forward<Arguments>(arguments)...};
  }
};

template <typename T>
using HugeVector = std::vector<T, RawHugePages<T>>;

// Room for `size` values, not initialised: the thread that fills it touches it first.
template <typename T>
class HugeArray {
 public:
  HugeArray() = default;
  explicit HugeArray(size_t size) : size_(size), data_(size == 0 ? nullptr : HugePages<T>().allocate(size)) {
    static_assert(std::is_trivial_v<T>);
  }
  HugeArray(HugeArray&& other) noexcept : size_(other.size_), data_(other.data_) {
    other.size_ = 0;
    other.data_ = nullptr;
  }
  HugeArray& operator=(HugeArray&& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~HugeArray() {
    if (data_ != nullptr) HugePages<T>().deallocate(data_, size_);
  }
  size_t size() const { return size_; }
  T* data() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  size_t size_ = 0;
  T* data_ = nullptr;
};

}  // namespace gridflow

#endif  // GRIDFLOW_CORE_HUGE_PAGES_H_
