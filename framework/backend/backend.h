// Backends: how the product of a quantised weight and activations is computed when a model runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::backend {

/// What an operation will be used for.
struct Target {
  at::ScalarType dtype = at::kFloat;  ///< of the activations: kFloat; on CUDA also kHalf and kBFloat16
  int64_t batch = 1;                  ///< tokens of a decoding step: what `auto` measures
  int64_t model_bytes = 0;            ///< of all weights that run between two calls of one operation; 0: unknown
};

/// One linear layer, ready to run. Calls are ordered by the device's current stream, never synchronise, and may be
/// captured in a CUDA graph.
class LinearOp {
 public:
  virtual ~LinearOp() = default;
  /// @param x [..., in_features] float32, float16 or bfloat16 on the weight's device, any number of tokens
  /// @return [..., out_features] in x's dtype
  virtual at::Tensor forward(const at::Tensor& x) const = 0;
  /// Bytes held for this layer while the model runs, weights only.
  virtual int64_t resident_bytes() const = 0;
  /// Name of what computes it at a few tokens: "dense", "cpu_lut_avx2", "cuda_lookup", ...
  virtual std::string kernel() const = 0;
  /// The same for `tokens` at once: long prompts often take another way.
  virtual std::string kernel_for(int64_t) const { return kernel(); }
  /// True if the operation holds all it needs, so that the quant::Weight it was made from may go.
  virtual bool is_self_contained() const { return false; }
};

/// Linears that read the same x (q/k/v, gate/up), ready to run together.
class GroupOp {
 public:
  virtual ~GroupOp() = default;
  /// @return one output a linear, each as LinearOp::forward would give it
  virtual std::vector<at::Tensor> forward(const at::Tensor& x) const = 0;
  virtual std::string kernel_for(int64_t tokens) const = 0;
  /// The operations it stands for, in order.
  virtual const std::vector<std::shared_ptr<const LinearOp>>& ops() const = 0;
};

/// One kernel that was looked at for one shape of layer.
struct Candidate {
  std::string name;      ///< backend and kernel: "cpu_lut/cpu_lut_avx2"
  std::string verdict;   ///< "chosen", "slower", "inexact", "for comparison", or why it cannot run
  double time_us = 0;    ///< median; 0: not run
  double spread = 0;     ///< (largest - smallest) / median
  double rel_error = 0;  ///< |y - exact| / |exact|, float64 reference; 0: not run
  int64_t resident_bytes = 0;
};
/// How a backend that measures has decided for one shape of layer.
struct Choice {
  std::string format;  ///< quant::Weight::format()
  int64_t out_features = 0, in_features = 0, batch = 1, num_layers = 0;
  std::string dtype;
  double tolerance = 0;  ///< largest rel_error that was accepted
  std::vector<Candidate> candidates;
};

class Backend {
 public:
  virtual ~Backend() = default;
  /// Empty if this backend can run the weight; otherwise why not and what to use instead.
  virtual std::string refusal(const quant::Weight& weight) const = 0;
  /// The same from what is known before a weight exists: the scheme that a method will make, and the device. Asked
  /// before a model is loaded.
  virtual std::string refusal(const quant::Scheme& scheme, at::Device device) const = 0;
  /// @param bias [out_features] floating point, or undefined
  /// @throws ConfigError with refusal()'s text where that is not empty
  virtual std::unique_ptr<LinearOp> prepare(std::shared_ptr<const quant::Weight> weight, const at::Tensor& bias,
                                            const Target& target = {}) const = 0;
  /// Linears that get the same x as one operation; this one calls them one after the other.
  /// @param ops at least one, made by this backend's prepare()
  virtual std::unique_ptr<GroupOp> prepare_group(std::vector<std::shared_ptr<const LinearOp>> ops) const;
  /// What was measured, for backends that measure.
  virtual std::vector<Choice> choices() const { return {}; }
};

using BackendRegistry = config::Registry<Backend>;

void register_auto(BackendRegistry& registry);
void register_cpu(BackendRegistry& registry);
void register_cuda(BackendRegistry& registry);
void register_dense(BackendRegistry& registry);
void register_dequantise(BackendRegistry& registry);
void register_reference(BackendRegistry& registry);
void register_llm_int8(BackendRegistry& registry);

/// Every built-in backend.
const BackendRegistry& backends();

}  // namespace aqlm_exp::backend
