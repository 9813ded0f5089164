#include "framework/backend/flat_op.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::backend {
namespace {

class LoopGroup final : public GroupOp {
 public:
  explicit LoopGroup(std::vector<std::shared_ptr<const LinearOp>> ops) : ops_(std::move(ops)) {}
  std::vector<at::Tensor> forward(const at::Tensor& x) const override {
    std::vector<at::Tensor> out;
    for (const auto& op : ops_) out.push_back(op->forward(x));
    return out;
  }
  std::string kernel_for(int64_t tokens) const override { return ops_.front()->kernel_for(tokens); }
  const std::vector<std::shared_ptr<const LinearOp>>& ops() const override { return ops_; }

 private:
  std::vector<std::shared_ptr<const LinearOp>> ops_;
};

}  // namespace

std::unique_ptr<GroupOp> Backend::prepare_group(std::vector<std::shared_ptr<const LinearOp>> ops) const {
  if (ops.empty()) throw InternalError("[backend] a group without linears");
  return std::make_unique<LoopGroup>(std::move(ops));
}

at::Tensor FlatOp::flatten(const at::Tensor& x) const {
  if (x.dim() < 1 || x.size(-1) != in_features_ || x.device() != device_) {
    throw DataError(fmt::format("[backend] {}: got x with {} columns on {}, need {} on {}", kernel(),
                                x.dim() < 1 ? 0 : x.size(-1), x.device().str(), in_features_, device_.str()));
  }
  at::Tensor flat = x.reshape({-1, in_features_}).to(kernel_dtype_).contiguous();  // [tokens, in_features]
  // A slice may start anywhere; kernels load 16 bytes at a time.
  if (reinterpret_cast<uintptr_t>(flat.const_data_ptr()) % 16 != 0) flat = flat.clone();
  return flat;
}

at::Tensor FlatOp::unflatten(const at::Tensor& y, const at::Tensor& x) const {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = out_features_;
  return y.to(x.scalar_type()).view(shape);
}

at::Tensor FlatOp::forward(const at::Tensor& x) const {
  const c10::NoGradGuard no_grad;
  const c10::DeviceGuard guard(device_);
  const at::Tensor flat = flatten(x);
  at::Tensor y = at::empty({flat.size(0), out_features_}, flat.options());
  if (flat.size(0) > 0) run(flat, y);
  return unflatten(y, x);
}

DenseOp::DenseOp(const quant::Weight& weight, const at::Tensor& bias, at::ScalarType dtype) {
  const c10::NoGradGuard no_grad;
  matrix_ = weight.dequantise().detach();
  if (weight.is_quantised()) matrix_ = matrix_.to(dtype);  // a dense weight has the dtype that it was loaded in
  if (bias.defined()) bias_ = bias.detach().to(matrix_.scalar_type());
}

at::Tensor DenseOp::forward(const at::Tensor& x) const {
  if (x.scalar_type() == matrix_.scalar_type()) return at::linear(x, matrix_, bias_);
  return at::linear(x.to(matrix_.scalar_type()), matrix_, bias_).to(x.scalar_type());
}

}  // namespace aqlm_exp::backend
