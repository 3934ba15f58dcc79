// Decoding of a block of LZ4 by the threads of a warp together, or by one of the processor. The format:
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
#ifndef GRIDFLOW_CUDA_LZ4_BLOCK_H_
#define GRIDFLOW_CUDA_LZ4_BLOCK_H_

#include "cuda/both.h"

#ifdef __CUDACC__
#define GF_LZ4_ALL_WROTE() __syncwarp()
#else
#define GF_LZ4_ALL_WROTE() static_cast<void>(0)
#endif

namespace gridflow {
namespace cuda {

// Adds what follows a length of 15: bytes up to the first that is not 255. False: the block ends within.
GF_BOTH bool AddLength(const unsigned char* in, unsigned in_bytes, unsigned* at, unsigned* length) {
  while (*at < in_bytes) {
    const unsigned more = in[(*at)++];
    *length += more;
    if (more != 255) return true;
  }
  return false;
}

// Thread `lane` of `lanes` writes its share of the `out_bytes` bytes that the block of `in_bytes`, at most 1 MiB, stands for.
// False for all of them if it is no such block; nothing outside of it and of the output is touched then, either.
GF_BOTH bool DecodeLz4Block(const unsigned char* in, unsigned in_bytes, unsigned char* out, unsigned out_bytes,
                            unsigned lane, unsigned lanes) {
  unsigned at = 0, made = 0;
  while (at < in_bytes) {
    const unsigned token = in[at++];
    unsigned length = token >> 4;
    if (length == 15 && !AddLength(in, in_bytes, &at, &length)) return false;
    if (length > in_bytes - at || length > out_bytes - made) return false;
    for (unsigned i = lane; i < length; i += lanes) out[made + i] = in[at + i];
    at += length;
    made += length;
    if (at == in_bytes) break;  // the last bytes are not a copy of earlier ones
    if (in_bytes - at < 2) return false;
    const unsigned back = in[at] | static_cast<unsigned>(in[at + 1]) << 8;
    at += 2;
    length = token & 15;
    if (length == 15 && !AddLength(in, in_bytes, &at, &length)) return false;
    length += 4;
    if (back == 0 || back > made || length > out_bytes - made) return false;
    GF_LZ4_ALL_WROTE();
    // Where the copy reaches into itself the bytes in between repeat.
    const unsigned char* from = out + made - back;
    for (unsigned i = lane; i < length; i += lanes) out[made + i] = from[back >= length ? i : i % back];
    GF_LZ4_ALL_WROTE();
    made += length;
  }
  return made == out_bytes;
}

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_LZ4_BLOCK_H_
