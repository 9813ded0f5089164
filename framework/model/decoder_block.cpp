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

at::Tensor DecoderBlock::mix_cached(const at::Tensor& normed, const RotaryEmbedding& rotary, LayerCache* cache,
                                    const CachePlace& place) const {
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
    const std::vector<at::Tensor> parts = forward_together({&q_proj, &k_proj, &v_proj}, normed);
    queries = parts[0];
    keys = parts[1];
    values = parts[2];
  }
  const auto heads = [&](const at::Tensor& x, int64_t count, const at::Tensor& norm) {
    at::Tensor split = x.reshape({batch, tokens, count, shape.head_dim});
    if (norm.defined()) split = rms_norm(split, norm, shape.rms_norm_eps);
    return split.transpose(1, 2);  // [batch, count, tokens, head_dim]
  };
  queries = heads(queries, shape.num_heads, q_norm);
  keys = heads(keys, shape.num_kv_heads, k_norm);
  values = heads(values, shape.num_kv_heads, {});
  const int64_t end = place.start + tokens;
  const double scale =
      shape.attention_scale > 0 ? shape.attention_scale : 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  const AttentionRule rule{scale, shape.window, shape.attention_softcap};
  at::Tensor mixed;
  if (place.rows.defined()) {
    queries = rotary.apply_rows(queries, place.rows, end);
    keys = rotary.apply_rows(keys, place.rows, end);
    const std::vector<int64_t> size = {batch, shape.num_kv_heads, 1, shape.head_dim};
    const at::Tensor index = place.rows.view({batch, 1, 1, 1}).expand(size);
    cache->keys.scatter_(2, index, keys);
    cache->values.scatter_(2, index, values);
    mixed = attend_rows(queries, cache->keys, cache->values, place.rows, end, rule);
  } else {
    queries = rotary.apply(queries, place.start);
    keys = rotary.apply(keys, place.start);
    if (cache != nullptr) {
      cache->keys.slice(2, place.start, end).copy_(keys);
      cache->values.slice(2, place.start, end).copy_(values);
      keys = cache->keys.slice(2, 0, end);
      values = cache->values.slice(2, 0, end);
    }
    mixed = attend(queries, keys, values, rule);
  }
  return mixed.transpose(1, 2).reshape({batch, tokens, shape.num_heads * shape.head_dim});
}

at::Tensor DecoderBlock::attention(const at::Tensor& normed, const RotaryEmbedding& rotary) const {
  return o_proj.forward(mix(normed, rotary));
}

at::Tensor DecoderBlock::attention_normed(const at::Tensor& hidden) const {
  return rms_norm(hidden, input_norm, shape.rms_norm_eps);
}

at::Tensor DecoderBlock::mix(const at::Tensor& normed, const RotaryEmbedding& rotary) const {
  return mix_cached(normed, rotary, nullptr, {});
}

at::Tensor DecoderBlock::add_attention(const at::Tensor& hidden, const at::Tensor& mixed) const {
  const at::Tensor attended = o_proj.forward(mixed);
  return hidden + (has_sandwich_norms() ? rms_norm(attended, post_attention_norm, shape.rms_norm_eps) : attended);
}

at::Tensor DecoderBlock::mlp_normed(const at::Tensor& h) const { return rms_norm(h, mlp_norm(), shape.rms_norm_eps); }

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

at::Tensor DecoderBlock::gated(const at::Tensor& normed) const {
  if (gate_up_proj.weight) {
    const auto halves = gate_up_proj.forward(normed).chunk(2, -1);
    return activate(halves[0]) * halves[1];
  }
  const std::vector<at::Tensor> halves = forward_together({&gate_proj, &up_proj}, normed);
  return activate(halves[0]) * halves[1];
}

at::Tensor DecoderBlock::mlp(const at::Tensor& normed) const {
  if (!moe.empty()) return moe.forward(normed, [this](const at::Tensor& x) { return activate(x); });
  return down_proj.forward(gated(normed));
}

at::Tensor DecoderBlock::add_fed(const at::Tensor& h, const at::Tensor& fed) const {
  return h + (has_sandwich_norms() ? rms_norm(fed, post_mlp_norm, shape.rms_norm_eps) : fed);
}

at::Tensor DecoderBlock::add_mlp(const at::Tensor& h, const at::Tensor& gated) const {
  return add_fed(h, down_proj.forward(gated));
}

at::Tensor DecoderBlock::after_attention(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache* cache,
                                         const CachePlace& place) const {
  return add_attention(hidden, mix_cached(attention_normed(hidden), rotary, cache, place));
}

at::Tensor DecoderBlock::mlp_input(const at::Tensor& hidden, const RotaryEmbedding& rotary) const {
  return mlp_normed(after_attention(hidden, rotary, nullptr, {}));
}

at::Tensor DecoderBlock::run(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache* cache,
                             const CachePlace& place) const {
  const at::Tensor h = after_attention(hidden, rotary, cache, place);
  return add_fed(h, mlp(mlp_normed(h)));
}

at::Tensor DecoderBlock::forward(const at::Tensor& hidden, const RotaryEmbedding& rotary) const {
  return run(hidden, rotary, nullptr, {});
}

at::Tensor DecoderBlock::forward_cached(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache& cache,
                                        const CachePlace& place) const {
  return run(hidden, rotary, &cache, place);
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
