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

std::vector<ScaleSet> scale_sets(model::DecoderBlock& block) {
  const auto stages = block.stages();
  const auto roles_of = [&](size_t stage) {
    std::vector<std::string> roles;
    for (const model::Linear* linear : stages[stage]) roles.push_back(linear->role);
    return roles;
  };
  using Before = ScaleSet::Before;
  const std::string values = block.has_fused_projections() ? block.qkv_proj.role : block.v_proj.role;
  std::vector<ScaleSet> sets = {{"q,k,v", roles_of(0), {0}, Before::kInputNorm, {}}};
  if (can_scale_attention_output(block)) sets.push_back({"o", roles_of(1), {1}, Before::kValues, values});
  ScaleSet mlp{"gate,up", {}, {}, Before::kMlpNorm, {}};
  std::vector<ScaleSet> downs;
  for (size_t stage = 2; stage + 1 < stages.size(); stage += 2) {
    const std::vector<std::string> roles = roles_of(stage);
    mlp.roles.insert(mlp.roles.end(), roles.begin(), roles.end());
    mlp.stages.push_back(stage);
    const std::string up = roles.back();  // of {gate, up}, or the fused projection
    const std::string owner = block.moe.empty() ? "" : up.substr(0, up.rfind('.')) + " ";
    downs.push_back({owner + "down", roles_of(stage + 1), {stage + 1}, Before::kUp, up});
  }
  sets.push_back(std::move(mlp));
  sets.insert(sets.end(), downs.begin(), downs.end());
  return sets;
}

BlockInputs awq_inputs(const model::DecoderBlock& block, const model::RotaryEmbedding& rotary, const at::Tensor& inputs,
                       const BlockStatistics& statistics, const ExpertCalibration& experts) {
  const c10::NoGradGuard no_grad;
  BlockInputs result;
  for (const auto& stage : const_cast<model::DecoderBlock&>(block).stages()) {
    const std::string& role = stage.front()->role;
    result.stages.push_back({statistics.mean_abs.at(role), statistics.xtx.at(role), statistics.sample.at(role),
                             statistics.num_tokens.at(role) >= tokens_needed(role, experts)});
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

void fold_scales(model::DecoderBlock& block, RoleWeights& weights, const ScaleSet& set, const at::Tensor& scales) {
  const c10::NoGradGuard no_grad;
  switch (set.before) {
    case ScaleSet::Before::kInputNorm:
      block.input_norm = divided(block.input_norm, scales, block.name + ".input_layernorm");
      break;
    case ScaleSet::Before::kMlpNorm:
      block.mlp_norm() = divided(block.mlp_norm(), scales, block.name + ": the norm before the MLP");
      for (at::Tensor* reader : {&block.moe.router, &block.moe.shared_gate}) {
        if (reader->defined()) *reader = divided(*reader, scales.reciprocal(), block.name + ": the router");
      }
      break;
    case ScaleSet::Before::kValues:
    case ScaleSet::Before::kUp: {
      // The last rows: all of v_proj or up_proj, the v or up part of a fused projection.
      at::Tensor& rows = weights.at(set.producer);
      at::Tensor divisors = at::ones({rows.size(0)}, scales.options());
      divisors.slice(0, rows.size(0) - scales.size(0)).copy_(scales);
      rows = rows / divisors.unsqueeze(1);
      model::Linear& linear = linear_of(block, set.producer);
      if (linear.bias.defined()) linear.bias = divided(linear.bias, divisors, linear.name + ".bias");
    }
  }
  for (const std::string& role : set.roles) weights.at(role) = weights.at(role) * scales;
}

}  // namespace aqlm_exp::method
