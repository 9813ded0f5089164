#include "framework/model/rotary.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::model {

RotaryEmbedding::RotaryEmbedding(int64_t head_dim, double theta, int64_t num_positions, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const at::Tensor exponents = at::arange(0, head_dim, 2, options) / static_cast<double>(head_dim);  // [head_dim / 2]
  const at::Tensor inverse_frequencies = at::pow(theta, exponents).reciprocal();
  const at::Tensor angles = at::outer(at::arange(num_positions, options), inverse_frequencies);
  const at::Tensor doubled = at::cat({angles, angles}, 1);  // [num_positions, head_dim]
  cos_ = doubled.cos().to(device);
  sin_ = doubled.sin().to(device);
}

at::Tensor RotaryEmbedding::apply(const at::Tensor& x, int64_t start) const {
  const int64_t end = start + x.size(2);
  if (end > num_positions()) {
    throw DataError(fmt::format("[rotary] position {}: the model has {} positions; use shorter sequences", end - 1,
                                num_positions()));
  }
  const auto halves = x.chunk(2, -1);
  const at::Tensor rotated = at::cat({-halves[1], halves[0]}, -1);
  return x * cos_.slice(0, start, end) + rotated * sin_.slice(0, start, end);
}

}  // namespace aqlm_exp::model
