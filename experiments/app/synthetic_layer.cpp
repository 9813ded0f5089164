#include "experiments/app/synthetic_layer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "framework/base/error.h"
#include "framework/base/rng.h"

namespace aqlm_exp::app {
namespace {

at::Tensor gaussian(int64_t rows, int64_t columns, Rng rng, at::Device device) {
  at::Tensor out = at::empty({rows, columns}, at::kFloat);
  float* values = out.data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) values[i] = static_cast<float>(rng.normal());
  return out.to(device);
}

at::Tensor second_moments(const at::Tensor& root, int64_t num_tokens, const Rng& rng) {
  constexpr int64_t kTokensAtATime = 2048;
  at::Tensor sum = at::zeros({root.size(1), root.size(1)}, root.options().dtype(at::kDouble));
  for (int64_t start = 0; start < num_tokens; start += kTokensAtATime) {
    const int64_t count = std::min(kTokensAtATime, num_tokens - start);
    const at::Tensor x =
        at::matmul(gaussian(count, root.size(0), rng.fork(std::to_string(start)), root.device()), root);
    sum.add_(at::matmul(x.t(), x));
  }
  return sum / static_cast<double>(num_tokens);
}

}  // namespace

std::optional<SyntheticShape> parse_synthetic(const std::string& name) {
  if (!name.starts_with("synthetic:")) return std::nullopt;
  SyntheticShape shape;
  int used = 0;
  const char* text = name.c_str() + std::string("synthetic:").size();
  const int found =
      std::sscanf(text, "%ldx%ld%nx%ld%n", &shape.out_features, &shape.in_features, &used, &shape.num_tokens, &used);
  if (found < 2 || text[used] != '\0' || shape.out_features < 1 || shape.in_features < 1 || shape.num_tokens < 1) {
    throw ConfigError(fmt::format(
        "layer: got \"{}\", need synthetic:OUTxIN or synthetic:OUTxINxTOKENS; try synthetic:4096x4096", name));
  }
  return shape;
}

SyntheticLayer make_synthetic_layer(const SyntheticShape& shape, uint64_t seed, at::Device device) {
  const Rng root(seed);
  constexpr int64_t kDegrees = 5;
  at::Tensor chi = at::zeros({shape.out_features, shape.in_features}, device);
  for (int64_t i = 0; i < kDegrees; ++i) {
    chi.add_(gaussian(shape.out_features, shape.in_features, root.fork(fmt::format("chi {}", i)), device).square_());
  }
  at::Tensor weight = gaussian(shape.out_features, shape.in_features, root.fork("weight"), device);
  weight.div_(chi.div_(static_cast<double>(kDegrees)).sqrt_());
  weight.mul_(gaussian(shape.out_features, 1, root.fork("rows"), device).mul_(0.3).exp_());

  const at::Tensor basis = std::get<0>(
      at::linalg_qr(gaussian(shape.in_features, shape.in_features, root.fork("basis"), device)));  // [in, in]
  const at::Tensor spectrum = at::arange(1, shape.in_features + 1, basis.options()).rsqrt();  // standard deviations
  const at::Tensor inputs = spectrum.unsqueeze(1) * basis.t();  // x = z · this has variances 1/i along the basis
  std::vector<int64_t> channels = Rng(root.fork("outliers")).permutation(shape.in_features);
  channels.resize(static_cast<size_t>((shape.in_features + 99) / 100));
  at::Tensor factors = at::ones({shape.in_features}, basis.options());
  factors.index_fill_(0, at::tensor(channels, at::kLong).to(device), 10.0);
  inputs.mul_(factors);

  SyntheticLayer out;
  out.problem = {weight, second_moments(inputs, shape.num_tokens, root.fork("tokens")),
                 fmt::format("synthetic {}x{}", shape.out_features, shape.in_features)};
  out.fresh_xtx = second_moments(inputs, shape.num_tokens, root.fork("fresh tokens"));
  return out;
}

}  // namespace aqlm_exp::app
