#include "framework/model/decoder_block.h"

#include <ATen/ATen.h>

namespace aqlm_exp::model {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps) * weight;
}

at::Tensor DecoderBlock::attend(const at::Tensor& normed, const RotaryEmbedding& rotary, LayerCache* cache,
                                int64_t start) const {
  const int64_t batch = normed.size(0), tokens = normed.size(1);
  const std::vector<at::Tensor> projected = forward_together({&q_proj, &k_proj, &v_proj}, normed);
  const auto heads = [&](const at::Tensor& flat, int64_t count) {
    return flat.view({batch, tokens, count, shape.head_dim}).transpose(1, 2);  // [B, heads, T, d]
  };
  const at::Tensor queries = rotary.apply(heads(projected[0], shape.num_heads), start);
  at::Tensor keys = rotary.apply(heads(projected[1], shape.num_kv_heads), start);
  at::Tensor values = heads(projected[2], shape.num_kv_heads);
  if (cache != nullptr) {
    const int64_t end = start + tokens;
    cache->keys.slice(2, start, end).copy_(keys);
    cache->values.slice(2, start, end).copy_(values);
    keys = cache->keys.slice(2, 0, end);
    values = cache->values.slice(2, 0, end);
  }
  if (shape.num_kv_heads != shape.num_heads) {
    const int64_t repeats = shape.num_heads / shape.num_kv_heads;
    keys = keys.repeat_interleave(repeats, 1);
    values = values.repeat_interleave(repeats, 1);
  }
  at::Tensor mask;
  bool causal = tokens > 1;
  if (tokens > 1 && start > 0) {  // a chunk after a prefix: token t sees start + t + 1 keys
    mask = at::ones({tokens, start + tokens}, queries.options().dtype(at::kBool)).tril(start);
    causal = false;
  }
  const at::Tensor mixed = at::scaled_dot_product_attention(
      queries, keys, values, mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt, /*dropout_p=*/0.0,
      causal);
  return o_proj.forward(mixed.transpose(1, 2).reshape({batch, tokens, shape.num_heads * shape.head_dim}));
}

at::Tensor DecoderBlock::attention(const at::Tensor& normed, const RotaryEmbedding& rotary) const {
  return attend(normed, rotary, nullptr, 0);
}

at::Tensor DecoderBlock::mlp(const at::Tensor& normed) const {
  const std::vector<at::Tensor> projected = forward_together({&gate_proj, &up_proj}, normed);
  return down_proj.forward(at::silu(projected[0]) * projected[1]);
}

at::Tensor DecoderBlock::forward(const at::Tensor& hidden, const RotaryEmbedding& rotary) const {
  const at::Tensor h = hidden + attention(rms_norm(hidden, input_norm, shape.rms_norm_eps), rotary);
  return h + mlp(rms_norm(h, post_attention_norm, shape.rms_norm_eps));
}

at::Tensor DecoderBlock::forward_cached(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache& cache,
                                        int64_t start) const {
  const at::Tensor h = hidden + attend(rms_norm(hidden, input_norm, shape.rms_norm_eps), rotary, &cache, start);
  return h + mlp(rms_norm(h, post_attention_norm, shape.rms_norm_eps));
}

std::vector<Linear*> DecoderBlock::linears() {
  return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
}

std::vector<const Linear*> DecoderBlock::linears() const {
  return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
}

std::vector<std::vector<Linear*>> DecoderBlock::stages() {
  return {{&q_proj, &k_proj, &v_proj}, {&o_proj}, {&gate_proj, &up_proj}, {&down_proj}};
}

std::vector<at::Tensor> DecoderBlock::dense_parameters() {
  std::vector<at::Tensor> out = {input_norm, post_attention_norm};
  for (const Linear* linear : linears()) {
    if (linear->bias.defined()) out.push_back(linear->bias);
  }
  return out;
}

}  // namespace aqlm_exp::model
