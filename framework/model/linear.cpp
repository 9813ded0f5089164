#include "framework/model/linear.h"

#include <ATen/ATen.h>

#include "framework/backend/profile.h"

namespace aqlm_exp::model {
namespace {

int64_t tokens_of(const at::Tensor& x) { return x.size(-1) > 0 ? x.numel() / x.size(-1) : 0; }

/// True if the group stands for exactly what these linears run now.
bool is_current(const backend::GroupOp& group, const std::vector<const Linear*>& linears) {
  if (group.ops().size() != linears.size()) return false;
  for (size_t i = 0; i < linears.size(); ++i) {
    if (linears[i]->observer || group.ops()[i] != linears[i]->op) return false;
  }
  return true;
}

}  // namespace

at::Tensor Linear::forward(const at::Tensor& x) const {
  if (observer) observer(x);
  if (!op) return at::linear(x, weight->dequantise().to(x.scalar_type()), bias);
  backend::Profile* profile = backend::Profile::current();
  if (profile == nullptr) return op->forward(x);
  profile->begin();
  at::Tensor y = op->forward(x);
  profile->end(op->kernel_for(tokens_of(x)));
  return y;
}

std::vector<at::Tensor> forward_together(const std::vector<const Linear*>& linears, const at::Tensor& x) {
  std::vector<at::Tensor> out;
  const std::shared_ptr<const backend::GroupOp>& group = linears.front()->group;
  if (!group || !is_current(*group, linears)) {
    for (const Linear* linear : linears) out.push_back(linear->forward(x));
    return out;
  }
  backend::Profile* profile = backend::Profile::current();
  if (profile == nullptr) return group->forward(x);
  profile->begin();
  out = group->forward(x);
  profile->end(group->kernel_for(tokens_of(x)));
  return out;
}

}  // namespace aqlm_exp::model
