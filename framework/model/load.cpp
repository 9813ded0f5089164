// Hugging Face folder → Model. Everything that can be wrong is asked of the checkpoint room before the first
// allocation. Which tensors a family has follows from its config (framework/checkpoint/families.h).
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/checkpoint/checkpoint.h"
#include "framework/checkpoint/expected_tensors.h"
#include "framework/model/mapped_weight.h"
#include "framework/model/model.h"
#include "framework/quant/additive_weight.h"

namespace aqlm_exp::model {
namespace {

class Loader {
 public:
  Loader(std::shared_ptr<const checkpoint::Checkpoint> files, const checkpoint::ModelConfig& config,
         checkpoint::ExpertLayout experts, at::Device device, const LoadOptions& options)
      : files_(std::move(files)), config_(config), experts_(experts), device_(device), options_(options) {}

  at::Tensor tensor(const std::string& name) const { return read_tensor(*files_, name).to(options_.dtype).to(device_); }

  /// Gemma's norms multiply by 1 + weight: the one is added here, in float32 as the reference does.
  at::Tensor norm(const std::string& name) const {
    if (!config_.norm_adds_one) return tensor(name);
    return (1.0 + read_tensor(*files_, name).to(at::kFloat)).to(device_);
  }

  DecoderBlock block(int64_t index) const {
    DecoderBlock out;
    out.name = fmt::format("model.layers.{}", index);
    out.shape = {.num_heads = config_.num_heads,
                 .num_kv_heads = config_.num_kv_heads,
                 .head_dim = config_.head_dim,
                 .rms_norm_eps = config_.rms_norm_eps,
                 .window = config_.windows[static_cast<size_t>(index)],
                 .attention_scale = config_.attention_scale,
                 .attention_softcap = config_.attention_softcap,
                 .activation = config_.hidden_act};
    const std::string attention = out.name + ".self_attn.";
    if (config_.fused_projections) {
      out.qkv_proj = linear(attention + "qkv_proj", "qkv_proj");
    } else {
      out.q_proj = linear(attention + "q_proj", "q_proj");
      out.k_proj = linear(attention + "k_proj", "k_proj");
      out.v_proj = linear(attention + "v_proj", "v_proj");
    }
    if (config_.qk_norm) {
      out.q_norm = norm(attention + "q_norm.weight");
      out.k_norm = norm(attention + "k_norm.weight");
    }
    out.o_proj = linear(attention + "o_proj", "o_proj");
    if (config_.moe && config_.sparse[static_cast<size_t>(index)]) {
      out.moe = moe(index);
    } else if (config_.fused_projections) {
      out.gate_up_proj = linear(out.name + ".mlp.gate_up_proj", "gate_up_proj");
      out.down_proj = linear(out.name + ".mlp.down_proj", "down_proj");
    } else {
      out.gate_proj = linear(out.name + ".mlp.gate_proj", "gate_proj");
      out.up_proj = linear(out.name + ".mlp.up_proj", "up_proj");
      out.down_proj = linear(out.name + ".mlp.down_proj", "down_proj");
    }
    out.input_norm = norm(out.name + ".input_layernorm.weight");
    out.post_attention_norm = norm(out.name + ".post_attention_layernorm.weight");
    if (config_.sandwich_norms) {
      out.pre_mlp_norm = norm(out.name + ".pre_feedforward_layernorm.weight");
      out.post_mlp_norm = norm(out.name + ".post_feedforward_layernorm.weight");
    }
    return out;
  }

 private:
  bool has(const std::string& name) const { return files_->find(name) != nullptr; }

  std::shared_ptr<quant::Weight> dense(const std::string& name, int64_t expert = -1, int64_t first = 0,
                                       int64_t count = -1) const {
    auto mapped = std::make_shared<MappedWeight>(files_, name, device_, options_.dtype, expert, first, count);
    if (options_.stream) return mapped;
    return std::make_shared<quant::DenseWeight>(mapped->dequantise(), checkpoint::dtype_bits(files_->at(name).dtype));
  }

  Linear linear(const std::string& path, const std::string& role) const {
    Linear out;
    out.name = path;
    out.role = role;
    if (config_.aqlm && has(path + ".codes")) {
      const checkpoint::AqlmLayout& layout = *config_.aqlm;
      const quant::CodeSpec spec{layout.num_codebooks, layout.nbits_per_codebook, layout.in_group_size,
                                 layout.out_group_size};
      // Codes are stored as signed integers wrapped in nbits: the low bits are the code.
      const at::Tensor codes =
          read_tensor(*files_, path + ".codes").to(at::kInt).bitwise_and(spec.codebook_size() - 1).to(device_);
      const auto floats = [&](const char* part) {
        return read_tensor(*files_, path + part).to(at::kFloat).to(device_);
      };
      out.weight = std::make_shared<quant::AdditiveWeight>(spec, codes, floats(".codebooks"), floats(".scales"));
    } else {
      out.weight = dense(path + ".weight");
    }
    if (has(path + ".bias")) out.bias = tensor(path + ".bias");
    return out;
  }

  Moe moe(int64_t index) const {
    const checkpoint::MoeConfig& moe = *config_.moe;
    const std::string module = checkpoint::moe_module(config_, index, experts_);
    Moe out;
    out.experts_per_token = moe.experts_per_token;
    out.normalise_top_k = moe.normalise_top_k;
    out.router = tensor(module + ".gate.weight");
    for (int64_t e = 0; e < moe.num_experts; ++e) {
      const std::string role = fmt::format("experts.{}.", e);
      const std::string path = module + "." + role;
      Expert expert;
      if (experts_ == checkpoint::ExpertLayout::kSeparate) {
        expert.gate_proj = linear(path + moe.gate_name, role + "gate_proj");
        expert.up_proj = linear(path + moe.up_name, role + "up_proj");
        expert.down_proj = linear(path + moe.down_name, role + "down_proj");
      } else {
        const int64_t size = moe.intermediate_size;
        const std::string up = module + ".experts.gate_up_proj";
        const std::string hub =
            checkpoint::moe_module(config_, index, checkpoint::ExpertLayout::kSeparate) + "." + role;
        const auto part = [&](const std::string& name, const char* kind, std::shared_ptr<quant::Weight> weight) {
          Linear made;
          made.name = hub + name;
          made.role = role + kind;
          made.weight = std::move(weight);
          return made;
        };
        expert.gate_proj = part(moe.gate_name, "gate_proj", dense(up, e, 0, size));
        expert.up_proj = part(moe.up_name, "up_proj", dense(up, e, size, size));
        expert.down_proj = part(moe.down_name, "down_proj", dense(module + ".experts.down_proj", e));
      }
      out.experts.push_back(std::move(expert));
    }
    if (moe.shared_intermediate_size > 0) {
      const std::string role = "shared_expert.", path = module + "." + role;
      out.shared = Expert{linear(path + "gate_proj", role + "gate_proj"), linear(path + "up_proj", role + "up_proj"),
                          linear(path + "down_proj", role + "down_proj")};
      out.shared_gate = tensor(module + ".shared_expert_gate.weight");
    }
    return out;
  }

  std::shared_ptr<const checkpoint::Checkpoint> files_;
  const checkpoint::ModelConfig& config_;
  checkpoint::ExpertLayout experts_;
  at::Device device_;
  LoadOptions options_;
};

}  // namespace

Model load_model(const std::filesystem::path& folder, at::Device device, const LoadOptions& options) {
  if (options.dtype != at::kFloat && options.dtype != at::kHalf && options.dtype != at::kBFloat16) {
    throw ConfigError("[load] dtype: need float32, float16 or bfloat16");
  }
  Model model;
  model.config = checkpoint::load_model_config(folder);
  const checkpoint::ModelConfig& config = model.config;
  const auto files = std::make_shared<const checkpoint::Checkpoint>(checkpoint::Checkpoint::open(folder));
  const checkpoint::CheckpointSummary summary = checkpoint::verify_checkpoint(config, *files);
  const Loader loader(files, config, summary.experts, device, options);

  model.embedding = loader.tensor("model.embed_tokens.weight");
  model.output = summary.has_lm_head ? loader.tensor("lm_head.weight") : model.embedding;
  model.final_norm = loader.norm("model.norm.weight");
  model.rotary =
      std::make_shared<RotaryEmbedding>(config.rope, config.head_dim, config.max_position_embeddings, device);
  for (int64_t i = 0; i < config.num_layers; ++i) model.blocks.push_back(loader.block(i));
  files->check_unchanged();
  return model;
}

}  // namespace aqlm_exp::model
