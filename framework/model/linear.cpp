#include "framework/model/linear.h"

#include <ATen/ATen.h>

namespace aqlm_exp::model {

at::Tensor Linear::forward(const at::Tensor& x) const {
  if (observer) observer(x);
  if (op) return op->forward(x);
  return at::linear(x, weight->dequantise().to(x.scalar_type()), bias);
}

}  // namespace aqlm_exp::model
