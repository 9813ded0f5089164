// What a linear's code is fitted to: second moments of its inputs (damped, weighted by token, with the model so far in
// front of it) and a target that makes up for errors of the inputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "framework/config/reader.h"
#include "framework/method/token_weights.h"
#include "framework/quant/layer_problem.h"

namespace aqlm_exp::method {

struct ObjectiveOptions {
  double damping = 0.0;        ///< λ of H / mean(diag H) + λ I; 0: H as it is
  bool token_weights = false;  ///< tokens count by the squared gradient of the loss at the linear's output
  TokenWeightOptions token_weight = {};
  double mismatch = 0.0;           ///< α: part of the inputs' error that the target makes up for
  double residual = 0.0;           ///< β: part of the residual stream's error that o_proj and down_proj make up for
  double mismatch_damping = 0.03;  ///< damping of these corrections, as a part of the mean diagonal
  bool stages = false;             ///< moments afresh for {q,k,v}, {o}, {gate,up}, {down}
  /// Of linears and attention in the passes behind the moments, where they go in steps (StagedPass): kFloat, kBFloat16
  at::ScalarType pass_dtype = at::kFloat;
  bool float_targets = false;  ///< block fine-tuning aims at the float model's outputs

  /// The float model's activations are needed beside those of the model so far.
  bool needs_float_model() const { return corrects() || float_targets; }
  bool corrects() const { return mismatch > 0.0 || residual > 0.0; }
};

/// Reads the section `objective`.
ObjectiveOptions read_objective(config::Reader& root);

/// Second moments of a linear's inputs x, over tokens with weights w (1 without token weights).
struct Moments {
  at::Tensor xtx;            ///< Σ w x xᵀ / n, [in, in] float64
  at::Tensor mismatch = {};  ///< Σ w (x_float − x) xᵀ / n, [in, in] float64; undefined without the float model's inputs
  /// Σ w e xᵀ / n, [out, in] float64, e the error of the residual stream that the linear adds to; undefined for linears
  /// that do not add to it
  at::Tensor residual = {};
};

/// Accumulates Moments as tokens stream by: float32 products of up to 4096 tokens, float64 sums. Of the symmetric xtx
/// only the part on and above the diagonal is computed, panel by panel.
class MomentAccumulator {
 public:
  /// @param x [..., in] float32
  /// @param float_x the float model's input for the same tokens, or undefined
  /// @param weights one a token, float32, or undefined
  void add(const at::Tensor& x, const at::Tensor& float_x = {}, const at::Tensor& weights = {});
  /// Errors of the residual stream beside inputs that add() has seen.
  /// @param x as given to add(); error [..., out] float32; weights as given to add()
  void add_residual(const at::Tensor& x, const at::Tensor& error, const at::Tensor& weights = {});
  /// Undefined tensors if nothing was added.
  Moments mean() const;
  int64_t num_tokens() const { return num_tokens_; }

 private:
  at::Tensor xtx_, mismatch_, residual_;  // sums, float64; of xtx_ what lies below the diagonal means nothing
  int64_t num_tokens_ = 0;
};

/// The problem to solve for one linear:
///   target  W + (α W B + β R) (H + λ_m mean(diag H) I)⁻¹   (B: moments.mismatch, R: moments.residual; α = β = 0: W)
///   xtx     H / mean(diag H) + λ I, float32          (λ = 0: H itself)
/// Sources: damping as in GPTQ, arXiv:2210.17323 §3.3, here as regularisation; correction as in GPTAQ,
/// arXiv:2504.02692, and QEP, arXiv:2504.09629, with their strength α; token weights: GuidedQuant, arXiv:2505.07004,
/// one group a linear. With a zero H (a linear that no token reaches) the target is W and xtx is λ I.
/// @param weight [out, in] float32
/// @throws NumericalError naming `name` if the correction has no Cholesky factor
quant::LayerProblem make_problem(const at::Tensor& weight, const Moments& moments, const ObjectiveOptions& options,
                                 const std::string& name);

}  // namespace aqlm_exp::method
