#include "framework/checkpoint/expected_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::checkpoint {
namespace {

constexpr std::string_view kHead = "lm_head.weight";

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

class TensorLister {
 public:
  explicit TensorLister(const ModelConfig& config) : config_(config), hidden_(config.hidden_size) {}

  std::vector<ExpectedTensor> run(ExpertLayout layout) {
    add("model.embed_tokens.weight", {config_.vocab_size, hidden_});
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const std::string block = fmt::format("model.layers.{}.", layer);
      add(block + "input_layernorm.weight", {hidden_});
      attention(block + "self_attn.");
      add(block + "post_attention_layernorm.weight", {hidden_});
      if (config_.sandwich_norms) add(block + "pre_feedforward_layernorm.weight", {hidden_});
      if (config_.moe && config_.sparse[static_cast<size_t>(layer)]) {
        experts(moe_module(config_, layer, layout), layout);
      } else {
        mlp(block + "mlp.", config_.intermediate_size, config_.mlp_bias);
      }
      if (config_.sandwich_norms) add(block + "post_feedforward_layernorm.weight", {hidden_});
    }
    add("model.norm.weight", {hidden_});
    if (!config_.tie_word_embeddings) add(std::string(kHead), {config_.vocab_size, hidden_});
    return std::move(tensors_);
  }

 private:
  void add(const std::string& name, std::vector<int64_t> shape) { tensors_.push_back({name, std::move(shape), false}); }

  void linear(const std::string& module, int64_t out, int64_t in, bool bias) {
    tensors_.push_back({module + ".weight", {out, in}, true});
    if (bias) add(module + ".bias", {out});
  }

  void attention(const std::string& module) {
    const int64_t queries = config_.num_heads * config_.head_dim;
    const int64_t keys = config_.num_kv_heads * config_.head_dim;
    if (config_.fused_projections) {
      linear(module + "qkv_proj", queries + 2 * keys, hidden_, config_.qkv_bias);
    } else {
      linear(module + "q_proj", queries, hidden_, config_.qkv_bias);
      linear(module + "k_proj", keys, hidden_, config_.qkv_bias);
      linear(module + "v_proj", keys, hidden_, config_.qkv_bias);
    }
    if (config_.qk_norm) {
      add(module + "q_norm.weight", {config_.head_dim});
      add(module + "k_norm.weight", {config_.head_dim});
    }
    linear(module + "o_proj", hidden_, queries, config_.attention_out_bias);
  }

  void mlp(const std::string& module, int64_t size, bool bias) {
    if (config_.fused_projections) {
      linear(module + "gate_up_proj", 2 * size, hidden_, bias);
    } else {
      linear(module + "gate_proj", size, hidden_, bias);
      linear(module + "up_proj", size, hidden_, bias);
    }
    linear(module + "down_proj", hidden_, size, bias);
  }

  void experts(const std::string& module, ExpertLayout layout) {
    const MoeConfig& moe = *config_.moe;
    add(module + ".gate.weight", {moe.num_experts, hidden_});
    if (layout == ExpertLayout::kFused) {
      add(module + ".experts.gate_up_proj", {moe.num_experts, 2 * moe.intermediate_size, hidden_});
      add(module + ".experts.down_proj", {moe.num_experts, hidden_, moe.intermediate_size});
    } else {
      for (int64_t expert = 0; expert < moe.num_experts; ++expert) {
        const std::string name = fmt::format("{}.experts.{}.", module, expert);
        linear(name + moe.gate_name, moe.intermediate_size, hidden_, false);
        linear(name + moe.up_name, moe.intermediate_size, hidden_, false);
        linear(name + moe.down_name, hidden_, moe.intermediate_size, false);
      }
    }
    if (moe.shared_intermediate_size > 0) {
      mlp(module + ".shared_expert.", moe.shared_intermediate_size, false);
      add(module + ".shared_expert_gate.weight", {1, hidden_});
    }
  }

  const ModelConfig& config_;
  int64_t hidden_;
  std::vector<ExpectedTensor> tensors_;
};

class Verifier {
 public:
  Verifier(const ModelConfig& config, const Checkpoint& checkpoint) : config_(config), checkpoint_(checkpoint) {}

  CheckpointSummary run() {
    summary_.experts = find_layout();
    for (const ExpectedTensor& expected : expected_tensors(config_, summary_.experts)) {
      if (expected.quantisable && check_quantised(expected)) continue;
      check_dense(expected.name, expected.shape);
    }
    if (config_.tie_word_embeddings && checkpoint_.find(kHead) != nullptr) {
      check_dense(std::string(kHead), {config_.vocab_size, config_.hidden_size});
    }
    summary_.has_lm_head = checkpoint_.find(kHead) != nullptr;
    list_extra();
    return std::move(summary_);
  }

 private:
  /// Fused experts are recognised by their first tensor; a folder that mixes both layouts misses tensors of one.
  ExpertLayout find_layout() const {
    for (int64_t layer = 0; layer < config_.num_layers && config_.moe; ++layer) {
      const std::string module = moe_module(config_, layer, ExpertLayout::kFused);
      if (checkpoint_.find(module + ".experts.gate_up_proj") != nullptr) return ExpertLayout::kFused;
    }
    return ExpertLayout::kSeparate;
  }

  [[noreturn]] void fail(const std::string& name, const std::string& message) const {
    throw DataError(fmt::format("{}: tensor \"{}\": {}", checkpoint_.path().string(), name, message), "J-MISMATCH");
  }

  const TensorInfo& find(const std::string& name, const std::vector<int64_t>& shape) {
    const TensorInfo* info = checkpoint_.find(name);
    if (info == nullptr) {
      fail(name, fmt::format("is missing; config.json ({} of {} layers, hidden_size {}) needs it with shape {}",
                             config_.model_type, config_.num_layers, config_.hidden_size, shape_text(shape)));
    }
    used_.insert(info->name);
    return *info;
  }

  void check_dense(const std::string& name, const std::vector<int64_t>& shape) {
    const TensorInfo& info = find(name, shape);
    if (info.shape != shape) {
      fail(name, fmt::format("has shape {}, config.json implies {}", shape_text(info.shape), shape_text(shape)));
    }
    if (!is_weight_dtype(info.dtype)) {
      fail(name, fmt::format("has type {}, need F32, F16, BF16 or F64", dtype_name(info.dtype)));
    }
  }

  /// Returns false if the linear is stored dense.
  bool check_quantised(const ExpectedTensor& expected) {
    const std::string module = expected.name.substr(0, expected.name.rfind(".weight"));
    const bool has_codes = checkpoint_.find(module + ".codes") != nullptr;
    if (!has_codes) return false;
    if (!config_.aqlm)
      fail(module + ".codes", "is there, but config.json has no quantization_config with quant_method aqlm");
    if (checkpoint_.find(expected.name) != nullptr) {
      fail(expected.name, "is stored both dense and as codes; delete one of them");
    }
    const AqlmLayout& layout = *config_.aqlm;
    const int64_t out = expected.shape[0];
    const int64_t in = expected.shape[1];
    if (out % layout.out_group_size != 0 || in % layout.in_group_size != 0) {
      fail(module + ".codes", fmt::format("linear of {} does not divide into groups of {}x{} (out x in)",
                                          shape_text(expected.shape), layout.out_group_size, layout.in_group_size));
    }
    const int64_t out_groups = out / layout.out_group_size;
    const int64_t in_groups = in / layout.in_group_size;
    const TensorInfo& codes = find(module + ".codes", {out_groups, in_groups, layout.num_codebooks});
    if (codes.shape != std::vector<int64_t>{out_groups, in_groups, layout.num_codebooks}) {
      fail(codes.name, fmt::format("has shape {}, quantization_config implies [{}, {}, {}]", shape_text(codes.shape),
                                   out_groups, in_groups, layout.num_codebooks));
    }
    if (!is_integer_dtype(codes.dtype) || dtype_bits(codes.dtype) < layout.nbits_per_codebook) {
      fail(codes.name, fmt::format("has type {}, need integers of at least {} bits", dtype_name(codes.dtype),
                                   layout.nbits_per_codebook));
    }
    check_dense(module + ".codebooks",
                {layout.num_codebooks, layout.codebook_size(), layout.out_group_size, layout.in_group_size});
    const TensorInfo& scales = find(module + ".scales", {out_groups, 1, 1, 1});
    if (scales.shape != std::vector<int64_t>{out_groups, 1, 1, 1} &&
        scales.shape != std::vector<int64_t>{out_groups, in_groups, 1, 1}) {
      fail(scales.name,
           fmt::format("has shape {}, need [{}, 1 or {}, 1, 1]", shape_text(scales.shape), out_groups, in_groups));
    }
    if (!is_weight_dtype(scales.dtype)) {
      fail(scales.name, fmt::format("has type {}, need F32, F16, BF16 or F64", dtype_name(scales.dtype)));
    }
    summary_.quantised.push_back(module);
    return true;
  }

  void list_extra() {
    for (const TensorInfo& info : checkpoint_.tensors()) {
      if (used_.count(info.name) != 0 || ends_with(info.name, ".rotary_emb.inv_freq")) continue;
      summary_.extra.push_back(info.name);
    }
    if (summary_.extra.empty()) return;
    constexpr size_t kShown = 8;
    const size_t shown = std::min(kShown, summary_.extra.size());
    log_warning("{}: {} tensors are not part of a {} model of {} layers and are ignored: {}{}",
                checkpoint_.path().string(), summary_.extra.size(), config_.model_type, config_.num_layers,
                fmt::join(summary_.extra.begin(), summary_.extra.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                summary_.extra.size() > shown ? ", ..." : "");
  }

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  CheckpointSummary summary_;
  std::set<std::string_view> used_;
};

}  // namespace

std::string moe_module(const ModelConfig& config, int64_t layer, ExpertLayout layout) {
  return fmt::format("model.layers.{}.{}", layer, layout == ExpertLayout::kFused ? "mlp" : config.moe->module);
}

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config, ExpertLayout layout) {
  TensorLister list(config);
  return list.run(layout);
}

CheckpointSummary verify_checkpoint(const ModelConfig& config, const Checkpoint& checkpoint) {
  return Verifier(config, checkpoint).run();
}

}  // namespace aqlm_exp::checkpoint
