#include "framework/model/attention.h"

#include <ATen/ATen.h>

#include <limits>
#include <optional>

namespace aqlm_exp::model {
namespace {

/// Which keys each token sees: [tokens, keys] bool.
at::Tensor visible(int64_t tokens, int64_t keys, int64_t window, at::Device device) {
  const int64_t start = keys - tokens;
  at::Tensor mask = at::ones({tokens, keys}, at::TensorOptions().dtype(at::kBool).device(device)).tril(start);
  if (window > 0) mask = mask.triu(start - window + 1);
  return mask;
}

/// softmax(queries · keysᵀ) · values, the query heads of a key head folded into `tokens`, so that keys need no copies.
/// Scores of each query are its own: only the mask, [..., keys], must be the same for them.
at::Tensor attend_folded(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                         const at::Tensor& mask, const AttentionRule& rule) {
  const int64_t batch = queries.size(0), heads = queries.size(1), kv_heads = keys.size(1), dim = queries.size(3);
  const at::Tensor folded = queries.reshape({batch, kv_heads, heads / kv_heads, dim});
  at::Tensor mixed;
  if (rule.softcap == 0) {
    const auto bias = mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt;
    mixed = at::scaled_dot_product_attention(folded, keys, values, bias, /*dropout_p=*/0.0, /*is_causal=*/false,
                                             rule.scale);
  } else {
    at::Tensor scores = at::matmul(folded, keys.transpose(2, 3)) * rule.scale;
    scores = at::tanh(scores / rule.softcap) * rule.softcap;
    if (mask.defined()) scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
    mixed = at::matmul(at::softmax(scores, -1, at::kFloat).to(values.scalar_type()), values);
  }
  return mixed.reshape({batch, heads, 1, dim});
}

}  // namespace

at::Tensor attend(const at::Tensor& queries, at::Tensor keys, at::Tensor values, const AttentionRule& rule) {
  const int64_t tokens = queries.size(2), num_keys = keys.size(2);
  const int64_t window = rule.window >= num_keys ? 0 : rule.window;
  if (tokens == 1) {  // a decoding step: every key is seen, or the last ones
    const int64_t first = window > 0 ? num_keys - window : 0;
    return attend_folded(queries, keys.slice(2, first), values.slice(2, first), {}, rule);
  }
  if (keys.size(1) != queries.size(1)) {
    const int64_t repeats = queries.size(1) / keys.size(1);
    keys = keys.repeat_interleave(repeats, 1);
    values = values.repeat_interleave(repeats, 1);
  }
  const bool plainly_causal = tokens == num_keys && tokens > 1 && window == 0;
  std::optional<at::Tensor> mask;  // one token sees all keys: no mask, unless the window hides some
  if ((tokens > 1 && !plainly_causal) || window > 0) mask = visible(tokens, num_keys, window, queries.device());
  if (rule.softcap == 0) {
    return at::scaled_dot_product_attention(queries, keys, values, mask, /*dropout_p=*/0.0, plainly_causal, rule.scale);
  }
  if (plainly_causal) mask = visible(tokens, num_keys, 0, queries.device());
  at::Tensor scores = at::matmul(queries, keys.transpose(2, 3)) * rule.scale;  // [batch, heads, tokens, keys]
  scores = at::tanh(scores / rule.softcap) * rule.softcap;
  if (mask) scores = scores.masked_fill(mask->logical_not(), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(scores, -1, at::kFloat).to(values.scalar_type()), values);
}

at::Tensor attend_rows(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                       const at::Tensor& positions, int64_t length, const AttentionRule& rule) {
  const at::Tensor places = at::arange(length, positions.options());  // [length]
  at::Tensor mask = places.unsqueeze(0).le(positions.unsqueeze(1));   // [batch, length]
  if (rule.window > 0) mask = mask.logical_and(places.unsqueeze(0).gt(positions.unsqueeze(1) - rule.window));
  mask = mask.view({positions.size(0), 1, 1, length});
  return attend_folded(queries, keys.slice(2, 0, length), values.slice(2, 0, length), mask, rule);
}

}  // namespace aqlm_exp::model
