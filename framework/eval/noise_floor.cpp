// Linears in bfloat16: what half precision alone does to a model's predictions.
#include <ATen/ATen.h>

#include "framework/backend/backend.h"
#include "framework/eval/evaluate.h"

namespace aqlm_exp::eval {
namespace {

at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kFloat); }

class Bf16Op final : public backend::LinearOp {
 public:
  Bf16Op(const quant::Weight& weight, const at::Tensor& bias) : matrix_(rounded(weight.dequantise().detach())) {
    if (bias.defined()) bias_ = rounded(bias);
  }
  at::Tensor forward(const at::Tensor& x) const override { return rounded(at::linear(rounded(x), matrix_, bias_)); }
  int64_t resident_bytes() const override { return static_cast<int64_t>(matrix_.nbytes()); }
  std::string kernel() const override { return "bf16 rounding"; }

 private:
  at::Tensor matrix_;  // [out_features, in_features] float32 holding bfloat16 values
  at::Tensor bias_;
};

}  // namespace

model::Model with_bf16_linears(const model::Model& model) {
  model::Model copy = model.clone();
  for (model::Linear* linear : copy.linears()) linear->op = std::make_shared<Bf16Op>(*linear->weight, linear->bias);
  return copy;
}

}  // namespace aqlm_exp::eval
