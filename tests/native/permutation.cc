// Permutation: every number once, in an order that looks random, whatever the size and the seed.
#include "core/permutation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/test.h"

namespace {

using gridflow::Permutation;

std::vector<uint64_t> Order(uint64_t n, uint64_t seed) {
  const Permutation permutation(n, seed);
  std::vector<uint64_t> order(n);
  for (uint64_t i = 0; i < n; ++i) order[i] = permutation(i);
  return order;
}

TEST(every_number_comes_once) {
  for (uint64_t n : {0ull, 1ull, 2ull, 3ull, 7ull, 1000ull, 1048576ull, 1048577ull, 1500003ull, 2097153ull})
    for (uint64_t seed : {0ull, ~0ull}) {
      std::vector<bool> seen(n);
      for (uint64_t number : Order(n, seed)) {
        CHECK(number < n && !seen[number]);
        seen[number] = true;
      }
    }
}

TEST(a_seed_gives_an_order_of_its_own) {
  for (uint64_t n : {1000ull, 2000000ull}) {
    CHECK(Order(n, 1) == Order(n, 1));
    CHECK(Order(n, 1) != Order(n, 2));
  }
}

// What n independent places would give, within six standard deviations: how far a number moves, whether neighbours stay
// neighbours, and how a block of numbers spreads over blocks of places.
TEST(the_order_looks_random) {
  for (uint64_t n : {60000ull, 1048577ull, 1500003ull})
    for (uint64_t seed = 0; seed < 2; ++seed) {
      const std::vector<uint64_t> order = Order(n, seed);
      const auto size = static_cast<double>(n);
      double moved = 0, fixed = 0, neighbours = 0, rising = 0;
      for (uint64_t i = 0; i < n; ++i) {
        moved += std::abs(static_cast<double>(order[i]) - static_cast<double>(i)) / size;
        fixed += order[i] == i;
        if (i > 0) neighbours += order[i] == order[i - 1] + 1;
        if (i > 0) rising += order[i] > order[i - 1];
      }
      CHECK(std::abs(moved / size - 1.0 / 3) < 6 * 0.25 / std::sqrt(size));
      CHECK(fixed <= 10);
      CHECK(neighbours <= 10);
      CHECK(std::abs(rising / size - 0.5) < 6 * 0.3 / std::sqrt(size));
      constexpr int kBlocks = 64;
      double chi = 0;
      std::vector<double> counts(kBlocks * kBlocks);
      for (uint64_t i = 0; i < n; ++i) counts[i * kBlocks / n * kBlocks + order[i] * kBlocks / n] += 1;
      const double expected = size / (kBlocks * kBlocks);
      for (double count : counts) chi += (count - expected) * (count - expected) / expected;
      const double degrees = (kBlocks - 1) * (kBlocks - 1);
      CHECK(std::abs(chi - degrees) < 6 * std::sqrt(2 * degrees));
    }
}

}  // namespace
