// Decoding of LZ4 blocks: random ones, and damaged ones, which must be refused without touching anything outside.
#include "cuda/lz4_block.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "native/test.h"

using gridflow::cuda::DecodeLz4Block;

namespace {

using Bytes = std::vector<uint8_t>;

void AppendLength(unsigned length, Bytes* block) {
  for (; length >= 255; length -= 255) block->push_back(255);
  block->push_back(static_cast<uint8_t>(length));
}

// A block of random sequences, and what it stands for.
void RandomBlock(std::mt19937_64& random, Bytes* block, Bytes* raw) {
  const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
  const unsigned sequences = below(20);
  for (unsigned i = 0; i <= sequences; ++i) {
    const bool last = i == sequences;
    const unsigned literals = below(4) == 0 ? below(700) : below(20);
    const bool copies = !last && raw->size() + literals > 0;
    const unsigned match = copies ? 4 + (below(4) == 0 ? below(900) : below(20)) : 4;
    block->push_back(static_cast<uint8_t>(std::min(literals, 15u) << 4 | (copies ? std::min(match - 4, 15u) : 0)));
    if (literals >= 15) AppendLength(literals - 15, block);
    for (unsigned k = 0; k < literals; ++k) {
      raw->push_back(static_cast<uint8_t>(random()));
      block->push_back(raw->back());
    }
    if (last) return;
    if (!copies) {  // nothing to copy from yet: one byte first
      block->pop_back();
      continue;
    }
    const unsigned back = 1 + below(static_cast<unsigned>(std::min<size_t>(raw->size(), 65535)));
    block->push_back(static_cast<uint8_t>(back));
    block->push_back(static_cast<uint8_t>(back >> 8));
    if (match - 4 >= 15) AppendLength(match - 4 - 15, block);
    for (unsigned k = 0; k < match; ++k) raw->push_back((*raw)[raw->size() - back]);
  }
}

// Decodes into memory of just that size, so that the sanitizer sees what is written or read beside.
bool Decode(const Bytes& block, size_t size, Bytes* out) {
  std::unique_ptr<uint8_t[]> in(new uint8_t[block.size()]), room(new uint8_t[size]);
  std::copy(block.begin(), block.end(), in.get());
  const bool whole = DecodeLz4Block(in.get(), static_cast<unsigned>(block.size()), room.get(),
                                    static_cast<unsigned>(size), 0, 1);
  out->assign(room.get(), room.get() + (whole ? size : 0));
  return whole;
}

TEST(random_blocks_become_what_they_stand_for) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    Bytes block, raw, out;
    RandomBlock(random, &block, &raw);
    CHECK(Decode(block, raw.size(), &out));
    CHECK(out == raw);
    CHECK(!Decode(block, raw.size() + 1, &out));
    if (!raw.empty()) CHECK(!Decode(block, raw.size() - 1, &out));
  }
}

// Of literals alone nothing depends on what other threads wrote, so the threads of a warp may as well come one by one.
TEST(all_threads_of_a_warp_together_write_all) {
  std::mt19937_64 random(2);
  for (const unsigned size : {0u, 1u, 14u, 15u, 16u, 269u, 270u, 271u, 5000u}) {
    Bytes block, raw(size), out(size);
    for (uint8_t& byte : raw) byte = static_cast<uint8_t>(random());
    block.push_back(static_cast<uint8_t>(std::min(size, 15u) << 4));
    if (size >= 15) AppendLength(size - 15, &block);
    block.insert(block.end(), raw.begin(), raw.end());
    for (unsigned lane = 0; lane < 32; ++lane)
      CHECK(DecodeLz4Block(block.data(), static_cast<unsigned>(block.size()), out.data(), size, lane, 32));
    CHECK(out == raw);
  }
}

TEST(damaged_blocks_do_no_harm) {
  std::mt19937_64 random(std::random_device{}());
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes block, raw, out;
    RandomBlock(random, &block, &raw);
    for (uint64_t changes = 1 + random() % 4; changes > 0 && !block.empty(); --changes) {
      const auto at = static_cast<std::ptrdiff_t>(random() % block.size());
      switch (random() % 4) {
        case 0:
          block[static_cast<size_t>(at)] = static_cast<uint8_t>(random());
          break;
        case 1:
          block[static_cast<size_t>(at)] = 255;
          break;
        case 2:
          block.resize(static_cast<size_t>(at));
          break;
        default:
          block.insert(block.begin() + at, static_cast<uint8_t>(random()));
      }
    }
    refused += Decode(block, raw.size() + random() % 3, &out) ? 0 : 1;
  }
  CHECK(refused > 5000);
}

}  // namespace
