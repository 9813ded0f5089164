// The shape of an additive code: MxN, M codebooks of N bits over groups of weights. Source: AQLM, arXiv:2401.06118
// §3.1.
#pragma once

#include <cstdint>
#include <string>

namespace aqlm_exp::config {
class Reader;
}

namespace aqlm_exp::quant {

struct CodeSpec {
  int64_t num_codebooks = 1;
  int64_t nbits_per_codebook = 8;  ///< 1 to 16
  int64_t in_group_size = 8;       ///< neighbouring inputs that share a code
  int64_t out_group_size = 1;      ///< neighbouring outputs that share a code

  int64_t codebook_size() const { return int64_t{1} << nbits_per_codebook; }
  int64_t group_size() const { return in_group_size * out_group_size; }
  std::string str() const;  ///< "2x8 g8", or "2x8 g8x2" with out_group_size 2

  /// @throws DataError naming `where` if the groups do not tile [out_features, in_features] exactly
  void check_shape(const std::string& where, int64_t out_features, int64_t in_features) const;
};

/// "2x8", "1x16 g16", "2x8 g8x2" → the spec; groups of 8 where none are named.
/// @throws ConfigError for anything else
CodeSpec parse_code_spec(const std::string& text);

/// Reads the keys num_codebooks, nbits_per_codebook, in_group_size, out_group_size.
CodeSpec read_code_spec(config::Reader& in);

}  // namespace aqlm_exp::quant
