#include "tests/framework/support/layers.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "framework/base/rng.h"

namespace aqlm_exp::test {

at::Tensor gaussian(std::vector<int64_t> sizes, uint64_t seed) {
  Rng rng(seed);
  at::Tensor out = at::empty(sizes, at::kFloat);
  float* data = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) data[i] = static_cast<float>(rng.normal());
  return out;
}

quant::LayerProblem correlated_layer(int64_t out_features, int64_t in_features, uint64_t seed) {
  const int64_t num_tokens = 4 * in_features;
  const at::Tensor basis = gaussian({in_features, in_features}, seed + 1);
  const at::Tensor spectrum = at::arange(1, in_features + 1, at::kFloat).rsqrt().unsqueeze(0);
  const at::Tensor x = at::matmul(gaussian({num_tokens, in_features}, seed + 2) * spectrum, basis);
  return {.weight = gaussian({out_features, in_features}, seed),
          .xtx = at::matmul(x.t(), x).to(at::kDouble) / static_cast<double>(num_tokens),
          .name = "test layer"};
}

}  // namespace aqlm_exp::test
