// Dense matrices that read the same input, stored as one, so that one product does for all of them.
#pragma once

#include <optional>

#include "framework/model/model.h"
#include "framework/quant/code_spec.h"

namespace aqlm_exp::model {

/// Stores q/k/v and gate/up of each block behind one another where they are dense, of one dtype and not one matrix
/// already; the linears become views of it. Their weights' values, names and bits stay. Operators that a backend
/// prepared before are dropped. Takes memory for one block more while it works.
void join_dense_projections(Model& model);

/// A model of a family's shape with random weights, for measurements: normal with the standard deviation that makes
/// activations keep their size, norms of one, biases of zero. Made on the device; projections are joined.
/// @param scheme the linears as additive codes drawn at random, in the place of dense matrices
/// @throws ConfigError for a mixture of experts; DataError where the groups of `scheme` do not tile a matrix
Model random_model(const checkpoint::ModelConfig& config, at::Device device, at::ScalarType dtype, uint64_t seed,
                   const std::optional<quant::CodeSpec>& scheme = {});

}  // namespace aqlm_exp::model
