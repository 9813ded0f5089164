#include "framework/tuner/adam_state.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace aqlm_exp::tuner {

Adam::Adam(std::vector<at::Tensor> parameters, AdamOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const at::Tensor& parameter : parameters_) {
    first_.push_back(at::zeros_like(parameter, parameter.options().requires_grad(false)));
    second_.push_back(at::zeros_like(first_.back()));
    if (options_.amsgrad) largest_.push_back(at::zeros_like(first_.back()));
  }
}

void Adam::step(const std::vector<at::Tensor>& gradients) {
  const c10::NoGradGuard no_grad;
  ++num_steps_;
  const auto step = static_cast<double>(num_steps_);
  const double correction1 = 1.0 - std::pow(options_.beta1, step);
  const double correction2 = std::sqrt(1.0 - std::pow(options_.beta2, step));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& gradient = gradients[i];
    if (!gradient.defined()) continue;
    first_[i].mul_(options_.beta1).add_(gradient, 1.0 - options_.beta1);
    second_[i].mul_(options_.beta2).addcmul_(gradient, gradient, 1.0 - options_.beta2);
    at::Tensor denominator;
    if (options_.amsgrad) {
      at::maximum_out(largest_[i], largest_[i], second_[i]);
      denominator = largest_[i].sqrt();
    } else {
      denominator = second_[i].sqrt();
    }
    denominator.div_(correction2).add_(options_.eps);
    parameters_[i].addcdiv_(first_[i], denominator, -options_.lr / correction1);
  }
}

}  // namespace aqlm_exp::tuner
