// LLM.int8() at run time: 8-bit activations with float16 outlier columns, for weights that this method made. Other
// backends refuse such weights: with float activations the numbers would be another method's.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/backend/backend.h"
#include "framework/backend/flat_op.h"
#include "framework/base/error.h"
#include "framework/scalar/int8.h"

namespace aqlm_exp::backend {
namespace {

using WeightPtr = std::shared_ptr<const quant::Weight>;

class Int8Op final : public LinearOp {
 public:
  Int8Op(WeightPtr weight, at::Tensor bias, double threshold)
      : weight_(std::move(weight)), bias_(std::move(bias)), threshold_(threshold) {}
  at::Tensor forward(const at::Tensor& x) const override {
    const auto& weight = static_cast<const scalar::Int8Weight&>(*weight_);  // prepare() has looked
    at::Tensor y = scalar::int8_linear(weight, x.reshape({-1, x.size(-1)}).to(at::kFloat), threshold_);
    if (bias_.defined()) y = y + bias_;
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = weight.out_features();
    return y.reshape(shape).to(x.scalar_type());
  }
  int64_t resident_bytes() const override { return (weight_->bits().total_bits() + 7) / 8; }
  std::string kernel() const override { return "llm_int8"; }

 private:
  WeightPtr weight_;
  at::Tensor bias_;
  double threshold_;
};

class Int8Backend final : public Backend {
 public:
  explicit Int8Backend(double threshold) : threshold_(threshold) {}
  std::string refusal(const quant::Weight& weight) const override {
    if (!weight.is_quantised() || dynamic_cast<const scalar::Int8Weight*>(&weight) != nullptr) return {};
    return fmt::format("backend llm_int8 cannot run \"{}\", only weights of method llm_int8; use backend.type: dense",
                       weight.format());
  }
  std::string refusal(const quant::Scheme& scheme, at::Device) const override {
    using Kind = quant::Scheme::Kind;
    if (scheme.kind == Kind::kDense || scheme.kind == Kind::kInt8) return {};
    return fmt::format("backend llm_int8 cannot run \"{}\", only weights of method llm_int8; use backend.type: dense",
                       scheme.str());
  }
  std::unique_ptr<LinearOp> prepare(WeightPtr weight, const at::Tensor& bias, const Target& target) const override {
    if (const std::string reason = refusal(*weight); !reason.empty()) throw ConfigError(reason);
    if (!weight->is_quantised()) return std::make_unique<DenseOp>(*weight, bias, target.dtype);
    return std::make_unique<Int8Op>(std::move(weight), bias, threshold_);
  }

 private:
  double threshold_;
};

}  // namespace

void register_llm_int8(BackendRegistry& registry) {
  registry.add(
      "llm_int8", "8-bit activations and weights, outlier columns in float16, arXiv:2208.07339",
      [](config::Reader& in) {
        return std::make_unique<Int8Backend>(in.number(
            "threshold",
            {.fallback = 6.0, .min = 0.0, .doc = "a column with an activation this large is an outlier; 0: none"}));
      });
}

}  // namespace aqlm_exp::backend
