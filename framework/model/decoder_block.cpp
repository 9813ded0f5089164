#include "framework/model/decoder_block.h"

#include <ATen/ATen.h>

#include <cmath>

#include "framework/model/attention.h"

namespace aqlm_exp::model {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor normed = wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  if (weight.scalar_type() == at::kFloat) return (normed * weight).to(x.scalar_type());
  return normed.to(x.scalar_type()) * weight;
}

at::Tensor DecoderBlock::attend_cached(const at::Tensor& normed, const RotaryEmbedding& rotary, LayerCache* cache,
                                       int64_t start) const {
  const int64_t batch = normed.size(0), tokens = normed.size(1);
  at::Tensor queries, keys, values;
  if (has_fused_projections()) {
    const auto parts = qkv_proj.forward(normed).split_with_sizes(
        {shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim},
        -1);
    queries = parts[0];
    keys = parts[1];
    values = parts[2];
  } else {
    queries = q_proj.forward(normed);
    keys = k_proj.forward(normed);
    values = v_proj.forward(normed);
  }
  const auto heads = [&](const at::Tensor& x, int64_t count, const at::Tensor& norm) {
    at::Tensor split = x.reshape({batch, tokens, count, shape.head_dim});
    if (norm.defined()) split = rms_norm(split, norm, shape.rms_norm_eps);
    return split.transpose(1, 2);  // [batch, count, tokens, head_dim]
  };
  queries = rotary.apply(heads(queries, shape.num_heads, q_norm), start);
  keys = rotary.apply(heads(keys, shape.num_kv_heads, k_norm), start);
  values = heads(values, shape.num_kv_heads, {});
  if (cache != nullptr) {
    const int64_t end = start + tokens;
    cache->keys.slice(2, start, end).copy_(keys);
    cache->values.slice(2, start, end).copy_(values);
    keys = cache->keys.slice(2, 0, end);
    values = cache->values.slice(2, 0, end);
  }
  const double scale =
      shape.attention_scale > 0 ? shape.attention_scale : 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  const at::Tensor mixed = attend(queries, keys, values, {scale, shape.window, shape.attention_softcap});
  return o_proj.forward(mixed.transpose(1, 2).reshape({batch, tokens, shape.num_heads * shape.head_dim}));
}

at::Tensor DecoderBlock::attention(const at::Tensor& normed, const RotaryEmbedding& rotary) const {
  return attend_cached(normed, rotary, nullptr, 0);
}

at::Tensor DecoderBlock::activate(const at::Tensor& x) const {
  switch (shape.activation) {
    case checkpoint::Activation::kGelu:
      return at::gelu(x);
    case checkpoint::Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    default:
      return at::silu(x);
  }
}

at::Tensor DecoderBlock::mlp(const at::Tensor& normed) const {
  if (!moe.empty()) return moe.forward(normed, [this](const at::Tensor& x) { return activate(x); });
  if (gate_up_proj.weight) {
    const auto halves = gate_up_proj.forward(normed).chunk(2, -1);
    return down_proj.forward(activate(halves[0]) * halves[1]);
  }
  return down_proj.forward(activate(gate_proj.forward(normed)) * up_proj.forward(normed));
}

at::Tensor DecoderBlock::run(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache* cache,
                             int64_t start) const {
  const auto norm = [this](const at::Tensor& x, const at::Tensor& weight) {
    return rms_norm(x, weight, shape.rms_norm_eps);
  };
  const bool sandwich = has_sandwich_norms();
  const at::Tensor attended = attend_cached(norm(hidden, input_norm), rotary, cache, start);
  const at::Tensor h = hidden + (sandwich ? norm(attended, post_attention_norm) : attended);
  const at::Tensor fed = mlp(norm(h, mlp_norm()));
  return h + (sandwich ? norm(fed, post_mlp_norm) : fed);
}

at::Tensor DecoderBlock::forward(const at::Tensor& hidden, const RotaryEmbedding& rotary) const {
  return run(hidden, rotary, nullptr, 0);
}

at::Tensor DecoderBlock::forward_cached(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache& cache,
                                        int64_t start) const {
  return run(hidden, rotary, &cache, start);
}

std::vector<Linear*> DecoderBlock::linears() {
  std::vector<Linear*> out;
  for (const auto& stage : stages()) out.insert(out.end(), stage.begin(), stage.end());
  return out;
}

std::vector<const Linear*> DecoderBlock::linears() const {
  const auto all = const_cast<DecoderBlock*>(this)->linears();
  return {all.begin(), all.end()};
}

std::vector<std::vector<Linear*>> DecoderBlock::stages() {
  std::vector<std::vector<Linear*>> out;
  if (has_fused_projections()) {
    out.push_back({&qkv_proj});
  } else {
    out.push_back({&q_proj, &k_proj, &v_proj});
  }
  out.push_back({&o_proj});
  const auto add = [&](Expert& expert) {
    out.push_back({&expert.gate_proj, &expert.up_proj});
    out.push_back({&expert.down_proj});
  };
  if (!moe.empty()) {
    for (Expert& expert : moe.experts) add(expert);
    if (moe.shared) add(*moe.shared);
    return out;
  }
  if (gate_up_proj.weight) {
    out.push_back({&gate_up_proj});
  } else {
    out.push_back({&gate_proj, &up_proj});
  }
  out.push_back({&down_proj});
  return out;
}

std::vector<at::Tensor*> DecoderBlock::dense_tensors() {
  std::vector<at::Tensor*> out;
  for (at::Tensor* tensor : {&input_norm, &post_attention_norm, &pre_mlp_norm, &post_mlp_norm, &q_norm, &k_norm,
                             &moe.router, &moe.shared_gate}) {
    if (tensor->defined()) out.push_back(tensor);
  }
  for (Linear* linear : linears()) {
    if (linear->bias.defined()) out.push_back(&linear->bias);
  }
  return out;
}

std::vector<const at::Tensor*> DecoderBlock::dense_tensors() const {
  const auto all = const_cast<DecoderBlock*>(this)->dense_tensors();
  return {all.begin(), all.end()};
}

std::vector<at::Tensor> DecoderBlock::dense_parameters() {
  std::vector<at::Tensor> out;
  for (at::Tensor* tensor : dense_tensors()) {
    if (tensor != &moe.router) out.push_back(*tensor);
  }
  return out;
}

}  // namespace aqlm_exp::model
