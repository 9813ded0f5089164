#include "framework/model/model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/quant/released_weight.h"

namespace aqlm_exp::model {

at::Tensor Model::embed(const at::Tensor& ids) const {
  const at::Tensor rows = at::embedding(embedding, ids);
  if (config.embedding_scale == 1.0) return rows;
  // The factor is rounded to the model's dtype first, as the reference does: 55.4256 becomes 55.5 in bfloat16.
  return rows * at::scalar_tensor(config.embedding_scale, embedding.options());
}

at::Tensor Model::logits(const at::Tensor& hidden) const {
  const at::Tensor raw = at::linear(rms_norm(hidden, final_norm, config.rms_norm_eps), output).to(at::kFloat);
  return config.logit_softcap == 0 ? raw : at::tanh(raw / config.logit_softcap) * config.logit_softcap;
}

at::Tensor Model::forward(const at::Tensor& ids) const {
  at::Tensor hidden = embed(ids);
  for (const DecoderBlock& block : blocks) hidden = block.forward(hidden, *rotary);
  return logits(hidden);
}

KvCache Model::make_cache(int64_t batch, int64_t capacity) const {
  if (capacity > rotary->num_positions()) {
    throw DataError(
        fmt::format("[model] a cache of {} tokens: the model has {} positions", capacity, rotary->num_positions()));
  }
  KvCache cache;
  cache.capacity = capacity;
  for (const DecoderBlock& block : blocks) {
    cache.layers.push_back(
        make_layer_cache(batch, block.shape.num_kv_heads, capacity, block.shape.head_dim, embedding));
  }
  return cache;
}

at::Tensor Model::forward_cached(const at::Tensor& ids, KvCache& cache) const {
  const int64_t end = cache.num_tokens + ids.size(1);
  if (end > cache.capacity) {
    throw DataError(fmt::format("[model] {} tokens do not fit a cache of {}; shorten the prompt or the answer", end,
                                cache.capacity));
  }
  at::Tensor hidden = embed(ids);
  for (size_t i = 0; i < blocks.size(); ++i) {
    hidden = blocks[i].forward_cached(hidden, *rotary, cache.layers[i], {cache.num_tokens});
  }
  cache.num_tokens = end;
  return hidden;
}

at::Tensor Model::forward_rows(const at::Tensor& ids, KvCache& cache, const std::vector<int64_t>& lengths) const {
  const auto [least, most] = std::minmax_element(lengths.begin(), lengths.end());
  if (*most + 1 > cache.capacity) {
    throw DataError(fmt::format("[model] {} tokens do not fit a cache of {}; shorten the prompt or the answer",
                                *most + 1, cache.capacity));
  }
  CachePlace place{*most};
  if (*least != *most) place.rows = at::tensor(lengths, at::kLong).to(ids.device());
  at::Tensor hidden = embed(ids);
  for (size_t i = 0; i < blocks.size(); ++i) {
    hidden = blocks[i].forward_cached(hidden, *rotary, cache.layers[i], place);
  }
  return hidden;
}

std::vector<Linear*> Model::linears() {
  std::vector<Linear*> out;
  for (DecoderBlock& block : blocks) {
    for (Linear* linear : block.linears()) out.push_back(linear);
  }
  return out;
}

std::vector<const Linear*> Model::linears() const {
  std::vector<const Linear*> out;
  for (const DecoderBlock& block : blocks) {
    for (const Linear* linear : block.linears()) out.push_back(linear);
  }
  return out;
}

Model Model::clone() const {
  Model copy = *this;
  for (DecoderBlock& block : copy.blocks) {
    for (at::Tensor* tensor : block.dense_tensors()) *tensor = tensor->clone();
  }
  copy.final_norm = copy.final_norm.clone();
  return copy;
}

void Model::prepare(const backend::Backend& backend, int64_t batch) {
  const c10::NoGradGuard no_grad;
  backend::Target target{.dtype = embedding.scalar_type(), .batch = batch};
  for (const Linear* linear : linears()) target.model_bytes += linear->weight->bits().total_bits() / 8;
  for (DecoderBlock& block : blocks) {
    for (const std::vector<Linear*>& stage : block.stages()) {
      std::vector<std::shared_ptr<const backend::LinearOp>> ops;
      for (Linear* linear : stage) {
        if (const std::string reason = backend.refusal(*linear->weight); !reason.empty()) {
          throw ConfigError(fmt::format("backend: {}: {}", linear->name, reason));
        }
        linear->op = backend.prepare(linear->weight, linear->bias, target);
        linear->group.reset();
        ops.push_back(linear->op);
      }
      if (stage.size() > 1) stage.front()->group = backend.prepare_group(std::move(ops));
    }
  }
}

void Model::clear_ops() {
  for (Linear* linear : linears()) {
    linear->op.reset();
    linear->group.reset();
  }
}

void Model::release_weights() {
  for (Linear* linear : linears()) {
    if (linear->weight->is_quantised() && linear->op && linear->op->is_self_contained()) {
      linear->weight = std::make_shared<quant::ReleasedWeight>(*linear->weight);
    }
  }
}

int64_t Model::resident_bytes() const {
  int64_t bytes = static_cast<int64_t>(embedding.nbytes() + final_norm.nbytes());
  if (!output.is_same(embedding)) bytes += static_cast<int64_t>(output.nbytes());
  for (const DecoderBlock& block : blocks) {
    for (const at::Tensor* tensor : block.dense_tensors()) bytes += static_cast<int64_t>(tensor->nbytes());
    for (const Linear* linear : block.linears()) {
      bytes += linear->op ? linear->op->resident_bytes() : (linear->weight->bits().total_bits() + 7) / 8;
    }
  }
  return bytes;
}

quant::BitCount quantised_bits(const Model& model) {
  quant::BitCount sum;
  for (const Linear* linear : model.linears()) {
    if (linear->weight->is_quantised()) sum += linear->weight->bits();
  }
  return sum;
}

quant::BitCount model_bits(const Model& model) {
  constexpr int64_t kDenseBits = 16;  // every dense tensor is stored as bf16 or fp16
  quant::BitCount sum;
  const auto add_dense = [&](const at::Tensor& tensor) {
    if (tensor.defined()) sum += {.num_weights = tensor.numel(), .other_bits = kDenseBits * tensor.numel()};
  };
  add_dense(model.embedding);
  if (!model.output.is_same(model.embedding)) add_dense(model.output);
  add_dense(model.final_norm);
  for (const DecoderBlock& block : model.blocks) {
    for (const at::Tensor* tensor : block.dense_tensors()) add_dense(*tensor);
    for (const Linear* linear : block.linears()) sum += linear->weight->bits();
  }
  return sum;
}

}  // namespace aqlm_exp::model
