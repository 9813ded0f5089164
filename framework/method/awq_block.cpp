#include "framework/method/awq_block.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/method/block_loop.h"
#include "framework/quant/layer_problem.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;

model::Linear& linear_of(model::DecoderBlock& block, const std::string& role) {
  for (model::Linear* linear : block.linears()) {
    if (linear->role == role) return *linear;
  }
  throw InternalError("[awq] block " + block.name + " has no linear " + role);
}

/// Divides a norm or bias, and rounds it to the float16 in which it is stored.
at::Tensor divided(const at::Tensor& values, const at::Tensor& scales, const std::string& where) {
  const at::Tensor stored = (values / scales).to(at::kHalf);
  if (!at::isfinite(stored).all().item<bool>()) {
    throw NumericalError(
        fmt::format("[awq] {}: folding the scales in gives values beyond float16 (65504); try "
                    "method.duo_scaling the other way round, or leave the block's linears out",
                    where));
  }
  return stored.to(at::kFloat);
}

}  // namespace

BlockInputs awq_inputs(const model::DecoderBlock& block, const model::RotaryEmbedding& rotary, const at::Tensor& inputs,
                       const BlockStatistics& statistics) {
  const c10::NoGradGuard no_grad;
  BlockInputs result;
  for (const auto& stage : const_cast<model::DecoderBlock&>(block).stages()) {
    const std::string& role = stage.front()->role;
    result.stages.push_back({statistics.mean_abs.at(role), statistics.xtx.at(role), statistics.sample.at(role)});
  }
  result.mlp = at::empty_like(inputs);
  const int64_t step = std::max<int64_t>(1, kTokensAtATime / inputs.size(1));
  for (int64_t start = 0; start < inputs.size(0); start += step) {
    const int64_t end = std::min(inputs.size(0), start + step);
    const at::Tensor x = inputs.slice(0, start, end);
    result.mlp.slice(0, start, end).copy_(block.mlp_input(x, rotary));
  }
  return result;
}

scalar::OutputError module_error(const model::DecoderBlock& block, const std::vector<std::string>& roles,
                                 const at::Tensor& inputs, const RunModule& run) {
  const int64_t step = std::max<int64_t>(1, kTokensAtATime / inputs.size(1));
  std::vector<at::Tensor> originals;  // of each chunk of samples
  {
    const c10::NoGradGuard no_grad;
    for (int64_t start = 0; start < inputs.size(0); start += step) {
      originals.push_back(run(block, inputs.slice(0, start, std::min(inputs.size(0), start + step))));
    }
  }
  return [=](const std::vector<at::Tensor>& trial) {
    const c10::NoGradGuard no_grad;
    model::DecoderBlock changed = block;
    for (size_t i = 0; i < roles.size(); ++i) {
      linear_of(changed, roles[i]).weight = std::make_shared<quant::DenseWeight>(trial[i]);
    }
    double sum = 0;
    int64_t count = 0;
    for (size_t chunk = 0; chunk < originals.size(); ++chunk) {
      const int64_t start = static_cast<int64_t>(chunk) * step;
      const at::Tensor output = run(changed, inputs.slice(0, start, std::min(inputs.size(0), start + step)));
      sum += (originals[chunk] - output).square_().sum(at::kDouble).item<double>();
      count += output.numel();
    }
    return sum / static_cast<double>(count);
  };
}

scalar::OutputError linear_error(const at::Tensor& weight, const at::Tensor& xtx) {
  return [=](const std::vector<at::Tensor>& trial) {
    return quant::output_error(trial.at(0), weight, xtx) / static_cast<double>(weight.size(0));
  };
}

bool can_scale_attention_output(const model::DecoderBlock& block) {
  return block.shape.num_heads == block.shape.num_kv_heads;
}

void fold_scales(model::DecoderBlock& block, RoleWeights& weights, int64_t stage, const at::Tensor& scales) {
  const c10::NoGradGuard no_grad;
  // The last rows of a linear: all of v_proj or up_proj, the v or up part of a fused projection.
  const auto divide_rows = [&](const std::string& role) {
    const int64_t first = weights.at(role).size(0) - scales.size(0);
    at::Tensor divisors = at::ones({weights.at(role).size(0)}, scales.options());
    divisors.slice(0, first).copy_(scales);
    weights.at(role) = weights.at(role) / divisors.unsqueeze(1);
    model::Linear& linear = linear_of(block, role);
    if (linear.bias.defined()) linear.bias = divided(linear.bias, divisors, linear.name + ".bias");
  };
  const bool fused = block.has_fused_projections();
  if (stage == 0) {
    block.input_norm = divided(block.input_norm, scales, block.name + ".input_layernorm");
  } else if (stage == 1) {
    divide_rows(fused ? block.qkv_proj.role : block.v_proj.role);
  } else if (stage == 2) {
    block.mlp_norm() = divided(block.mlp_norm(), scales, block.name + ": the norm before the MLP");
  } else {
    divide_rows(fused ? block.gate_up_proj.role : block.up_proj.role);
  }
  const auto linears = block.stages()[static_cast<size_t>(stage)];
  for (const model::Linear* linear : linears) {
    weights.at(linear->role) = weights.at(linear->role) * scales;
  }
}

}  // namespace aqlm_exp::method
