// The backends that run every weight: `dense` dequantises once at load, `dequantise` in each call, `reference` in each
// call with float64 sums. The last one defines the answer for all others.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "framework/backend/backend.h"
#include "framework/base/error.h"

namespace aqlm_exp::backend {
namespace {

using WeightPtr = std::shared_ptr<const quant::Weight>;

class DenseOp final : public LinearOp {
 public:
  DenseOp(const WeightPtr& weight, at::Tensor bias) : bias_(std::move(bias)) {
    const c10::NoGradGuard no_grad;
    matrix_ = weight->dequantise().detach();
  }
  at::Tensor forward(const at::Tensor& x) const override { return at::linear(x, matrix_, bias_); }
  int64_t resident_bytes() const override { return static_cast<int64_t>(matrix_.nbytes()); }
  std::string kernel() const override { return "dense"; }

 private:
  at::Tensor matrix_;  // [out_features, in_features]
  at::Tensor bias_;
};

class DequantiseOp final : public LinearOp {
 public:
  DequantiseOp(WeightPtr weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}
  at::Tensor forward(const at::Tensor& x) const override { return at::linear(x, weight_->dequantise(), bias_); }
  int64_t resident_bytes() const override { return (weight_->bits().total_bits() + 7) / 8; }
  std::string kernel() const override { return "dequantise"; }

 private:
  WeightPtr weight_;
  at::Tensor bias_;
};

class ReferenceOp final : public LinearOp {
 public:
  ReferenceOp(WeightPtr weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}
  at::Tensor forward(const at::Tensor& x) const override {
    at::Tensor y = at::matmul(x.to(at::kDouble), weight_->dequantise().to(at::kDouble).t());
    if (bias_.defined()) y = y + bias_;
    return y.to(x.scalar_type());
  }
  int64_t resident_bytes() const override { return (weight_->bits().total_bits() + 7) / 8; }
  std::string kernel() const override { return "reference"; }

 private:
  WeightPtr weight_;
  at::Tensor bias_;
};

template <typename Op>
class PlainBackend final : public Backend {
 public:
  std::string refusal(const quant::Weight& weight) const override {
    if (weight.needed_backend().empty()) return {};
    return fmt::format("\"{}\" quantises activations as well; use backend.type: {}", weight.format(),
                       weight.needed_backend());
  }
  std::unique_ptr<LinearOp> prepare(WeightPtr weight, const at::Tensor& bias) const override {
    if (const std::string reason = refusal(*weight); !reason.empty()) throw ConfigError(reason);
    return std::make_unique<Op>(std::move(weight), bias);
  }
};

}  // namespace

void register_dense(BackendRegistry& registry) {
  registry.add("dense", "dequantise once at load, then the library's matrix product",
               [](config::Reader&) { return std::make_unique<PlainBackend<DenseOp>>(); });
}
void register_dequantise(BackendRegistry& registry) {
  registry.add("dequantise", "dequantise in every call: small in memory, slow",
               [](config::Reader&) { return std::make_unique<PlainBackend<DequantiseOp>>(); });
}
void register_reference(BackendRegistry& registry) {
  registry.add("reference", "dequantise in every call, float64 sums: defines the answer",
               [](config::Reader&) { return std::make_unique<PlainBackend<ReferenceOp>>(); });
}

}  // namespace aqlm_exp::backend
