#include <cstring>

#include "kernels/platform/half.h"
#include "kernels/scalar_matvec/scalar_cuda.h"

namespace aqlm_exp::scalar_matvec {
namespace {

int64_t tiles_of(const ScalarShape& shape) { return (shape.out_features + 15) / 16; }
int64_t blocks_of(const ScalarShape& shape) { return (shape.in_features + 255) / 256; }

}  // namespace

int64_t scalar_cuda_packed_code_bytes(const ScalarShape& shape) noexcept {
  return blocks_of(shape) * tiles_of(shape) * 512 * shape.nbits;
}
int64_t scalar_cuda_packed_scale_bytes(const ScalarShape& shape) noexcept {
  return shape.num_groups() * tiles_of(shape) * 16 * 4;
}

void scalar_cuda_pack_codes_host(const ScalarShape& shape, const uint8_t* codes, bool levels, void* packed_codes) {
  auto* out = static_cast<uint32_t*>(packed_codes);
  std::memset(out, 0, static_cast<size_t>(scalar_cuda_packed_code_bytes(shape)));
  const int64_t tiles = tiles_of(shape),
                lane_words = 4 * shape.nbits;  // 32-bit words of one lane in one block and tile
  for (int64_t row = 0; row < shape.out_features; ++row)
    for (int64_t i = 0; i < shape.in_features; ++i) {
      const uint32_t code = codes[row * shape.in_features + i] & ((1U << shape.nbits) - 1U);
      const int64_t block = i / 256, s = i % 256 / 32, t = i % 32 / 8, r = row % 16 / 2, second = row % 2;
      const auto column = static_cast<uint32_t>(i % 8);
      // Pair j = (columns 2j, 2j + 1) sits in the low and high 16 bits, so that one mask makes a half2 of it.
      const uint32_t j = column / 2, high = column % 2 * 16;
      uint32_t* tile = out + (block * tiles + row / 16) * 32 * lane_words;
      const auto word = [&](int64_t index) -> uint32_t& { return tile[(index / 4 * 32 + r * 4 + t) * 4 + index % 4]; };
      const auto row_shift = static_cast<uint32_t>(second);
      if (shape.nbits == 4) {
        word(2 * s + second) |= code << (levels ? 4 * column : 4 * j + high);
      } else {
        word(s) |= (code & 3U) << (8 * row_shift + 2 * j + high);
        if (shape.nbits == 3)
          word(8 + s / 2) |= (code >> 2) << (static_cast<uint32_t>(s % 2) * 8 + 4 * row_shift + j + high);
      }
    }
}

void scalar_cuda_pack_scales_host(const ScalarShape& shape, const float* scales, const float* zero_points,
                                  void* packed_scales) {
  auto* out = static_cast<uint16_t*>(packed_scales);
  std::memset(out, 0, static_cast<size_t>(scalar_cuda_packed_scale_bytes(shape)));
  const int64_t groups = shape.num_groups(), rows = tiles_of(shape) * 16;
  for (int64_t row = 0; row < shape.out_features; ++row)
    for (int64_t g = 0; g < groups; ++g) {
      out[(g * rows + row) * 2] = kernels::float_to_half(scales[row * groups + g]);
      out[(g * rows + row) * 2 + 1] = zero_points ? kernels::float_to_half(zero_points[row * groups + g]) : uint16_t{0};
    }
}

}  // namespace aqlm_exp::scalar_matvec
