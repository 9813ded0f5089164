// Block LDL factor of xtx in a visiting order: what error feedback needs to know of the layer's inputs.
// Source: LDLQ, QuIP, arXiv:2307.13304 §3; blocks as in QuIP#, arXiv:2402.04396 §4.1.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace aqlm_exp::encoder {

/// H in visiting order = V · blockdiag(M) · Vᵀ with V unit block upper triangular. So
/// tr(E H Eᵀ) = Σ_j ‖(E V)_j‖² in the metric M_j, and (E V)_j = E_j + Σ_{i<j} E_i V_ij: the j-th term can be made small
/// by E_j whatever the terms before it are.
struct BlockLdl {
  at::Tensor order;     ///< [num_in_groups] int64, on the CPU: order[v] is the group visited v-th
  at::Tensor columns;   ///< [in_features] int64, on xtx's device: columns in visiting order
  at::Tensor feedback;  ///< V, [in_features, in_features] float32, visiting order
  at::Tensor metric;    ///< M, [num_in_groups, in_group_size, in_group_size] float32, visiting order
  double extra_damping = 0.0;  ///< added to the diagonal, as a part of its mean, to make H positive definite
};

enum class GroupOrder { kDescending, kAscending, kNatural };

/// Groups by the trace of their diagonal block of xtx; equal ones in natural order. @return [num_in_groups] int64, CPU
at::Tensor group_order(const at::Tensor& xtx, int64_t in_group_size, GroupOrder how);

enum class OnNotPositiveDefinite { kError, kIncreaseDamping };

/// Factorises in float64.
/// @param xtx [in_features, in_features]
/// @throws NumericalError naming `name` if xtx is not positive definite and `policy` says so, or not even a damping of
///         its mean diagonal makes it so
BlockLdl block_ldl(const at::Tensor& xtx, int64_t in_group_size, GroupOrder how, OnNotPositiveDefinite policy,
                   const std::string& name);

}  // namespace aqlm_exp::encoder
