// Adam on leaf tensors, with AMSGrad. Sources: arXiv:1412.6980; AMSGrad, arXiv:1904.09237.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace aqlm_exp::tuner {

struct AdamOptions {
  double lr = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  bool amsgrad = false;
};

class Adam {
 public:
  /// @param parameters changed in place by step()
  Adam(std::vector<at::Tensor> parameters, AdamOptions options);
  /// One update with the given gradients (one a parameter; an undefined one leaves its parameter alone).
  void step(const std::vector<at::Tensor>& gradients);
  void set_lr(double lr) { options_.lr = lr; }

 private:
  std::vector<at::Tensor> parameters_, first_, second_, largest_;
  AdamOptions options_;
  int64_t num_steps_ = 0;
};

}  // namespace aqlm_exp::tuner
