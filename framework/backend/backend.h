// Backends: how the product of a quantised weight and activations is computed when a model runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::backend {

/// One linear layer, ready to run.
class LinearOp {
 public:
  virtual ~LinearOp() = default;
  /// @param x [..., in_features] float32 on the weight's device
  /// @return [..., out_features] float32
  virtual at::Tensor forward(const at::Tensor& x) const = 0;
  /// Bytes held for this layer while the model runs, weights only.
  virtual int64_t resident_bytes() const = 0;
  /// Name of what computes it: "dense", "aqlm_matvec_cpu_avx2", ...
  virtual std::string kernel() const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  /// Empty if this backend can run the weight; otherwise why not and what to use instead.
  virtual std::string refusal(const quant::Weight& weight) const = 0;
  /// @param bias [out_features] float32, or undefined
  /// @throws ConfigError with refusal()'s text where that is not empty
  virtual std::unique_ptr<LinearOp> prepare(std::shared_ptr<const quant::Weight> weight,
                                            const at::Tensor& bias) const = 0;
};

using BackendRegistry = config::Registry<Backend>;

void register_dense(BackendRegistry& registry);
void register_dequantise(BackendRegistry& registry);
void register_reference(BackendRegistry& registry);
void register_llm_int8(BackendRegistry& registry);

/// Every built-in backend.
const BackendRegistry& backends();

}  // namespace aqlm_exp::backend
