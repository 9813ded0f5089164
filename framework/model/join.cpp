#include "framework/model/join.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "framework/base/error.h"
#include "framework/quant/additive_weight.h"

namespace aqlm_exp::model {
namespace {

bool joinable(const std::vector<Linear*>& linears) {
  at::ScalarType type{};
  for (const Linear* linear : linears) {
    const auto* dense = dynamic_cast<const quant::DenseWeight*>(linear->weight.get());
    if (dense == nullptr) return false;
    const at::Tensor matrix = dense->dequantise();
    if (matrix.requires_grad() || matrix.dim() != 2) return false;
    if (linear != linears.front() && matrix.scalar_type() != type) return false;
    type = matrix.scalar_type();
  }
  return linears.size() > 1;
}

/// Gives the linears the rows of one matrix.
void assign_rows(const std::vector<Linear*>& linears, const at::Tensor& joined) {
  int64_t row = 0;
  for (Linear* linear : linears) {
    const int64_t rows = linear->weight->out_features();
    const int64_t stored_bits = static_cast<const quant::DenseWeight&>(*linear->weight).stored_bits();
    linear->weight = std::make_shared<quant::DenseWeight>(joined.slice(0, row, row + rows), stored_bits);
    linear->op.reset();
    row += rows;
  }
}

/// Codes uniform, codewords normal, one scale for all rows: elements have the standard deviation 1 / sqrt(columns).
std::shared_ptr<quant::Weight> random_codes(const quant::CodeSpec& scheme, int64_t rows, int64_t columns,
                                            at::Device device) {
  const auto options = at::TensorOptions().device(device);
  const int64_t out_groups = rows / scheme.out_group_size, in_groups = columns / scheme.in_group_size;
  const at::Tensor codes = at::empty({out_groups, in_groups, scheme.num_codebooks}, options.dtype(at::kInt))
                               .random_(0, scheme.codebook_size());
  const at::Tensor books =
      at::empty({scheme.num_codebooks, scheme.codebook_size(), scheme.out_group_size, scheme.in_group_size},
                options.dtype(at::kFloat))
          .normal_();
  const double scale = 1.0 / std::sqrt(static_cast<double>(columns * scheme.num_codebooks));
  const at::Tensor scales = at::full({out_groups, 1, 1, 1}, scale, options.dtype(at::kFloat));
  auto weight = std::make_shared<quant::AdditiveWeight>(scheme, codes, books, scales);
  weight->round_to_storage();
  return weight;
}

}  // namespace

void join_dense_projections(Model& model) {
  const c10::NoGradGuard no_grad;
  for (DecoderBlock& block : model.blocks) {
    for (const std::vector<Linear*>& stage : block.stages()) {
      if (!joinable(stage)) continue;
      std::vector<at::Tensor> parts;
      for (const Linear* linear : stage) parts.push_back(linear->weight->dequantise());
      bool adjacent = true;
      for (size_t i = 1; i < parts.size(); ++i) {
        adjacent = adjacent && static_cast<const char*>(parts[i].const_data_ptr()) ==
                                   static_cast<const char*>(parts[i - 1].const_data_ptr()) + parts[i - 1].nbytes();
      }
      if (!adjacent) assign_rows(stage, at::cat(parts, 0));
    }
  }
}

Model random_model(const checkpoint::ModelConfig& config, at::Device device, at::ScalarType dtype, uint64_t seed,
                   const std::optional<quant::CodeSpec>& scheme) {
  if (config.moe) {
    throw ConfigError(
        fmt::format("random model: {}: got a mixture of experts, need a dense model; take another "
                    "config.json, e.g. Qwen2's",
                    config.model_type));
  }
  const c10::NoGradGuard no_grad;
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  at::Generator generator = at::globalContext().defaultGenerator(device);
  generator.set_current_seed(seed);
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return at::empty({rows, columns}, options).normal_(0.0, 1.0 / std::sqrt(static_cast<double>(columns)));
  };
  const auto linear = [&](const std::string& block, const std::string& part, const std::string& role, int64_t rows,
                          int64_t columns, bool bias) {
    Linear out;
    out.name = block + "." + part + "." + role;
    out.role = role;
    if (scheme) {
      scheme->check_shape(out.name, rows, columns);
      out.weight = random_codes(*scheme, rows, columns, device);
    } else {
      out.weight = std::make_shared<quant::DenseWeight>(matrix(rows, columns));
    }
    if (bias) out.bias = at::zeros({rows}, options);
    return out;
  };
  const int64_t hidden = config.hidden_size, q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim, inter = config.intermediate_size;
  const auto norm = [&](int64_t width) { return at::ones({width}, options); };
  Model model;
  model.config = config;
  model.config.aqlm.reset();
  model.embedding = matrix(config.vocab_size, hidden);
  model.output = config.tie_word_embeddings ? model.embedding : matrix(config.vocab_size, hidden);
  model.final_norm = norm(hidden);
  model.rotary =
      std::make_shared<RotaryEmbedding>(config.rope, config.head_dim, config.max_position_embeddings, device);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    DecoderBlock block;
    block.name = fmt::format("model.layers.{}", i);
    block.shape = {.num_heads = config.num_heads,
                   .num_kv_heads = config.num_kv_heads,
                   .head_dim = config.head_dim,
                   .rms_norm_eps = config.rms_norm_eps,
                   .window = config.windows[static_cast<size_t>(i)],
                   .attention_scale = config.attention_scale,
                   .attention_softcap = config.attention_softcap,
                   .activation = config.hidden_act};
    if (config.fused_projections) {
      block.qkv_proj = linear(block.name, "self_attn", "qkv_proj", q + 2 * kv, hidden, config.qkv_bias);
      block.gate_up_proj = linear(block.name, "mlp", "gate_up_proj", 2 * inter, hidden, config.mlp_bias);
    } else {
      block.q_proj = linear(block.name, "self_attn", "q_proj", q, hidden, config.qkv_bias);
      block.k_proj = linear(block.name, "self_attn", "k_proj", kv, hidden, config.qkv_bias);
      block.v_proj = linear(block.name, "self_attn", "v_proj", kv, hidden, config.qkv_bias);
      block.gate_proj = linear(block.name, "mlp", "gate_proj", inter, hidden, config.mlp_bias);
      block.up_proj = linear(block.name, "mlp", "up_proj", inter, hidden, config.mlp_bias);
    }
    block.o_proj = linear(block.name, "self_attn", "o_proj", hidden, q, config.attention_out_bias);
    block.down_proj = linear(block.name, "mlp", "down_proj", hidden, inter, config.mlp_bias);
    if (config.qk_norm) block.q_norm = block.k_norm = norm(config.head_dim);
    block.input_norm = norm(hidden);
    block.post_attention_norm = norm(hidden);
    if (config.sandwich_norms) {
      block.pre_mlp_norm = norm(hidden);
      block.post_mlp_norm = norm(hidden);
    }
    model.blocks.push_back(std::move(block));
    join_dense_projections(model);  // block by block: at no time is the whole model there twice
  }
  return model;
}

}  // namespace aqlm_exp::model
