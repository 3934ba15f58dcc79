// What the kernels of gather.cu are given. Read by g++ and by NVRTC, which has no other headers: no #include.
#ifndef GRIDFLOW_CUDA_GATHER_ARGS_H_
#define GRIDFLOW_CUDA_GATHER_ARGS_H_

namespace gridflow {
namespace cuda {

// Rows are numbered as they lie, segment after segment, in pages of so many numbers: a page has rows of one segment only,
// the last one of a segment perhaps fewer. So a number tells at once where its row is.
constexpr int kPageBits = 16;
constexpr long long kPageRows = 1ll << kPageBits;

constexpr int kMostChannels = 64;

struct GatherArgs {
  const unsigned char* const* pages;  // the column's first row in each
  const unsigned int* order;          // the numbers of the table's rows, in their order; null: that of the numbers
  int channels;                       // of scale and offset
  long long table_rows;
  const long long* rows;  // which ones; null: from first_row on
  long long first_row;
  long long count;
  long long row_bytes;
  long long row_numbers;    // of a conversion: how many a row has
  long long pieces, piece;  // long rows are shared by several warps, who take so many bytes each, or numbers
  int lanes;                // short rows are copied by so many threads each, a power of two
  unsigned char* out;
  long long* bad;  // [0] becomes 1 where a row is not there, and [1] that row
  // Of an image.
  int height, width, crop_height, crop_width, channels_first;
  const int* places;  // top, left, mirrored; null: the middle
  float scale[kMostChannels], offset[kMostChannels];
};

// What decode_blocks is given: blocks of LZ4 that lie one behind the other, as do those that they become.
struct DecodeArgs {
  const unsigned char* data;          // of the first block
  const unsigned long long* bounds;   // where each begins, and the last ends, less than bounds[0] of which is not there
  unsigned long long blocks;
  unsigned long long block_bytes, raw_bytes;  // of what a block becomes, the last one perhaps less; and of all
  unsigned char* out;
  long long* bad;  // [0] becomes 1 where a block is none, and [1] its number
};

}  // namespace cuda
}  // namespace gridflow

#endif  // GRIDFLOW_CUDA_GATHER_ARGS_H_
