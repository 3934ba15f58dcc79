// Segments; the checksums are made to fit, so that what lies behind them is met.
#include "native/libfuzzer/target.h"

std::vector<std::string> Seeds() { return SampleFiles(".seg"); }

void Take(std::string input) {
  if (input.size() < sizeof(gf_segment_header)) return;
  test::StoreAt(&input, offsetof(gf_segment_header, file_bytes), uint64_t{input.size()});
  test::ResealSegment(&input);
  test::WriteFile(Place() / "0000000000000001.seg", input);
  test::Random random(input.size());
  test::UseSegment(&random, Place() / "0000000000000001.seg", Place() / "out");
}
