#include "framework/scalar/int8.h"

#include <ATen/ATen.h>

#include "framework/scalar/scalar_code.h"

namespace aqlm_exp::scalar {
namespace {

constexpr double kTop = 127.0;
/// Up to this many products of two 8-bit numbers have a sum that float32 holds exactly: 2^24 / 127^2.
constexpr int64_t kExactInFloat = 1040;

at::Tensor rows_to_int8(const at::Tensor& x, const at::Tensor& row_maxima) {
  const at::Tensor factor = at::where(row_maxima > 0, kTop / row_maxima, at::zeros_like(row_maxima));
  return (x * factor.unsqueeze(1)).round_().to(at::kChar);
}

at::Tensor through_half(const at::Tensor& x) { return x.to(at::kHalf).to(at::kFloat); }

}  // namespace

Int8Weight::Int8Weight(const at::Tensor& weight) {
  check_weight(kInt8Backend, weight);
  const at::Tensor w = through_half(weight.detach());
  check_weight(kInt8Backend, w);  // nothing beyond float16
  row_maxima_ = w.abs().amax(1);
  codes_ = rows_to_int8(w, row_maxima_);
}

at::Tensor Int8Weight::dequantise() const { return codes_.to(at::kFloat) * (row_maxima_ / kTop).unsqueeze(1); }

quant::BitCount Int8Weight::bits() const {
  return {.num_weights = codes_.numel(), .code_bits = codes_.numel() * 8, .scale_bits = row_maxima_.numel() * 32};
}

std::unique_ptr<quant::Weight> Int8Weight::to(at::Device device) const {
  auto moved = std::make_unique<Int8Weight>(*this);
  moved->codes_ = codes_.to(device);
  moved->row_maxima_ = row_maxima_.to(device);
  return moved;
}

Int8Activations quantise_activations(const at::Tensor& x, double threshold) {
  Int8Activations result;
  at::Tensor inner = x;
  at::Tensor is_outlier_column = at::zeros({x.size(1)}, x.options().dtype(at::kBool));
  if (threshold > 0) {
    const at::Tensor outliers = x.abs() >= threshold;
    is_outlier_column = outliers.any(0);
    inner = x.masked_fill(outliers, 0);
  }
  result.outlier_columns = is_outlier_column.nonzero().flatten();
  result.token_maxima = inner.abs().amax(1);
  result.codes = rows_to_int8(inner, result.token_maxima).masked_fill_(is_outlier_column.unsqueeze(0), 0);
  return result;
}

at::Tensor int8_linear(const Int8Weight& weight, const at::Tensor& x, double threshold) {
  const at::Tensor input = through_half(x);
  const Int8Activations activations = quantise_activations(input, threshold);
  const at::ScalarType exact = x.size(1) <= kExactInFloat ? at::kFloat : at::kDouble;
  const at::Tensor sums = activations.codes.to(exact).matmul(weight.codes().to(exact).t());  // whole numbers
  const at::Tensor scales = activations.token_maxima.unsqueeze(1) * weight.row_maxima().unsqueeze(0) / (kTop * kTop);
  at::Tensor output = (sums * scales).to(at::kFloat);
  const at::Tensor& columns = activations.outlier_columns;
  if (columns.numel() > 0) {
    const at::Tensor dense = through_half(weight.codes().index_select(1, columns).to(at::kFloat) *
                                          (weight.row_maxima() / kTop).unsqueeze(1));
    output.add_(input.index_select(1, columns).matmul(dense.t()));
  }
  return output;
}

}  // namespace aqlm_exp::scalar
