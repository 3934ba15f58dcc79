#include "cuda/convert.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "cuda/numbers.h"

namespace gridflow {
namespace cuda {
namespace {

// A long row is shared by warps that take so many bytes, or numbers, each.
constexpr int64_t kPiece = 16384;
constexpr int kThreads = 256;

const unsigned char* RowAt(const GatherArgs& args, int64_t i) {
  const int64_t row = args.rows != nullptr ? args.rows[i] : args.first_row + i;
  const int64_t number = args.order != nullptr ? args.order[row] : row;
  return args.pages[number >> kPageBits] + (number & (kPageRows - 1)) * args.row_bytes;
}

template <typename In, typename Out>
void ConvertNumber(const GatherArgs& args, const unsigned char* row, int64_t at, int64_t channel, Out* to) {
  In number;
  std::memcpy(&number, row + at * static_cast<int64_t>(sizeof(In)), sizeof(In));
  // Not contracted: see the build's flags.
  const float scaled = ToFloat(number) * args.scale[channel];
  Round(scaled + args.offset[channel], to);
}

template <typename In, typename Out>
void ConvertRow(const Conversion& conversion, const GatherArgs& args, int64_t i) {
  const unsigned char* row = RowAt(args, i);
  Out* to = reinterpret_cast<Out*>(args.out) + i * conversion.result_numbers;
  if (!conversion.image) {
    for (int64_t at = 0; at < args.row_numbers; ++at) ConvertNumber<In>(args, row, at, at % args.channels, to + at);
    return;
  }
  const int64_t height = args.crop_height, width = args.crop_width, channels = args.channels;
  int64_t top = (args.height - height) / 2, left = (args.width - width) / 2;
  bool mirrored = false;
  if (args.places != nullptr) {
    top = std::clamp<int64_t>(args.places[3 * i], 0, args.height - height);
    left = std::clamp<int64_t>(args.places[3 * i + 1], 0, args.width - width);
    mirrored = args.places[3 * i + 2] != 0;
  }
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t channel = 0; channel < channels; ++channel) {
        const int64_t from_x = left + (mirrored ? width - 1 - x : x);
        const int64_t at = args.channels_first ? (channel * height + y) * width + x : (y * width + x) * channels + channel;
        ConvertNumber<In>(args, row, ((top + y) * args.width + from_x) * channels + channel, channel, to + at);
      }
}

using RowConverter = void (*)(const Conversion&, const GatherArgs&, int64_t);

template <typename In>
RowConverter ConverterTo(int32_t to) {
  if (to == GF_CUDA_FLOAT32) return &ConvertRow<In, float>;
  return to == GF_CUDA_FLOAT16 ? &ConvertRow<In, Half> : &ConvertRow<In, BFloat>;
}

RowConverter ConverterOf(int32_t from, int32_t to) {
  switch (from) {
    case GF_CUDA_INT8:
      return ConverterTo<int8_t>(to);
    case GF_CUDA_INT16:
      return ConverterTo<int16_t>(to);
    case GF_CUDA_INT32:
      return ConverterTo<int32_t>(to);
    case GF_CUDA_INT64:
      return ConverterTo<int64_t>(to);
    case GF_CUDA_UINT16:
      return ConverterTo<uint16_t>(to);
    case GF_CUDA_UINT32:
      return ConverterTo<uint32_t>(to);
    case GF_CUDA_UINT64:
      return ConverterTo<uint64_t>(to);
    case GF_CUDA_FLOAT16:
      return ConverterTo<Half>(to);
    case GF_CUDA_FLOAT32:
      return ConverterTo<float>(to);
    case GF_CUDA_FLOAT64:
      return ConverterTo<double>(to);
    default:  // a boolean is a byte
      return ConverterTo<uint8_t>(to);
  }
}

Outcome Invalid(const std::string& what) { return Fail(GF_CUDA_INVALID, "convert: " + what); }

}  // namespace

int64_t WidthOf(int32_t dtype) {
  switch (dtype) {
    case GF_CUDA_BOOL:
    case GF_CUDA_INT8:
    case GF_CUDA_UINT8:
      return 1;
    case GF_CUDA_INT16:
    case GF_CUDA_UINT16:
    case GF_CUDA_FLOAT16:
    case GF_CUDA_BFLOAT16:
      return 2;
    case GF_CUDA_INT32:
    case GF_CUDA_UINT32:
    case GF_CUDA_FLOAT32:
      return 4;
    default:
      return 8;
  }
}

Outcome Conversion::Make(int32_t dtype, int64_t row_numbers, const gf_cuda_convert* convert, Conversion* out) {
  *out = Conversion();
  out->from = out->to = dtype;
  out->row_numbers = out->result_numbers = row_numbers;
  out->row_bytes = out->result_bytes = row_numbers * WidthOf(dtype);
  if (convert == nullptr) return Ok();
  const gf_cuda_convert& given = *convert;
  if (given.dtype != GF_CUDA_FLOAT32 && given.dtype != GF_CUDA_FLOAT16 && given.dtype != GF_CUDA_BFLOAT16)
    return Invalid("the result is FLOAT32, FLOAT16 or BFLOAT16");
  if (given.channels < 1 || given.channels > kMostChannels)
    return Invalid("there are 1 to " + std::to_string(kMostChannels) + " channels, not " + std::to_string(given.channels));
  if (row_numbers % given.channels != 0)
    return Invalid("a row of " + std::to_string(row_numbers) + " numbers has no " + std::to_string(given.channels) +
                   " channels");
  out->converts = true;
  out->to = given.dtype;
  GatherArgs& args = out->args;
  args.channels = given.channels;
  for (int i = 0; i < given.channels; ++i) {
    args.scale[i] = given.scale != nullptr ? given.scale[i] : 1.0f;
    args.offset[i] = given.offset != nullptr ? given.offset[i] : 0.0f;
  }
  out->image = given.height != 0 || given.width != 0;
  if (out->image) {
    args.height = given.height;
    args.width = given.width;
    args.crop_height = given.crop_height != 0 ? given.crop_height : given.height;
    args.crop_width = given.crop_width != 0 ? given.crop_width : given.width;
    args.channels_first = given.channels_first != 0;
    args.places = given.places;
    if (given.height < 1 || given.width < 1 ||
        int64_t{given.height} * given.width * given.channels != row_numbers)
      return Invalid("a row of " + std::to_string(row_numbers) + " numbers is no image of " +
                     std::to_string(given.height) + " x " + std::to_string(given.width) + " x " +
                     std::to_string(given.channels));
    if (args.crop_height < 1 || args.crop_width < 1 || args.crop_height > given.height || args.crop_width > given.width)
      return Invalid("an image of " + std::to_string(given.height) + " x " + std::to_string(given.width) +
                     " has no part of " + std::to_string(args.crop_height) + " x " + std::to_string(args.crop_width));
    if (row_numbers > INT32_MAX) return Invalid("an image has at most 2^31 - 1 numbers");
    out->result_numbers = int64_t{args.crop_height} * args.crop_width * args.channels;
  } else if (given.crop_height != 0 || given.crop_width != 0 || given.channels_first != 0 || given.places != nullptr) {
    return Invalid("only of an image a part can be taken, or its channels put first: give height and width");
  }
  out->result_bytes = out->result_numbers * WidthOf(out->to);
  return Ok();
}

void Conversion::Set(GatherArgs* out) const {
  const GatherArgs given = *out;
  *out = args;
  out->pages = given.pages;
  out->order = given.order;
  out->table_rows = given.table_rows;
  out->rows = given.rows;
  out->first_row = given.first_row;
  out->count = given.count;
  out->out = given.out;
  out->bad = given.bad;
  out->row_bytes = row_bytes;
  out->row_numbers = row_numbers;
  const int64_t size = converts ? row_numbers : row_bytes;
  out->pieces = image ? 1 : std::max<int64_t>(1, (size + kPiece - 1) / kPiece);
  out->piece = out->pieces == 1 ? size : kPiece;
}

std::string Conversion::Kernel(int64_t word, int* threads) const {
  if (converts) {
    *threads = image ? kThreads : 32;
    return (image ? "convert_images_" : "convert_rows_") + std::to_string(to);
  }
  const int64_t words = row_bytes / word;
  *threads = 32;
  if (words > 16) return "gather_rows_" + std::to_string(word);
  for (*threads = 1; *threads < words;) *threads *= 2;
  return "gather_short_rows_" + std::to_string(word);
}

void GatherOnProcessor(const Conversion& conversion, const GatherArgs& args, int threads) {
  constexpr int64_t kShareBytes = 256 * 1024;
  const int64_t share = std::max<int64_t>(1, kShareBytes / std::max<int64_t>(1, conversion.result_bytes));
  const RowConverter converter = conversion.converts ? ConverterOf(conversion.from, conversion.to) : nullptr;
  ForEach(threads, static_cast<size_t>((args.count + share - 1) / share), [&](size_t part) {
    const int64_t begin = static_cast<int64_t>(part) * share, end = std::min<int64_t>(args.count, begin + share);
    for (int64_t i = begin; i < end; ++i) {
      if (converter != nullptr)
        converter(conversion, args, i);
      else
        std::memcpy(args.out + i * args.row_bytes, RowAt(args, i), static_cast<size_t>(args.row_bytes));
    }
  });
}

}  // namespace cuda
}  // namespace gridflow
