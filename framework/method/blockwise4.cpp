// NF4 and FP4 on every linear, as bitsandbytes stores them; no calibration. See scalar/blockwise4.h.
#include "framework/scalar/blockwise4.h"

#include <ATen/ATen.h>

#include "framework/base/log.h"
#include "framework/method/method.h"
#include "framework/method/scalar_format.h"

namespace aqlm_exp::method {
namespace {

class Blockwise4 final : public Method {
 public:
  Blockwise4(config::Reader& root, scalar::Table4 table)
      : formats_(root, {.min_nbits = 4, .max_nbits = 4, .group_size = 64, .min_group_size = 32}), table_(table) {
    double_quant_ = root.section("method").flag(
        "double_quant", {.fallback = false, .doc = "block maxima in 8 bits (compress_statistics)"});
  }

  std::string setting() const override { return formats_.str() + (double_quant_ ? " dq" : ""); }
  bool needs_calibration() const override { return false; }
  std::vector<quant::Scheme> schemes() const override { return formats_.schemes(quant::Scheme::Kind::kTable4); }

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
    return std::make_shared<scalar::Blockwise4Weight>(
        weight,
        scalar::Blockwise4Options{.table = table_, .block_size = format.group_size, .double_quantise = double_quant_});
  }

  ScalarFormats formats_;
  scalar::Table4 table_;
  bool double_quant_ = false;
};

}  // namespace

void register_nf4(MethodRegistry& registry) {
  registry.add("nf4", "4-bit normal-float table, arXiv:2305.14314, no calibration",
               [](config::Reader& root) { return std::make_unique<Blockwise4>(root, scalar::Table4::kNf4); });
}

void register_fp4(MethodRegistry& registry) {
  registry.add("fp4", "4-bit floating point as in bitsandbytes, no calibration",
               [](config::Reader& root) { return std::make_unique<Blockwise4>(root, scalar::Table4::kFp4); });
}

}  // namespace aqlm_exp::method
