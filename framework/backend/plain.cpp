// The backends that run every weight: `dense` dequantises once at load, `dequantise` in each call, `reference` in each
// call with float64 sums. The last one defines the answer for all others.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/backend/backend.h"
#include "framework/backend/flat_op.h"
#include "framework/base/error.h"
#include "framework/scalar/int8.h"

namespace aqlm_exp::backend {
namespace {

using WeightPtr = std::shared_ptr<const quant::Weight>;

class DequantiseOp final : public LinearOp {
 public:
  DequantiseOp(WeightPtr weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}
  at::Tensor forward(const at::Tensor& x) const override {
    const at::Tensor bias = bias_.defined() ? bias_.to(x.scalar_type()) : bias_;
    return at::linear(x, weight_->dequantise().to(x.scalar_type()), bias);
  }
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

enum class Which { kDense, kDequantise, kReference };

class PlainBackend final : public Backend {
 public:
  explicit PlainBackend(Which which) : which_(which) {}
  std::string refusal(const quant::Weight& weight) const override {
    if (weight.needed_backend().empty()) return {};
    return fmt::format("\"{}\" quantises activations as well; use backend.type: {}", weight.format(),
                       weight.needed_backend());
  }
  std::string refusal(const quant::Scheme& scheme, at::Device) const override {
    if (scheme.kind != quant::Scheme::Kind::kInt8) return {};
    return fmt::format("\"{}\" quantises activations as well; use backend.type: {}", scheme.str(),
                       scalar::kInt8Backend);
  }
  std::unique_ptr<LinearOp> prepare(WeightPtr weight, const at::Tensor& bias, const Target& target) const override {
    if (const std::string reason = refusal(*weight); !reason.empty()) throw ConfigError(reason);
    if (which_ == Which::kDense) return std::make_unique<DenseOp>(*weight, bias, target.dtype);
    if (which_ == Which::kDequantise) return std::make_unique<DequantiseOp>(std::move(weight), bias);
    return std::make_unique<ReferenceOp>(std::move(weight), bias);
  }

 private:
  Which which_;
};

}  // namespace

void register_dense(BackendRegistry& registry) {
  registry.add("dense", "dequantise once at load, then the library's matrix product",
               [](config::Reader&) { return std::make_unique<PlainBackend>(Which::kDense); });
}
void register_dequantise(BackendRegistry& registry) {
  registry.add("dequantise", "dequantise in every call: small in memory, slow",
               [](config::Reader&) { return std::make_unique<PlainBackend>(Which::kDequantise); });
}
void register_reference(BackendRegistry& registry) {
  registry.add("reference", "dequantise in every call, float64 sums: defines the answer",
               [](config::Reader&) { return std::make_unique<PlainBackend>(Which::kReference); });
}

}  // namespace aqlm_exp::backend
