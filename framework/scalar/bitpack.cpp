#include "framework/scalar/bitpack.h"

#include <ATen/ATen.h>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::scalar {

at::Tensor pack_rows(const at::Tensor& codes, int64_t nbits) {
  const at::Tensor source = codes.to(at::kCPU, at::kByte).contiguous();
  const int64_t rows = source.size(0), columns = source.size(1);
  const int64_t words = (columns * nbits + 31) / 32;
  at::Tensor packed = at::zeros({rows, words}, at::kInt);
  const auto* in = source.data_ptr<uint8_t>();
  auto* out = reinterpret_cast<uint32_t*>(packed.data_ptr<int32_t>());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      const uint64_t code = in[r * columns + c];
      if (code >> nbits != 0) {
        throw InternalError(fmt::format("[pack_rows] code {} at [{}, {}] needs more than {} bits", code, r, c, nbits));
      }
      const int64_t bit = c * nbits;
      const uint64_t shifted = code << (bit % 32);
      uint32_t* word = out + r * words + bit / 32;
      word[0] |= static_cast<uint32_t>(shifted);
      if (shifted >> 32 != 0) word[1] |= static_cast<uint32_t>(shifted >> 32);
    }
  }
  return packed.to(codes.device());
}

at::Tensor unpack_rows(const at::Tensor& words, int64_t nbits, int64_t columns) {
  const at::Tensor source = words.to(at::kCPU, at::kInt).contiguous();
  const int64_t rows = source.size(0), stride = source.size(1);
  if (stride != (columns * nbits + 31) / 32) {
    throw InternalError(fmt::format("[unpack_rows] got {} words a row, need {} for {} codes of {} bits", stride,
                                    (columns * nbits + 31) / 32, columns, nbits));
  }
  at::Tensor codes = at::empty({rows, columns}, at::kByte);
  const auto* in = reinterpret_cast<const uint32_t*>(source.data_ptr<int32_t>());
  auto* out = codes.data_ptr<uint8_t>();
  const uint64_t mask = (uint64_t{1} << nbits) - 1;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t bit = c * nbits, first = r * stride + bit / 32;
      uint64_t window = in[first];
      if (bit % 32 + nbits > 32) window |= static_cast<uint64_t>(in[first + 1]) << 32;
      out[r * columns + c] = static_cast<uint8_t>((window >> (bit % 32)) & mask);
    }
  }
  return codes.to(words.device());
}

}  // namespace aqlm_exp::scalar
