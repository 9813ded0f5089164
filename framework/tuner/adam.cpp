// Adam steps on codebooks and scales under L = tr((Ŵ−W) H (Ŵ−W)ᵀ) / out_features. Source: AQLM, arXiv:2401.06118 §3.3,
// and the reference implementation (betas 0 and 0.95, AMSGrad; the paper's text says 0.9/0.95). The loss is quadratic
// in Ŵ, so one product D H gives the gradient 2 D H / out in closed form; no autograd is needed.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "framework/quant/code_sums.h"
#include "framework/tuner/adam_state.h"
#include "framework/tuner/tuner.h"

namespace aqlm_exp::tuner {
namespace {

class AdamTuning final : public Tuning {
 public:
  AdamTuning(const quant::LayerProblem& problem, quant::AdditiveWeight& weight, int64_t num_steps, AdamOptions options)
      : weight_(weight),
        target_(problem.weight),
        xtx_(problem.xtx.to(at::kDouble)),
        adam_({weight.codebooks(), weight.scales()}, options),
        num_steps_(num_steps) {}

  void tune() override {
    const c10::NoGradGuard no_grad;
    const quant::CodeSpec& spec = weight_.spec();
    const auto out_features = static_cast<double>(weight_.out_features());
    const at::Tensor& books = weight_.codebooks();
    std::vector<at::Tensor> flat_codes;  // per codebook: [O * G]
    for (int64_t m = 0; m < books.size(0); ++m) flat_codes.push_back(weight_.codes().select(2, m).flatten());
    for (int64_t step = 0; step < num_steps_; ++step) {
      const at::Tensor unscaled = quant::sum_codewords(weight_.codes(), books);  // [O, G, g]
      const at::Tensor scales = weight_.scales().view({-1, 1, 1});
      const at::Tensor d = (quant::ungroup(unscaled * scales, spec) - target_).to(at::kDouble);  // [out, in]
      const at::Tensor gradient =
          quant::group_weight(at::matmul(d, xtx_).mul_(2.0 / out_features).to(at::kFloat), spec);  // [O, G, g]
      const at::Tensor scaled = (gradient * scales).flatten(0, 1);                                 // [O * G, g]
      std::vector<at::Tensor> book_gradient;  // one a codebook: [K, g]
      for (const at::Tensor& codes : flat_codes) {
        book_gradient.push_back(quant::sum_rows_by_code(scaled, codes, books.size(1)));
      }
      const at::Tensor scale_gradient = (gradient * unscaled).sum({1, 2}).view(weight_.scales().sizes());
      adam_.step({at::stack(book_gradient).view(books.sizes()), scale_gradient});
    }
  }

 private:
  quant::AdditiveWeight& weight_;
  at::Tensor target_;  // [out, in] float32
  at::Tensor xtx_;     // [in, in] float64
  Adam adam_;
  int64_t num_steps_;
};

class AdamTuner final : public Tuner {
 public:
  AdamTuner(int64_t num_steps, AdamOptions options) : num_steps_(num_steps), options_(options) {}
  std::unique_ptr<Tuning> start(const quant::LayerProblem& problem, quant::AdditiveWeight& weight) const override {
    return std::make_unique<AdamTuning>(problem, weight, num_steps_, options_);
  }

 private:
  int64_t num_steps_;
  AdamOptions options_;
};

class NoTuning final : public Tuning {
 public:
  void tune() override {}
};

class NoTuner final : public Tuner {
 public:
  std::unique_ptr<Tuning> start(const quant::LayerProblem&, quant::AdditiveWeight&) const override {
    return std::make_unique<NoTuning>();
  }
};

}  // namespace

void register_adam(TunerRegistry& registry) {
  registry.add("adam", "the reference's Adam steps on codebooks and scales", [](config::Reader& in) {
    const int64_t steps = in.integer("steps", {.fallback = 100, .min = 1, .max = 1000000, .doc = "Adam steps a round"});
    AdamOptions options;
    options.lr = in.number("lr", {.fallback = 1e-4, .min = 0.0, .doc = "learning rate"});
    options.beta1 = in.number("beta1", {.fallback = 0.0, .min = 0.0, .max = 1.0, .doc = "decay of the first moment"});
    options.beta2 = in.number("beta2", {.fallback = 0.95, .min = 0.0, .max = 1.0, .doc = "decay of the second moment"});
    options.amsgrad =
        in.flag("amsgrad", {.fallback = true, .doc = "keep the largest second moment (arXiv:1904.09237)"});
    return std::make_unique<AdamTuner>(steps, options);
  });
}

void register_none(TunerRegistry& registry) {
  registry.add("none", "codebooks and scales stay as the initialiser made them",
               [](config::Reader&) { return std::make_unique<NoTuner>(); });
}

}  // namespace aqlm_exp::tuner
