// GF_DCHECK: what the code relies on, said where it does. For what our own code must see to, never for what comes from
// outside: that is a Status.
#ifndef GRIDFLOW_CORE_CHECK_H_
#define GRIDFLOW_CORE_CHECK_H_

#include <cstdio>
#include <cstdlib>
#include <string>

namespace gridflow {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition, const std::string& what = "") {
  std::fprintf(stderr, "%s:%d: not so: %s%s%s\n", file, line, condition, what.empty() ? "" : ": ", what.c_str());
  std::abort();
}

}  // namespace gridflow

// GF_DCHECK(condition): it holds. GF_DCHECK_HOLDS(expression): the text, which says what does not hold, is empty.
// Checked by tests/native, plain and under the sanitizers; compiled but never run where NDEBUG is set, as in the wheel.
#ifdef NDEBUG
#define GF_DCHECK(condition) ((void)sizeof(!(condition)))
#define GF_DCHECK_HOLDS(expression) ((void)sizeof((expression).empty()))
#else
#define GF_DCHECK(condition) \
  ((condition) ? (void)0 : ::gridflow::CheckFailed(__FILE__, __LINE__, #condition))
#define GF_DCHECK_HOLDS(expression)                                                              \
  do {                                                                                           \
    const std::string gf_broken_ = (expression);                                                 \
    if (!gf_broken_.empty()) ::gridflow::CheckFailed(__FILE__, __LINE__, #expression, gf_broken_); \
  } while (0)
#endif

#endif  // GRIDFLOW_CORE_CHECK_H_
