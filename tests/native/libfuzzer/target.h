// A libFuzzer target: takes bytes, has a reader take them, and uses what that lets pass. `make fuzz` builds and runs each,
// beginning with what Seeds() gives.
#ifndef GRIDFLOW_TESTS_NATIVE_LIBFUZZER_TARGET_H_
#define GRIDFLOW_TESTS_NATIVE_LIBFUZZER_TARGET_H_

#define GRIDFLOW_LIBFUZZER

#include <filesystem>
#include <string>
#include <vector>

#include "native/files.h"
#include "native/reseal.h"
#include "native/use.h"

// Of each target: what to begin with, and what to do with an input.
std::vector<std::string> Seeds();
void Take(std::string input);

// A folder in memory, as readers take files.
inline const test::Folder& Place() {
  static auto* folder = new test::Folder;
  return *folder;
}

// Of the tables that the seeds are made of, the files whose names have that end.
inline std::vector<std::string> SampleFiles(const std::string& ending) {
  std::vector<std::string> files;
  test::Random random(1);
  for (int i = 0; i < 12; ++i)
    for (const auto& [name, bytes] : test::MakeSample(&random).files)
      if (name.size() >= ending.size() && name.compare(name.size() - ending.size(), ending.size(), ending) == 0)
        files.push_back(bytes);
  return files;
}

extern "C" const char* __asan_default_options() { return "max_allocation_size_mb=1024:detect_leaks=0"; }

// --seeds=FOLDER writes the seeds there and ends.
extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  for (int i = 1; i < *count; ++i) {
    const std::string argument = (*arguments)[i];
    if (argument.rfind("--seeds=", 0) != 0) continue;
    int number = 0;
    for (const std::string& seed : Seeds())
      test::WriteFile(argument.substr(8) + "/seed" + std::to_string(number++), seed);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  Take(std::string(reinterpret_cast<const char*>(data), bytes));
  return 0;
}

#endif  // GRIDFLOW_TESTS_NATIVE_LIBFUZZER_TARGET_H_
