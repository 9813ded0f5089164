#include "framework/scalar/scalar_weight.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace aqlm_exp::scalar {

std::string ScalarWeight::format() const {
  return fmt::format("{} {} bits g{}", method_, code_.nbits, code_.group_size);
}

std::unique_ptr<quant::Weight> ScalarWeight::to(at::Device device) const {
  ScalarCode moved = code_;
  moved.codes = code_.codes.to(device);
  moved.scales = code_.scales.to(device);
  moved.zero_points = code_.zero_points.to(device);
  if (code_.g_idx.defined()) moved.g_idx = code_.g_idx.to(device);
  return std::make_unique<ScalarWeight>(std::move(moved), method_);
}

}  // namespace aqlm_exp::scalar
