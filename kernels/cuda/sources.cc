// The kernels' sources, as they are compiled at run time.
#include "cuda/sources.h"

// The assembler takes the files in as they are. The compiler is asked for them so that the build knows of them.
#if !__has_include("cuda/gather.cu") || !__has_include("cuda/gather_args.h") || !__has_include("cuda/lz4_block.h")
#error "the sources of the kernels are missing"
#endif

#define GF_SOURCE(name, path)         \
  asm(".pushsection .rodata\n"        \
      ".global " name "\n"            \
      ".hidden " name "\n" name ":\n" \
      ".incbin \"" path "\"\n"        \
      ".byte 0\n"                     \
      ".popsection\n")

GF_SOURCE("gf_cuda_gather_source", "kernels/cuda/gather.cu");
GF_SOURCE("gf_cuda_gather_args_source", "kernels/cuda/gather_args.h");
GF_SOURCE("gf_cuda_lz4_block_source", "kernels/cuda/lz4_block.h");
