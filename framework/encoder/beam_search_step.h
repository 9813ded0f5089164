// The inner step of the beam search, apart so that tests and other encoders can call it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace aqlm_exp::encoder {

/// B hypotheses for each output group; og, ig: out_group_size, in_group_size.
struct BeamState {
  at::Tensor codes;     ///< [B, num_out_groups, num_in_groups, num_codebooks] int32
  at::Tensor residual;  ///< [B, num_out_groups, og, in_features] float32: W − Ŵ
  at::Tensor loss;      ///< [B, num_out_groups] float32: ‖X(W − Ŵ)‖² per output group, up to a constant
};

/// What a step reads and does not change.
struct BeamProblem {
  at::Tensor xtx;        ///< [in_features, in_features] float32
  at::Tensor codebooks;  ///< [num_codebooks, codebook_size, og, ig] float32
  at::Tensor scales;     ///< [num_out_groups] float32
  int64_t beam_size = 1;
};

/// Tries every codeword at (in_group, codebook) for every hypothesis, keeps the beam_size best of each output group,
/// sorted by loss.
void beam_search_step(const BeamProblem& problem, int64_t in_group, int64_t codebook, BeamState& state);

}  // namespace aqlm_exp::encoder
