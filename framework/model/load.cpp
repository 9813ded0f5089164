// Hugging Face folder → Model. Everything that can be wrong is asked of the checkpoint room before the first
// allocation.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/checkpoint/checkpoint.h"
#include "framework/checkpoint/expected_tensors.h"
#include "framework/model/model.h"
#include "framework/quant/additive_weight.h"

namespace aqlm_exp::model {
namespace {

at::ScalarType scalar_type(checkpoint::Dtype dtype, const std::string& name) {
  switch (dtype) {
    case checkpoint::Dtype::kF16:
      return at::kHalf;
    case checkpoint::Dtype::kBF16:
      return at::kBFloat16;
    case checkpoint::Dtype::kF32:
      return at::kFloat;
    case checkpoint::Dtype::kF64:
      return at::kDouble;
    case checkpoint::Dtype::kI8:
      return at::kChar;
    case checkpoint::Dtype::kI16:
      return at::kShort;
    case checkpoint::Dtype::kI32:
      return at::kInt;
    case checkpoint::Dtype::kI64:
      return at::kLong;
    default:
      throw DataError(fmt::format("[load] {}: type {} cannot hold a weight; need F16, BF16, F32 or F64", name,
                                  checkpoint::dtype_name(dtype)));
  }
}

class Loader {
 public:
  Loader(const checkpoint::Checkpoint& checkpoint, at::Device device) : checkpoint_(checkpoint), device_(device) {}

  bool has(const std::string& name) const { return checkpoint_.find(name) != nullptr; }

  at::Tensor raw(const std::string& name) const {
    const checkpoint::TensorInfo& info = checkpoint_.at(name);
    at::Tensor out = at::empty(info.shape, scalar_type(info.dtype, name));
    const auto bytes = checkpoint_.bytes(info);
    std::memcpy(out.data_ptr(), bytes.data(), bytes.size());
    checkpoint_.release(info);
    return out;
  }
  at::Tensor floats(const std::string& name) const { return raw(name).to(at::kFloat).to(device_); }
  int64_t bits(const std::string& name) const { return checkpoint::dtype_bits(checkpoint_.at(name).dtype); }

  Linear linear(const std::string& block, const std::string& part, const std::string& role,
                const std::optional<checkpoint::AqlmLayout>& aqlm) const {
    Linear out;
    out.name = block + "." + part + "." + role;
    out.role = role;
    if (aqlm && has(out.name + ".codes")) {
      const quant::CodeSpec spec{aqlm->num_codebooks, aqlm->nbits_per_codebook, aqlm->in_group_size,
                                 aqlm->out_group_size};
      // Codes are stored as signed integers wrapped in nbits: the low bits are the code.
      const at::Tensor codes = raw(out.name + ".codes").to(at::kInt).bitwise_and(spec.codebook_size() - 1).to(device_);
      out.weight = std::make_shared<quant::AdditiveWeight>(spec, codes, floats(out.name + ".codebooks"),
                                                           floats(out.name + ".scales"));
    } else {
      out.weight = std::make_shared<quant::DenseWeight>(floats(out.name + ".weight"), bits(out.name + ".weight"));
    }
    if (has(out.name + ".bias")) out.bias = floats(out.name + ".bias");
    return out;
  }

 private:
  const checkpoint::Checkpoint& checkpoint_;
  at::Device device_;
};

void check_supported(const checkpoint::ModelConfig& config, const std::filesystem::path& folder) {
  const auto refuse = [&](const std::string& what) {
    throw DataError(
        fmt::format("{}: {} is not supported; Qwen2 without it is", (folder / "config.json").string(), what),
        "J-UNKNOWN");
  };
  if (config.rope.type != checkpoint::RopeType::kDefault) refuse("scaled rotary embedding");
  if (config.rope.partial_rotary_factor != 1.0) refuse("a partial rotary embedding");
  if (config.qk_norm) refuse("a norm on queries and keys");
  if (config.hidden_act != checkpoint::Activation::kSilu) refuse("an activation other than silu");
  for (const int64_t window : config.windows) {
    if (window != 0 && window < config.max_position_embeddings) refuse("sliding-window attention");
  }
}

}  // namespace

Model load_model(const std::filesystem::path& folder, at::Device device) {
  Model model;
  model.config = checkpoint::load_model_config(folder);
  const checkpoint::ModelConfig& config = model.config;
  check_supported(config, folder);
  const checkpoint::Checkpoint files = checkpoint::Checkpoint::open(folder);
  const checkpoint::CheckpointSummary summary = checkpoint::verify_checkpoint(config, files);
  const Loader loader(files, device);

  model.embedding = loader.floats("model.embed_tokens.weight");
  model.output = summary.has_lm_head ? loader.floats("lm_head.weight") : model.embedding;
  model.final_norm = loader.floats("model.norm.weight");
  model.rotary =
      std::make_shared<RotaryEmbedding>(config.head_dim, config.rope.theta, config.max_position_embeddings, device);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    DecoderBlock block;
    block.name = fmt::format("model.layers.{}", i);
    block.shape = {config.num_heads, config.num_kv_heads, config.head_dim, config.rms_norm_eps};
    block.q_proj = loader.linear(block.name, "self_attn", "q_proj", config.aqlm);
    block.k_proj = loader.linear(block.name, "self_attn", "k_proj", config.aqlm);
    block.v_proj = loader.linear(block.name, "self_attn", "v_proj", config.aqlm);
    block.o_proj = loader.linear(block.name, "self_attn", "o_proj", config.aqlm);
    block.gate_proj = loader.linear(block.name, "mlp", "gate_proj", config.aqlm);
    block.up_proj = loader.linear(block.name, "mlp", "up_proj", config.aqlm);
    block.down_proj = loader.linear(block.name, "mlp", "down_proj", config.aqlm);
    block.input_norm = loader.floats(block.name + ".input_layernorm.weight");
    block.post_attention_norm = loader.floats(block.name + ".post_attention_layernorm.weight");
    model.blocks.push_back(std::move(block));
  }
  files.check_unchanged();
  return model;
}

}  // namespace aqlm_exp::model
