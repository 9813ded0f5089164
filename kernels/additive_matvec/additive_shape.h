// The shape of one linear in additive codes (AQLM, arXiv:2401.06118): a weight group is a sum of codewords.
#pragma once

#include <cstdint>

namespace aqlm_exp::additive_matvec {

/// W[o*out_group_size + a, j*in_group_size + b] = scales[o, j or 0] * sum_m codebooks[m, codes[o, j, m], a, b]
struct AdditiveShape {
  int64_t out_features = 0, in_features = 0;
  int32_t num_codebooks = 1, nbits_per_codebook = 8, in_group_size = 8, out_group_size = 1;
  int64_t scale_groups = 1;  // 1: a scale per output group; num_in_groups(): a scale per group

  int64_t num_in_groups() const noexcept { return in_features / in_group_size; }
  int64_t num_out_groups() const noexcept { return out_features / out_group_size; }
  int64_t codebook_size() const noexcept { return int64_t{1} << nbits_per_codebook; }
  int64_t num_codes() const noexcept { return num_in_groups() * num_out_groups() * num_codebooks; }
  /// All sizes positive, groups whole, 1 to 16 bits a code.
  bool valid() const noexcept {
    return out_features > 0 && in_features > 0 && num_codebooks > 0 && nbits_per_codebook > 0 &&
           nbits_per_codebook <= 16 && in_group_size > 0 && out_group_size > 0 && in_features % in_group_size == 0 &&
           out_features % out_group_size == 0 && (scale_groups == 1 || scale_groups == num_in_groups());
  }
};

}  // namespace aqlm_exp::additive_matvec
