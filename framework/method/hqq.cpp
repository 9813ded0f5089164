// HQQ on every linear: no calibration, layers independent of each other. See scalar/hqq.h.
#include "framework/scalar/hqq.h"

#include <ATen/ATen.h>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/method/method.h"
#include "framework/method/scalar_format.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::method {
namespace {

class Hqq final : public Method {
 public:
  explicit Hqq(config::Reader& root) : formats_(root, {.min_nbits = 1, .group_size = 64}) {
    config::Reader keys = root.section("method");
    options_.axis = keys.integer(
        "axis",
        {.fallback = 1, .min = 0, .max = 1, .doc = "1: groups along a row, as fast kernels need; 0: across rows"});
    variant_ = keys.text("variant", {.fallback = "legacy",
                                     .choices = {"legacy", "v2", "slow"},
                                     .doc = "legacy: the package's default; v2: keeps the best step; slow: 100 steps"});
    options_.variant = variant_ == "legacy" ? scalar::HqqVariant::kLegacy
                       : variant_ == "v2"   ? scalar::HqqVariant::kV2
                                            : scalar::HqqVariant::kSlow;
    options_.optimise = keys.flag("optimise", {.fallback = true, .doc = "optimise zero points"});
    options_.lp_norm =
        keys.number("lp_norm", {.fallback = 0.7, .min = 0.1, .max = 1.0, .doc = "p of the norm |error|^p"});
    options_.beta =
        keys.number("beta", {.fallback = 10.0, .min = 1e-6, .doc = "starting weight of the quadratic term"});
    options_.kappa =
        keys.number("kappa", {.fallback = 1.01, .min = 1e-6, .doc = "growth of beta a step; legacy: unused"});
    options_.iterations =
        keys.integer("iterations", {.fallback = 20, .min = 1, .doc = "steps at most; slow: always 100"});
    if (!keys.describing() && formats_.common().nbits == 7) {
      throw ConfigError("quant.nbits: got 7, HQQ has 1, 2, 3, 4, 5, 6 and 8");
    }
  }

  std::string setting() const override {
    return fmt::format("{} {}{}{}", formats_.str(), variant_, options_.axis == 0 ? " axis 0" : "",
                       options_.optimise ? "" : ", zero points not optimised");
  }
  bool needs_calibration() const override { return false; }
  std::vector<quant::Scheme> schemes() const override {
    return formats_.schemes(quant::Scheme::Kind::kScalar, options_.axis);
  }

  void quantise(model::Model& model, const Calibration&, Context& context) const override {
    quantise_each_linear(
        model, formats_, context,
        [&](const at::Tensor& original, const ScalarFormat& format, auto& metrics) -> std::shared_ptr<quant::Weight> {
          scalar::HqqResult result = optimised(original, format);
          metrics["iterations"] = static_cast<double>(result.iterations);
          return std::make_shared<scalar::ScalarWeight>(std::move(result.code), "hqq");
        });
  }

  std::shared_ptr<quant::Weight> quantise_layer(const quant::LayerProblem& problem, Context& context) const override {
    const StageTimes::Scope scope(context.times, "quantise");
    scalar::HqqResult result = optimised(problem.weight, formats_.at(problem.name));
    context.metrics["iterations"] = static_cast<double>(result.iterations);
    return std::make_shared<scalar::ScalarWeight>(std::move(result.code), "hqq");
  }

 private:
  scalar::HqqResult optimised(const at::Tensor& weight, const ScalarFormat& format) const {
    scalar::HqqOptions options = options_;
    options.nbits = format.nbits;
    options.group_size = format.group_size;
    return scalar::hqq(weight, options);
  }

  ScalarFormats formats_;
  scalar::HqqOptions options_;
  std::string variant_;
};

}  // namespace

void register_hqq(MethodRegistry& registry) {
  registry.add("hqq", "half-quadratic quantisation: optimised real zero points, no calibration",
               [](config::Reader& root) { return std::make_unique<Hqq>(root); });
}

}  // namespace aqlm_exp::method
