// GF_BOTH: a function that g++ compiles for the processor and NVRTC for the GPU, which has no other headers than those
// of sources.cc: no #include of any other.
#ifndef GRIDFLOW_CUDA_BOTH_H_
#define GRIDFLOW_CUDA_BOTH_H_

#ifdef __CUDACC__
#define GF_BOTH __device__ inline
#else
#define GF_BOTH inline
#endif

#endif  // GRIDFLOW_CUDA_BOTH_H_
