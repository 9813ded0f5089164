// Codebook initialisers: the first codes and codebooks of an additive code.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/rng.h"
#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "framework/quant/additive_weight.h"

namespace aqlm_exp::codebook {

/// How much errors count, for initialisers that ask; an undefined member counts all alike.
struct Weighting {
  at::Tensor metric;   ///< [num_in_groups, in_group_size, in_group_size] float32: the diagonal blocks of xtx
  at::Tensor weights;  ///< [num_out_groups] float32: squared scales
};

class Initialiser {
 public:
  virtual ~Initialiser() = default;
  /// @param groups [num_out_groups, num_in_groups, group_size] float32, scales already divided out
  /// @return codes and codebooks; with fewer groups than codewords the surplus codewords are zero
  /// @throws DataError if groups have another size than spec.group_size(), or hold NaN or infinite values
  virtual quant::AdditiveCode initialise(const at::Tensor& groups, const Weighting& weighting,
                                         const quant::CodeSpec& spec, Rng& rng) const = 0;
};

using InitialiserRegistry = config::Registry<Initialiser>;

void register_residual_kmeans(InitialiserRegistry& registry);
void register_random(InitialiserRegistry& registry);

/// Every built-in initialiser.
const InitialiserRegistry& initialisers();

/// Shared checks of the inputs of initialise(). @throws DataError as documented there
void check_groups(const char* where, const at::Tensor& groups, const quant::CodeSpec& spec);

/// Row scales and the groups divided by them, as the reference does: s[o] = ‖all weights of output group o‖ + 1e-9.
/// Source: Vahe1994/AQLM, scale_nbits = 0.
struct ScaledGroups {
  at::Tensor groups;  ///< [num_out_groups, num_in_groups, group_size] float32
  at::Tensor scales;  ///< [num_out_groups, 1, 1, 1] float32
};
ScaledGroups divide_out_scales(const at::Tensor& weight, const quant::CodeSpec& spec);

/// The diagonal blocks of xtx: [num_in_groups, in_group_size, in_group_size] float32.
at::Tensor group_metric(const at::Tensor& xtx, int64_t in_group_size);

}  // namespace aqlm_exp::codebook
