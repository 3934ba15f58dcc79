// Files of the log; checksums are made to fit, or not. Rows that come out of it are those of the table.
#include "core/log_replay.h"
#include "native/libfuzzer/target.h"

namespace {

const gridflow::Schema& SchemaOfSeeds() {
  static const auto* schema = [] {
    test::Random random(1);
    return new gridflow::Schema(test::MakeSample(&random).schema);
  }();
  return *schema;
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  test::Random random(1);
  for (int i = 0; i < 12; ++i) seeds.push_back(test::MakeSample(&random).log);
  return seeds;
}

void Take(std::string input) {
  const std::string path = Place() / "0000000000000001.log";
  for (bool sealed : {false, true}) {
    if (sealed && input.size() >= sizeof(gf_log_header)) test::ResealLog(&input);
    test::WriteFile(path, input);
    for (uint64_t known : {uint64_t{0}, uint64_t{3}, ~uint64_t{0}}) {
      gridflow::MemoryTable memory;
      std::map<uint32_t, gridflow::ReplayTarget> targets;
      targets[test::kTable].schema = &SchemaOfSeeds();
      targets[test::kTable].memory = &memory;
      gridflow::LogReplay replay(Place().path(), known);
      (void)replay.Run(~uint64_t{0}, true, &targets);
      for (const gridflow::MemoryEntry& entry : memory.Sorted()) {
        const gridflow::Operation operation = entry.operation;
        const std::string key(reinterpret_cast<const char*>(operation.key()), operation.key_bytes());
        CHECK(memory.Find(entry.hash, test::Bytes(key), key.size()) != nullptr);
        if (operation.removal()) continue;
        test::UseRow(SchemaOfSeeds(), key, std::string(reinterpret_cast<const char*>(operation.value()), operation.value_bytes()));
      }
    }
  }
}
