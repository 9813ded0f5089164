// The shape of one linear in group-quantised scalar codes: GPTQ, AWQ, HQQ (real zero points), NF4 (a table of levels).
#pragma once

#include <cstdint>

namespace aqlm_exp::scalar_matvec {

/// W[o, i] = (levels[code[o, i]] - zero_points[o, g]) * scales[o, g], g = i / group_size; levels[c] = c unless given.
/// With desc_act (act-order) columns are stored permuted: column i multiplies x[x_perm[i]].
struct ScalarShape {
  int64_t out_features = 0, in_features = 0;
  int32_t nbits = 4;         // 2, 3 or 4
  int64_t group_size = 128;  // weights of a row that share a scale; the last group may be short; in_features: one group

  int64_t num_groups() const noexcept { return (in_features + group_size - 1) / group_size; }
  bool valid() const noexcept {
    return out_features > 0 && in_features > 0 && nbits >= 2 && nbits <= 4 && group_size > 0;
  }
};

}  // namespace aqlm_exp::scalar_matvec
