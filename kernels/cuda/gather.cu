// Kernels that gather rows of a column, perhaps converting their numbers. Compiled by NVRTC for the GPU at hand.
//
// Rows lie in pinned host memory or in the GPU's own: to a kernel it is the same. A warp takes a row, or a few of its
// threads where a row is short; each has several loads under way before it stores, as a load over the bus takes
// microseconds.
#include "cuda/gather_args.h"
#include "cuda/lz4_block.h"
#include "cuda/numbers.h"

using namespace gridflow::cuda;

namespace {

constexpr int kWarp = 32;

__device__ inline long long Thread() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline long long Threads() { return static_cast<long long>(gridDim.x) * blockDim.x; }

// Where the i-th row asked for lies; null if the table does not have it, which is noted.
__device__ inline const unsigned char* RowAt(const GatherArgs& args, long long i) {
  const long long row = args.rows != nullptr ? args.rows[i] : args.first_row + i;
  if (row < 0 || row >= args.table_rows) {
    if (atomicCAS(reinterpret_cast<unsigned long long*>(args.bad), 0ull, 1ull) == 0) args.bad[1] = row;
    return nullptr;
  }
  const long long number = args.order != nullptr ? args.order[row] : row;
  return args.pages[number >> kPageBits] + (number & (kPageRows - 1)) * args.row_bytes;
}

template <typename Word>
__device__ inline Word Zero() {
  return Word{};
}

// A warp for each row, in words; row_bytes, rows and the output are multiples of a word.
template <typename Word>
__device__ inline void GatherRows(const GatherArgs& args) {
  constexpr int kAhead = 4;
  const int lane = threadIdx.x % kWarp;
  const long long warps = Threads() / kWarp;
  for (long long task = Thread() / kWarp; task < args.count * args.pieces; task += warps) {
    const long long i = args.pieces == 1 ? task : task / args.pieces;
    const long long begin = args.pieces == 1 ? 0 : (task - i * args.pieces) * args.piece / sizeof(Word);
    const long long all = args.row_bytes / sizeof(Word), end = begin + args.piece / sizeof(Word);
    const long long words = end < all ? end : all;
    const Word* from = reinterpret_cast<const Word*>(RowAt(args, i));
    Word* to = reinterpret_cast<Word*>(args.out + i * args.row_bytes);
    for (long long at = begin + lane; at < words; at += kAhead * kWarp) {
      Word word[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        word[k] = from != nullptr && at + k * kWarp < words ? from[at + k * kWarp] : Zero<Word>();
#pragma unroll
      for (int k = 0; k < kAhead; ++k)
        if (at + k * kWarp < words) to[at + k * kWarp] = word[k];
    }
  }
}

// A few threads of a warp for each row of a few words, one for each word at least; several rows are under way in each.
template <typename Word>
__device__ inline void GatherShortRows(const GatherArgs& args) {
  constexpr int kAhead = 4;
  const int lanes = args.lanes, lane = threadIdx.x % lanes;
  const bool has_word = lane < args.row_bytes / sizeof(Word);
  const long long groups = Threads() / lanes;
  for (long long i = Thread() / lanes; i < args.count; i += kAhead * groups) {
    Word word[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const bool takes = has_word && i + k * groups < args.count;
      const Word* from = takes ? reinterpret_cast<const Word*>(RowAt(args, i + k * groups)) : nullptr;
      word[k] = from != nullptr ? from[lane] : Zero<Word>();
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      if (has_word && i + k * groups < args.count)
        reinterpret_cast<Word*>(args.out + (i + k * groups) * args.row_bytes)[lane] = word[k];
  }
}

// ---- numbers ----

// The factors of each channel, in shared memory: threads of a warp ask for different ones at once.
struct Factors {
  float scale[kMostChannels], offset[kMostChannels];

  // By all threads of the block.
  __device__ void Load(const GatherArgs& args) {
    for (int channel = threadIdx.x; channel < args.channels; channel += blockDim.x) {
      scale[channel] = args.scale[channel];
      offset[channel] = args.offset[channel];
    }
    __syncthreads();
  }
};

template <typename Out, typename In>
__device__ inline Out Convert(const Factors& factors, In number, int channel) {
  Out out;
  Round(__fadd_rn(__fmul_rn(ToFloat(number), factors.scale[channel]), factors.offset[channel]), &out);
  return out;
}

template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T part[kCount];
};

// A warp for each row; four numbers at a time where they are aligned so.
template <typename In, typename Out>
__device__ inline void ConvertRows(const GatherArgs& args) {
  constexpr int kPart = sizeof(In) * 4 <= 16 ? 4 : 16 / sizeof(In);
  using InVector = Vector<In, kPart>;
  using OutVector = Vector<Out, kPart>;
  constexpr int kAhead = 4;
  __shared__ Factors factors;
  factors.Load(args);
  const int lane = threadIdx.x % kWarp;
  const long long all = args.row_numbers, warps = Threads() / kWarp;
  const bool vectors = all % kPart == 0 && args.row_bytes % sizeof(InVector) == 0 &&
                       reinterpret_cast<unsigned long long>(args.out) % sizeof(OutVector) == 0;
  for (long long task = Thread() / kWarp; task < args.count * args.pieces; task += warps) {
    const long long i = args.pieces == 1 ? task : task / args.pieces;
    const long long begin = args.pieces == 1 ? 0 : (task - i * args.pieces) * args.piece, end = begin + args.piece;
    const long long numbers = end < all ? end : all;
    const unsigned char* row = RowAt(args, i);
    Out* to = reinterpret_cast<Out*>(args.out) + i * all;
    if (row == nullptr) {
      for (long long at = begin + lane; at < numbers; at += kWarp) to[at] = Out{};
      continue;
    }
    if (vectors && reinterpret_cast<unsigned long long>(row) % sizeof(InVector) == 0) {
      const InVector* from = reinterpret_cast<const InVector*>(row);
      const long long parts = numbers / kPart;
      for (long long at = begin / kPart + lane; at < parts; at += kAhead * kWarp) {
        InVector in[kAhead];
#pragma unroll
        for (int k = 0; k < kAhead; ++k)
          if (at + k * kWarp < parts) in[k] = from[at + k * kWarp];
#pragma unroll
        for (int k = 0; k < kAhead; ++k) {
          if (at + k * kWarp >= parts) continue;
          OutVector out;
          int channel = args.channels == 1 ? 0 : static_cast<int>((at + k * kWarp) * kPart % args.channels);
#pragma unroll
          for (int p = 0; p < kPart; ++p) {
            out.part[p] = Convert<Out>(factors, in[k].part[p], channel);
            if (++channel == args.channels) channel = 0;
          }
          reinterpret_cast<OutVector*>(to)[at + k * kWarp] = out;
        }
      }
    } else {
      const In* from = reinterpret_cast<const In*>(row);
      for (long long at = begin + lane; at < numbers; at += kWarp)
        to[at] = Convert<Out>(factors, from[at], args.channels == 1 ? 0 : static_cast<int>(at % args.channels));
    }
  }
}

// A block for each row, a thread for each few numbers of the result that lie together.
template <typename In, typename Out>
__device__ inline void ConvertImages(const GatherArgs& args) {
  constexpr unsigned kPart = 4;
  using OutVector = Vector<Out, kPart>;
  __shared__ Factors factors;
  __shared__ const unsigned char* row;
  factors.Load(args);
  const unsigned height = args.crop_height, width = args.crop_width, channels = args.channels;
  const unsigned numbers = height * width * channels;
  const bool vectors =
      numbers % kPart == 0 && reinterpret_cast<unsigned long long>(args.out) % sizeof(OutVector) == 0;
  for (long long i = blockIdx.x; i < args.count; i += gridDim.x) {
    __syncthreads();
    if (threadIdx.x == 0) row = RowAt(args, i);
    __syncthreads();
    Out* to = reinterpret_cast<Out*>(args.out) + i * numbers;
    int top = (args.height - args.crop_height) / 2, left = (args.width - args.crop_width) / 2;
    bool mirrored = false;
    if (args.places != nullptr) {
      top = min(max(args.places[3 * i], 0), args.height - args.crop_height);
      left = min(max(args.places[3 * i + 1], 0), args.width - args.crop_width);
      mirrored = args.places[3 * i + 2] != 0;
    }
    const In* from = reinterpret_cast<const In*>(row) + (static_cast<long long>(top) * args.width + left) * channels;
    for (unsigned at = threadIdx.x * kPart; at < numbers; at += blockDim.x * kPart) {
      unsigned channel, x, y;
      if (args.channels_first) {
        x = at % width;
        y = at / width % height;
        channel = at / width / height;
      } else {
        channel = at % channels;
        x = at / channels % width;
        y = at / channels / width;
      }
      OutVector out;
#pragma unroll
      for (unsigned p = 0; p < kPart; ++p) {
        const unsigned from_x = mirrored ? width - 1 - x : x;
        const bool there = row != nullptr && at + p < numbers;
        out.part[p] =
            there ? Convert<Out>(factors, from[(static_cast<long long>(y) * args.width + from_x) * channels + channel],
                                 channel)
                  : Out{};
        // On to the next number.
        if (args.channels_first) {
          if (++x == width) {
            x = 0;
            if (++y == height) {
              y = 0;
              ++channel;
            }
          }
        } else if (++channel == channels) {
          channel = 0;
          if (++x == width) {
            x = 0;
            ++y;
          }
        }
      }
      if (vectors) {
        *reinterpret_cast<OutVector*>(to + at) = out;
      } else {
#pragma unroll
        for (unsigned p = 0; p < kPart; ++p)
          if (at + p < numbers) to[at + p] = out.part[p];
      }
    }
  }
}

struct alignas(16) Word16 {
  unsigned int part[4];
};

// A warp for each block. One that was not compressed is copied.
__device__ inline void DecodeBlocks(const DecodeArgs& args) {
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned long long warps = Threads() / kWarp;
  for (unsigned long long block = Thread() / kWarp; block < args.blocks; block += warps) {
    const unsigned char* in = args.data + (args.bounds[block] - args.bounds[0]);
    const auto in_bytes = static_cast<unsigned>(args.bounds[block + 1] - args.bounds[block]);
    const unsigned long long begin = block * args.block_bytes, rest = args.raw_bytes - begin;
    const auto out_bytes = static_cast<unsigned>(rest < args.block_bytes ? rest : args.block_bytes);
    unsigned char* out = args.out + begin;
    if (in_bytes == out_bytes) {
      for (unsigned i = lane; i < out_bytes; i += kWarp) out[i] = in[i];
    } else if (!DecodeLz4Block(in, in_bytes, out, out_bytes, lane, kWarp) && lane == 0) {
      if (atomicCAS(reinterpret_cast<unsigned long long*>(args.bad), 0ull, 1ull) == 0)
        args.bad[1] = static_cast<long long>(block);
    }
  }
}

}  // namespace

// What is compiled: 0 the copies, else the conversions of a gf_cuda_dtype. A program uses few of them.
#if GF_PART == 0

#define GF_GATHER(bytes, Word)                                                                 \
  extern "C" __global__ void gather_rows_##bytes(const __grid_constant__ GatherArgs args) {    \
    GatherRows<Word>(args);                                                                    \
  }                                                                                            \
  extern "C" __global__ void gather_short_rows_##bytes(const __grid_constant__ GatherArgs args) { \
    GatherShortRows<Word>(args);                                                               \
  }

GF_GATHER(16, Word16)
GF_GATHER(8, unsigned long long)
GF_GATHER(4, unsigned int)
GF_GATHER(2, unsigned short)
GF_GATHER(1, unsigned char)

extern "C" __global__ void decode_blocks(const __grid_constant__ DecodeArgs args) { DecodeBlocks(args); }

#else

template <int kDtype>
struct Number;
template <>
struct Number<1> { using Type = unsigned char; };
template <>
struct Number<2> { using Type = signed char; };
template <>
struct Number<3> { using Type = short; };
template <>
struct Number<4> { using Type = int; };
template <>
struct Number<5> { using Type = long long; };
template <>
struct Number<6> { using Type = unsigned char; };
template <>
struct Number<7> { using Type = unsigned short; };
template <>
struct Number<8> { using Type = unsigned int; };
template <>
struct Number<9> { using Type = unsigned long long; };
template <>
struct Number<10> { using Type = Half; };
template <>
struct Number<11> { using Type = float; };
template <>
struct Number<12> { using Type = double; };
using In = Number<GF_PART>::Type;

#define GF_CONVERT(out, Out)                                                                \
  extern "C" __global__ void convert_rows_##out(const __grid_constant__ GatherArgs args) {   \
    ConvertRows<In, Out>(args);                                                             \
  }                                                                                         \
  extern "C" __global__ void convert_images_##out(const __grid_constant__ GatherArgs args) { \
    ConvertImages<In, Out>(args);                                                           \
  }

// Named by the gf_cuda_dtype that they make.
GF_CONVERT(11, float)
GF_CONVERT(10, Half)
GF_CONVERT(64, BFloat)

#endif
