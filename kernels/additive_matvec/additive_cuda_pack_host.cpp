#include <algorithm>
#include <cstring>

#include "kernels/additive_matvec/additive_cuda.h"

namespace aqlm_exp::additive_matvec {

int64_t additive_cuda_packed_bytes(const AdditiveShape& shape) noexcept {
  if (!shape.valid() || shape.nbits_per_codebook > 8 || shape.out_group_size != 1 || shape.scale_groups != 1) return 0;
  const int64_t slots = (shape.num_in_groups() + 31) / 32 * shape.num_codebooks;
  return (slots + 1) / 2 * ((shape.out_features + 15) / 16) * 1024;
}

void additive_cuda_pack_host(const AdditiveShape& shape, const uint8_t* codes, uint8_t* packed) {
  std::memset(packed, 0, static_cast<size_t>(additive_cuda_packed_bytes(shape)));
  const int64_t groups = shape.num_in_groups(), books = shape.num_codebooks, tiles = (shape.out_features + 15) / 16;
  const auto mask = static_cast<uint8_t>(shape.codebook_size() - 1);
  for (int64_t row = 0; row < shape.out_features; ++row)
    for (int64_t j = 0; j < groups; ++j)
      for (int64_t m = 0; m < books; ++m) {
        const int64_t q = j / 32 * books + m;
        packed[((q / 2 * tiles + row / 16) * 64 + row % 16 / 8 * 32 + j % 32) * 16 + row % 8 * 2 + q % 2] =
            static_cast<uint8_t>(codes[(row * groups + j) * books + m] & mask);
      }
}

}  // namespace aqlm_exp::additive_matvec
