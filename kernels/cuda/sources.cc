// The kernels' sources, as they are compiled at run time.
#include "cuda/sources.h"

// The assembler takes the files in as they are; setup.py finds their names here, as the compiler does not tell of them.
#define GF_SOURCE(symbol, path)           \
  asm(".pushsection .rodata\n"            \
      ".global " #symbol "\n"             \
      ".hidden " #symbol "\n" #symbol ":\n" \
      ".incbin \"" path "\"\n"            \
      ".byte 0\n"                         \
      ".popsection\n");                   \
  extern "C" const char symbol[]

GF_SOURCE(gf_cuda_gather_source, "kernels/cuda/gather.cu");
GF_SOURCE(gf_cuda_gather_args_source, "kernels/cuda/gather_args.h");
GF_SOURCE(gf_cuda_both_source, "kernels/cuda/both.h");
GF_SOURCE(gf_cuda_lz4_block_source, "kernels/cuda/lz4_block.h");
GF_SOURCE(gf_cuda_numbers_source, "kernels/cuda/numbers.h");

namespace gridflow {
namespace cuda {

const Source kSources[kSourceCount] = {
    {"cuda/gather.cu", gf_cuda_gather_source},   {"cuda/gather_args.h", gf_cuda_gather_args_source},
    {"cuda/both.h", gf_cuda_both_source},        {"cuda/lz4_block.h", gf_cuda_lz4_block_source},
    {"cuda/numbers.h", gf_cuda_numbers_source},
};

}  // namespace cuda
}  // namespace gridflow
