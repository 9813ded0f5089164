// Small layers that tests share.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "framework/config/node.h"
#include "framework/config/reader.h"
#include "framework/quant/layer_problem.h"

namespace aqlm_exp::test {

/// Standard normal numbers from the project's own generator: the same on every machine.
at::Tensor gaussian(std::vector<int64_t> sizes, uint64_t seed);

/// A layer with Gaussian weights and correlated inputs (power-law spectrum in a random basis).
quant::LayerProblem correlated_layer(int64_t out_features, int64_t in_features, uint64_t seed);

/// Builds a component from YAML-like JSON: build<Encoder>(encoders(), R"({"type":"beam_search"})").
template <typename Interface>
std::unique_ptr<Interface> build(const config::Registry<Interface>& registry, const std::string& json) {
  config::Node root = config::Node::map();
  root.map_value().set("c", config::from_json(json, "test"));
  config::Reader reader(root);
  return reader.component<Interface>("c", registry, "");
}

}  // namespace aqlm_exp::test
