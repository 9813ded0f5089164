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

}  // namespace

at::Tensor attend(const at::Tensor& queries, at::Tensor keys, at::Tensor values, const AttentionRule& rule) {
  const int64_t tokens = queries.size(2), num_keys = keys.size(2);
  const int64_t window = rule.window >= num_keys ? 0 : rule.window;
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

}  // namespace aqlm_exp::model
