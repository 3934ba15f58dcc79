// TEST, CHECK and a main(): all that these programs need of a test framework. Included once by each program.
#ifndef GRIDFLOW_TESTS_NATIVE_TEST_H_
#define GRIDFLOW_TESTS_NATIVE_TEST_H_

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "core/status.h"

namespace test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& Cases() {
  static std::vector<Case> cases;
  return cases;
}

struct Register {
  Register(const char* name, void (*run)()) { Cases().push_back({name, run}); }
};

// What a failure is said to have happened in, as "seed 7".
inline std::string& Context() {
  static auto* context = new std::string;
  return *context;
}

[[noreturn]] inline void Fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "\n%s:%d: %s\n%s\n", file, line, what.c_str(), Context().c_str());
  std::_Exit(1);
}

template <typename A, typename B>
void CheckEqual(const A& a, const B& b, const char* file, int line, const char* what) {
  if (a == b) return;
  std::ostringstream text;
  text << what << ": " << a << " is not " << b;
  Fail(file, line, text.str());
}

inline void CheckCode(const gridflow::Status& status, gridflow::Code code, const char* file, int line, const char* what) {
  if (status.code == code) return;
  Fail(file, line, std::string(what) + ": code " + std::to_string(static_cast<int>(status.code)) + " is not " +
                       std::to_string(static_cast<int>(code)) + ": " + status.message);
}

}  // namespace test

#define TEST(name)                                          \
  static void name();                                       \
  static const test::Register register_##name(#name, name); \
  static void name()
#define CHECK(condition) ((condition) ? (void)0 : test::Fail(__FILE__, __LINE__, "not so: " #condition))
#define CHECK_EQ(a, b) test::CheckEqual((a), (b), __FILE__, __LINE__, #a)
#define CHECK_CODE(status, code) test::CheckCode((status), gridflow::Code::code, __FILE__, __LINE__, #status)
#define CHECK_OK(status) CHECK_CODE(status, kOk)

// Runs the tests whose names contain one of the arguments; all, if there is none. libFuzzer has a main() of its own.
#ifndef GRIDFLOW_LIBFUZZER
int main(int argc, char** argv) {
  for (const test::Case& one : test::Cases()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted |= std::strstr(one.name, argv[i]) != nullptr;
    if (!wanted) continue;
    std::printf("   %s", one.name);
    std::fflush(stdout);
    const auto start = std::chrono::steady_clock::now();
    one.run();
    const auto took = std::chrono::steady_clock::now() - start;
    std::printf(" (%lld ms)\n", static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
  }
  return 0;
}
#endif

#endif  // GRIDFLOW_TESTS_NATIVE_TEST_H_
