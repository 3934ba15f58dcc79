// Schemas as their bytes: what parses is written as it was read, and rows are made for it.
#include "native/libfuzzer/target.h"

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  test::Random random(1);
  for (int i = 0; i < 100; ++i) seeds.push_back(test::RandomSchema(&random, 5, 4).Serialize());
  return seeds;
}

void Take(std::string input) {
  input.shrink_to_fit();
  gridflow::Schema parsed, again;
  if (!gridflow::Schema::Parse(test::Bytes(input), input.size(), "file", 0, &parsed).ok()) return;
  const std::string bytes = parsed.Serialize();
  CHECK_OK(gridflow::Schema::Parse(test::Bytes(bytes), bytes.size(), "file", 0, &again));
  CHECK(again.Serialize() == bytes);
}
