// Manifests; the checksums are made to fit. What is read is written as it was.
#include "core/manifest.h"
#include "core/manifest_invariants.h"
#include "native/libfuzzer/target.h"

std::vector<std::string> Seeds() { return SampleFiles("manifest"); }

void Take(std::string input) {
  test::ResealFrame(&input);
  const std::string path = Place() / "manifest";
  test::WriteFile(path, input);
  gridflow::Manifest manifest, again;
  if (!gridflow::Manifest::Read(path, &manifest).ok()) return;
  (void)gridflow::BrokenInvariant(manifest);
  (void)manifest.Files();
  CHECK_OK(manifest.Write(path, false));
  CHECK_OK(gridflow::Manifest::Read(path, &again));
  CHECK_EQ(again.segments.size(), manifest.segments.size());
  CHECK(again.schema.Serialize() == manifest.schema.Serialize());
}
