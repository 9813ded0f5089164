// Round-to-nearest: every weight to the nearest point of its group's grid. No calibration. Which grid is meant differs
// from paper to paper, so it is a choice here (scalar/grid.h).
#include <ATen/ATen.h>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/method/method.h"
#include "framework/method/scalar_format.h"
#include "framework/scalar/grid.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::method {
namespace {

class Rtn final : public Method {
 public:
  explicit Rtn(config::Reader& root) : formats_(root, {}) {
    config::Reader keys = root.section("method");
    const std::string grid = keys.text("grid", {.fallback = "awq",
                                                .choices = {"awq", "gptq"},
                                                .doc = "how a group's range becomes scale and zero point: "
                                                       "gptq forces zero into the range"});
    grid_.kind = grid == "gptq" ? scalar::GridKind::kGptq : scalar::GridKind::kAwq;
    grid_.symmetric = keys.flag("sym", {.fallback = false, .doc = "one zero point for all groups, none stored"});
    grid_.mse =
        keys.flag("mse", {.fallback = false, .doc = "gptq grid: shrink each range to the least sum of |error|^2.4"});
    if (!keys.describing() && grid_.mse && grid_.kind == scalar::GridKind::kAwq) {
      throw ConfigError("method.mse: the awq grid has no range search, need method.grid: gptq");
    }
  }

  std::string setting() const override {
    return fmt::format("{}{}{} ({} grid)", formats_.str(), grid_.symmetric ? " sym" : "", grid_.mse ? " mse" : "",
                       grid_.kind == scalar::GridKind::kGptq ? "gptq" : "awq");
  }
  bool needs_calibration() const override { return false; }
  std::vector<quant::Scheme> schemes() const override { return formats_.schemes(quant::Scheme::Kind::kScalar); }

  void quantise(model::Model& model, const Calibration&, Context& context) const override {
    quantise_each_linear(model, formats_, context,
                         [&](const at::Tensor& original, const ScalarFormat& format,
                             auto&) -> std::shared_ptr<quant::Weight> { return quantised(original, format); });
  }

  std::shared_ptr<quant::Weight> quantise_layer(const quant::LayerProblem& problem, Context& context) const override {
    const StageTimes::Scope scope(context.times, "quantise");
    return quantised(problem.weight, formats_.at(problem.name));
  }

 private:
  std::shared_ptr<quant::Weight> quantised(const at::Tensor& weight, const ScalarFormat& format) const {
    scalar::GridOptions grid = grid_;
    grid.nbits = format.nbits;
    return std::make_shared<scalar::ScalarWeight>(scalar::rtn(weight, format.group_size, grid), "rtn");
  }

  ScalarFormats formats_;
  scalar::GridOptions grid_;
};

}  // namespace

void register_rtn(MethodRegistry& registry) {
  registry.add("rtn", "round-to-nearest, no calibration",
               [](config::Reader& root) { return std::make_unique<Rtn>(root); });
}

}  // namespace aqlm_exp::method
