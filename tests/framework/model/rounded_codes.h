// Codes of scalar methods, rounded to nearest, for folders that tests write.
#pragma once

#include <functional>

#include "framework/scalar/grid.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::model {

using Make = std::function<scalar::ScalarCode(const at::Tensor& weight)>;

inline Make grid(int64_t nbits, int64_t group_size, bool symmetric = false,
                 scalar::GridKind kind = scalar::GridKind::kGptq) {
  return [=](const at::Tensor& weight) {
    scalar::GridOptions options;
    options.kind = kind;
    options.nbits = nbits;
    options.symmetric = symmetric;
    return scalar::rtn(weight, group_size, options);
  };
}

}  // namespace aqlm_exp::model
