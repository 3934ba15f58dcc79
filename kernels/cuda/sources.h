// Texts that NVRTC compiles, each with a NUL at its end.
#ifndef GRIDFLOW_CUDA_SOURCES_H_
#define GRIDFLOW_CUDA_SOURCES_H_

extern "C" {
extern const char gf_cuda_gather_source[];
extern const char gf_cuda_gather_args_source[];
extern const char gf_cuda_lz4_block_source[];
}

#endif  // GRIDFLOW_CUDA_SOURCES_H_
