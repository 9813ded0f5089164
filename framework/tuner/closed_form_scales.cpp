// Scales in closed form: for output group o with unscaled codewords q_o, the best scale under xtx is
// s = tr(w_o H q_oᵀ) / tr(q_o H q_oᵀ). Source: least squares; for scalar codes LNQ, arXiv:2505.07004.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "framework/tuner/tuner.h"

namespace aqlm_exp::tuner {
namespace {

/// A scale below this in size would leave nothing to divide by in the next round of codes.
constexpr double kSmallestScale = 1e-12;

class ScaleTuning final : public Tuning {
 public:
  ScaleTuning(const quant::LayerProblem& problem, quant::AdditiveWeight& weight)
      : problem_(problem), weight_(weight), xtx_(problem.xtx.to(at::kFloat)) {}

  void tune() override {
    const c10::NoGradGuard no_grad;
    const at::Tensor unscaled =
        quant::ungroup(quant::sum_codewords(weight_.codes(), weight_.codebooks().detach()), weight_.spec());
    const at::Tensor image = at::matmul(unscaled, xtx_);  // [out, in]
    const auto by_group = [&](const at::Tensor& product) {
      return product.view({weight_.num_out_groups(), -1}).sum(1);  // [num_out_groups]
    };
    const at::Tensor energy = by_group(image * unscaled);
    const at::Tensor best = by_group(image * problem_.weight) / energy.clamp_min(1e-30);
    const at::Tensor old = weight_.scales().flatten();
    // Output groups whose codewords carry no energy, and those of zero rows, keep their scale.
    const at::Tensor use = energy.gt(0).logical_and_(best.abs().gt(kSmallestScale));
    weight_.scales().copy_(at::where(use, best, old).view(weight_.scales().sizes()));
  }

 private:
  const quant::LayerProblem& problem_;
  quant::AdditiveWeight& weight_;
  at::Tensor xtx_;  // [in, in] float32
};

class ClosedFormScales final : public Tuner {
 public:
  std::unique_ptr<Tuning> start(const quant::LayerProblem& problem, quant::AdditiveWeight& weight) const override {
    return std::make_unique<ScaleTuning>(problem, weight);
  }
};

}  // namespace

void register_closed_form_scales(TunerRegistry& registry) {
  registry.add("closed_form_scales", "scales by least squares under xtx",
               [](config::Reader&) { return std::make_unique<ClosedFormScales>(); });
}

}  // namespace aqlm_exp::tuner
