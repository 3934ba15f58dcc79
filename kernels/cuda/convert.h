// What a gather does with the numbers of a row, checked and laid out for kernels and for the processor.
#ifndef GRIDFLOW_CUDA_CONVERT_H_
#define GRIDFLOW_CUDA_CONVERT_H_

#include <cstdint>
#include <string>

#include "cuda/gather_args.h"
#include "cuda/outcome.h"

namespace gridflow {
namespace cuda {

// Bytes of a number.
int64_t WidthOf(int32_t dtype);

// Rows of `row_numbers` numbers of a dtype, of which a conversion may make others.
struct Conversion {
  // INVALID: it does not fit such rows. `convert` may be null: rows come as they are.
  static Outcome Make(int32_t dtype, int64_t row_numbers, const gf_cuda_convert* convert, Conversion* out);

  // Fills in what kernels need of it; `word`: what rows and the output are aligned to, of a copy.
  void Set(GatherArgs* args) const;
  // The kernel, and how many threads a row, or piece of one, takes; and the part of gather.cu that it is in.
  std::string Kernel(int64_t word, int* threads) const;
  int part() const { return converts ? from : 0; }

  bool converts = false, image = false;
  int32_t from = 0, to = 0;
  int64_t row_bytes = 0, row_numbers = 0;    // of the table
  int64_t result_numbers = 0, result_bytes = 0;  // of a row of the result
  GatherArgs args{};                         // channels, scale, offset and what an image has
};

// What the kernels do, in host memory on several threads, with the same result to the last bit: rows, spans and output
// of `args` are the processor's. Every row must be there.
void GatherOnProcessor(const Conversion& conversion, const GatherArgs& args, int threads);

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_CONVERT_H_
