// The kernels' sources, as they are compiled at run time.
#include "cuda/sources.h"

// The first is the program, the others are its headers. setup.py finds their names here: the assembler takes the files
// in, of which the compiler does not tell.
#define GF_SOURCES(SOURCE)                  \
  SOURCE(gather, "cuda/gather.cu")          \
  SOURCE(gather_args, "cuda/gather_args.h") \
  SOURCE(both, "cuda/both.h")               \
  SOURCE(lz4_block, "cuda/lz4_block.h")     \
  SOURCE(numbers, "cuda/numbers.h")

#define GF_EMBED(name, path)                    \
  asm(".pushsection .rodata\n"                  \
      ".global gf_cuda_" #name "_source\n"      \
      ".hidden gf_cuda_" #name "_source\n"      \
      "gf_cuda_" #name "_source:\n"             \
      ".incbin \"kernels/" path "\"\n"          \
      ".byte 0\n"                               \
      ".popsection\n");                         \
  extern "C" const char gf_cuda_##name##_source[];

GF_SOURCES(GF_EMBED)

namespace gridflow {
namespace cuda {

#define GF_ENTRY(name, path) {path, gf_cuda_##name##_source},

const Source kSources[kSourceCount] = {GF_SOURCES(GF_ENTRY)};

}  // namespace cuda
}  // namespace gridflow
