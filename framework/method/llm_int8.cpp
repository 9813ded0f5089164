// LLM.int8(): every linear to 8-bit rows; no calibration. Activations are quantised when the model runs, by backend
// llm_int8.
#include <ATen/ATen.h>

#include "framework/base/log.h"
#include "framework/method/method.h"
#include "framework/method/scalar_format.h"
#include "framework/scalar/int8.h"

namespace aqlm_exp::method {
namespace {

class LlmInt8 final : public Method {
 public:
  explicit LlmInt8(config::Reader& root)
      : formats_(root, {.min_nbits = 8, .max_nbits = 8, .group_size = -1, .min_group_size = -1, .max_group_size = -1}) {
    root.section("method");
  }

  std::string setting() const override { return formats_.str(); }
  bool needs_calibration() const override { return false; }
  std::vector<quant::Scheme> schemes() const override { return formats_.schemes(quant::Scheme::Kind::kInt8); }

  void quantise(model::Model& model, const Calibration&, Context& context) const override {
    quantise_each_linear(model, formats_, context,
                         [&](const at::Tensor& original, const ScalarFormat&, auto&) -> std::shared_ptr<quant::Weight> {
                           return std::make_shared<scalar::Int8Weight>(original);
                         });
    context.notes.emplace_back(
        "activations are quantised too; which columns count as outliers depends on the tokens of each call");
  }

  std::shared_ptr<quant::Weight> quantise_layer(const quant::LayerProblem& problem, Context& context) const override {
    const StageTimes::Scope scope(context.times, "quantise");
    return std::make_shared<scalar::Int8Weight>(problem.weight);
  }

 private:
  ScalarFormats formats_;
};

}  // namespace

void register_llm_int8(MethodRegistry& registry) {
  registry.add("llm_int8", "8-bit weights and activations with float16 outliers, arXiv:2208.07339",
               [](config::Reader& root) { return std::make_unique<LlmInt8>(root); });
}

}  // namespace aqlm_exp::method
