// Audited bits: what the stored form of quantised linears really takes, part by part.
#pragma once

#include <cstdint>

namespace aqlm_exp::quant {

struct BitCount {
  int64_t num_weights = 0;
  int64_t code_bits = 0;      ///< packed codes, padding included
  int64_t codebook_bits = 0;  ///< codebooks or look-up tables
  int64_t scale_bits = 0;
  int64_t zero_point_bits = 0;
  int64_t other_bits = 0;  ///< index tables (g_idx), dense remainders

  int64_t total_bits() const { return code_bits + codebook_bits + scale_bits + zero_point_bits + other_bits; }
  /// Bits per weight; 0 without weights.
  double per_weight() const {
    return num_weights == 0 ? 0.0 : static_cast<double>(total_bits()) / static_cast<double>(num_weights);
  }
  BitCount& operator+=(const BitCount& other) {
    num_weights += other.num_weights;
    code_bits += other.code_bits;
    codebook_bits += other.codebook_bits;
    scale_bits += other.scale_bits;
    zero_point_bits += other.zero_point_bits;
    other_bits += other.other_bits;
    return *this;
  }
};

}  // namespace aqlm_exp::quant
