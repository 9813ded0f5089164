#include "framework/method/method.h"

#include "framework/base/error.h"
#include "framework/quant/layer_problem.h"

namespace aqlm_exp::method {
namespace {

class NoMethod final : public Method {
 public:
  std::string setting() const override { return "unquantised"; }
  bool needs_calibration() const override { return false; }
  void quantise(model::Model&, const Calibration&, Context&) const override {}
};

}  // namespace

std::shared_ptr<quant::Weight> Method::quantise_layer(const quant::LayerProblem&, Context&) const {
  throw ConfigError("method: this one works on whole blocks, not on a single layer; use aqlm-exp run");
}

void register_none(MethodRegistry& registry) {
  registry.add("none", "the unquantised model, as every comparison needs it", [](config::Reader& in) {
    in.section("method");
    return std::make_unique<NoMethod>();
  });
}

void report_layer(Context& context, const model::Linear& linear, int64_t block, const at::Tensor& original,
                  const at::Tensor& xtx, double seconds) {
  const at::Tensor approximation = linear.weight->dequantise().detach();
  LayerReport report{.name = linear.name, .block = block, .role = linear.role, .metrics = {}};
  report.metrics["rel_weight_error"] = quant::relative_weight_error(approximation, original);
  if (xtx.defined()) report.metrics["rel_output_error"] = quant::relative_output_error(approximation, original, xtx);
  report.metrics["bits_per_weight"] = linear.weight->bits().per_weight();
  report.metrics["seconds"] = seconds;
  context.layers.push_back(std::move(report));
}

}  // namespace aqlm_exp::method
