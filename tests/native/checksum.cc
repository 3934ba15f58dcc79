// Checksums, the key hash and partitions: what is written with one build must be found by every other.
#include "core/checksum.h"

#include <vector>

#include "core/key_hash.h"
#include "native/random_rows.h"
#include "native/test.h"

// The code under test once more, under another name: its table look-ups are hidden where there is an instruction.
#define gridflow hidden
#undef GRIDFLOW_CORE_CHECKSUM_H_
#include "core/checksum.cc"
#undef gridflow

namespace {

using gridflow::BlockChecksum;
using gridflow::Crc32c;
using gridflow::KeyHash;
using test::Random;

// Bit by bit, as CRC-32C is defined.
uint32_t SlowCrc(uint32_t crc, const uint8_t* p, size_t bytes) {
  crc = ~crc;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= p[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

uint32_t SlowBlock(const uint8_t* p, size_t bytes) {
  const size_t stripe = bytes / 64 * 8;
  std::string sums;
  for (size_t i = 0; i < 8; ++i) test::Put(&sums, SlowCrc(0, p + i * stripe, stripe));
  for (size_t i = 8 * stripe; i < bytes; ++i) sums.push_back(static_cast<char>(p[i]));
  return SlowCrc(0, test::Bytes(sums), sums.size());
}

std::vector<uint8_t> RandomBytes(Random* random, size_t bytes) {
  std::vector<uint8_t> data(bytes);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random->Next());
  return data;
}

TEST(crc_of_known_vectors) {
  // RFC 3720, appendix B.4.
  std::vector<uint8_t> data(32, 0);
  CHECK_EQ(Crc32c(0, data.data(), 32), 0x8A9136AAu);
  data.assign(32, 0xFF);
  CHECK_EQ(Crc32c(0, data.data(), 32), 0x62A8AB43u);
  for (size_t i = 0; i < 32; ++i) data[i] = static_cast<uint8_t>(i);
  CHECK_EQ(Crc32c(0, data.data(), 32), 0x46DD794Eu);
  for (size_t i = 0; i < 32; ++i) data[i] = static_cast<uint8_t>(31 - i);
  CHECK_EQ(Crc32c(0, data.data(), 32), 0x113FDB5Cu);
  CHECK_EQ(Crc32c(0, "123456789", 9), 0xE3069283u);
  CHECK_EQ(Crc32c(0, "", 0), 0u);
  CHECK_EQ(Crc32c(0, nullptr, 0), 0u);
}

TEST(crc_of_every_length_and_alignment) {
  Random random(1);
  const std::vector<uint8_t> data = RandomBytes(&random, 300);
  for (size_t begin = 0; begin < 9; ++begin) {
    for (size_t bytes = 0; bytes + begin <= data.size(); ++bytes) {
      const uint8_t* p = data.data() + begin;
      const uint32_t expected = SlowCrc(0, p, bytes);
      CHECK_EQ(Crc32c(0, p, bytes), expected);
      CHECK_EQ(~hidden::SoftwareCrc(~0u, p, bytes), expected);
      const size_t cut = random.Below(bytes + 1);
      CHECK_EQ(Crc32c(Crc32c(0, p, cut), p + cut, bytes - cut), expected);
    }
  }
}

TEST(block_checksum_with_and_without_the_instruction) {
  Random random(2);
  const std::vector<uint8_t> data = RandomBytes(&random, 4096);
  for (size_t bytes = 0; bytes <= 1300; ++bytes) CHECK_EQ(BlockChecksum(data.data() + 1, bytes), SlowBlock(data.data() + 1, bytes));
  for (size_t stripe = 8; stripe <= 512; stripe += 8) {
    uint32_t software[8], hardware[8];
    hidden::SoftwareStripes(data.data(), stripe, software);
    if (hidden::kHardware) {
      hidden::HardwareStripes(data.data(), stripe, hardware);
      CHECK(std::memcmp(software, hardware, sizeof(software)) == 0);
    }
    for (size_t i = 0; i < 8; ++i) CHECK_EQ(software[i], SlowCrc(0, data.data() + i * stripe, stripe));
  }
}

// XXH64 by its specification, step by step.
uint64_t SlowHash(const uint8_t* p, size_t bytes) {
  const uint64_t p1 = 11400714785074694791ull, p2 = 14029467366897019727ull, p3 = 1609587929392839161ull,
                 p4 = 9650029242287828579ull, p5 = 2870177450012600261ull;
  auto rotate = [](uint64_t x, int r) { return x << r | x >> (64 - r); };
  auto read = [&](size_t at, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; ++i) value |= static_cast<uint64_t>(p[at + static_cast<size_t>(i)]) << (8 * i);
    return value;
  };
  size_t at = 0;
  uint64_t acc;
  if (bytes >= 32) {
    uint64_t a1 = p1 + p2, a2 = p2, a3 = 0, a4 = 0 - p1;
    for (; at + 32 <= bytes; at += 32) {
      a1 = rotate(a1 + read(at, 8) * p2, 31) * p1;
      a2 = rotate(a2 + read(at + 8, 8) * p2, 31) * p1;
      a3 = rotate(a3 + read(at + 16, 8) * p2, 31) * p1;
      a4 = rotate(a4 + read(at + 24, 8) * p2, 31) * p1;
    }
    acc = rotate(a1, 1) + rotate(a2, 7) + rotate(a3, 12) + rotate(a4, 18);
    for (uint64_t a : {a1, a2, a3, a4}) acc = (acc ^ (rotate(a * p2, 31) * p1)) * p1 + p4;
  } else {
    acc = p5;
  }
  acc += bytes;
  for (; at + 8 <= bytes; at += 8) acc = rotate(acc ^ (rotate(read(at, 8) * p2, 31) * p1), 27) * p1 + p4;
  for (; at + 4 <= bytes; at += 4) acc = rotate(acc ^ (read(at, 4) * p1), 23) * p2 + p3;
  for (; at < bytes; ++at) acc = rotate(acc ^ (p[at] * p5), 11) * p1;
  acc = (acc ^ acc >> 33) * p2;
  acc = (acc ^ acc >> 29) * p3;
  return acc ^ acc >> 32;
}

TEST(key_hash_of_known_vectors) {
  CHECK_EQ(KeyHash("", 0), 0xEF46DB3751D8E999ull);
  CHECK_EQ(KeyHash(nullptr, 0), 0xEF46DB3751D8E999ull);
  CHECK_EQ(KeyHash("a", 1), 0xD24EC4F1A98C6E5Bull);
  CHECK_EQ(KeyHash("abc", 3), 0x44BC2CF5AD770999ull);
  const std::string text = "Nobody inspects the spammish repetition";
  CHECK_EQ(KeyHash(text.data(), text.size()), 0xFBCEA83C8A378BF1ull);
  // The buffer of xxHash's own self-test; hashes of its first 1, 4, 14 and 222 bytes.
  std::vector<uint8_t> data;
  for (uint64_t generator = 2654435761u; data.size() < 222; generator *= 11400714785074694797ull)
    data.push_back(static_cast<uint8_t>(generator >> 56));
  CHECK_EQ(KeyHash(data.data(), 1), 0xE934A84ADB052768ull);
  CHECK_EQ(KeyHash(data.data(), 4), 0x9136A0DCA57457EEull);
  CHECK_EQ(KeyHash(data.data(), 14), 0x8282DCC4994E35C8ull);
  CHECK_EQ(KeyHash(data.data(), 222), 0xB641AE8CB691C174ull);
}

TEST(key_hash_of_every_length) {
  Random random(3);
  const std::vector<uint8_t> data = RandomBytes(&random, 600);
  for (size_t bytes = 0; bytes <= 520; ++bytes)
    for (size_t begin : {0, 1, 3, 7}) CHECK_EQ(KeyHash(data.data() + begin, bytes), SlowHash(data.data() + begin, bytes));
}

TEST(partitions_are_contiguous_ranges_of_hashes) {
  Random random(4);
  for (uint32_t partitions : {1u, 2u, 3u, 7u, 10u, 1000u, 1024u, 65535u, 1u << 20, (1u << 20) + 1, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    bool past_end;
    CHECK_EQ(gridflow::PartitionStart(0, partitions, &past_end), 0u);
    CHECK(!past_end);
    gridflow::PartitionStart(partitions, partitions, &past_end);
    CHECK(past_end);
    CHECK_EQ(gridflow::PartitionOf(0, partitions), 0u);
    CHECK_EQ(gridflow::PartitionOf(~0ull, partitions), partitions - 1);
    for (int i = 0; i < 3000; ++i) {
      const uint32_t p = i < 1000 && static_cast<uint32_t>(i) < partitions ? static_cast<uint32_t>(i)
                                                                            : static_cast<uint32_t>(random.Below(partitions));
      const uint64_t start = gridflow::PartitionStart(p, partitions, &past_end);
      CHECK(!past_end);
      CHECK_EQ(gridflow::PartitionOf(start, partitions), p);
      if (p > 0) CHECK_EQ(gridflow::PartitionOf(start - 1, partitions), p - 1);
      const uint64_t hash = random.Next();
      const uint32_t mine = gridflow::PartitionOf(hash, partitions);
      CHECK(mine < partitions);
      CHECK(gridflow::PartitionStart(mine, partitions, &past_end) <= hash);
      const uint64_t end = gridflow::PartitionStart(mine + 1, partitions, &past_end);
      CHECK(past_end || hash < end);
    }
  }
}

}  // namespace
