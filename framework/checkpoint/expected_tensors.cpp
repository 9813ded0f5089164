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

class Verifier {
 public:
  Verifier(const ModelConfig& config, const Checkpoint& checkpoint) : config_(config), checkpoint_(checkpoint) {}

  CheckpointSummary run() {
    for (const ExpectedTensor& expected : expected_tensors(config_)) {
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

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> tensors;
  const int64_t hidden = config.hidden_size;
  const int64_t queries = config.num_heads * config.head_dim;
  const int64_t keys = config.num_kv_heads * config.head_dim;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    tensors.push_back({name, std::move(shape), false});
  };
  const auto linear = [&](const std::string& module, int64_t out, int64_t in, bool bias) {
    tensors.push_back({module + ".weight", {out, in}, true});
    if (bias) add(module + ".bias", {out});
  };
  add("model.embed_tokens.weight", {config.vocab_size, hidden});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string block = fmt::format("model.layers.{}.", layer);
    add(block + "input_layernorm.weight", {hidden});
    linear(block + "self_attn.q_proj", queries, hidden, config.qkv_bias);
    linear(block + "self_attn.k_proj", keys, hidden, config.qkv_bias);
    linear(block + "self_attn.v_proj", keys, hidden, config.qkv_bias);
    if (config.qk_norm) {
      add(block + "self_attn.q_norm.weight", {config.head_dim});
      add(block + "self_attn.k_norm.weight", {config.head_dim});
    }
    linear(block + "self_attn.o_proj", hidden, queries, config.attention_out_bias);
    add(block + "post_attention_layernorm.weight", {hidden});
    linear(block + "mlp.gate_proj", config.intermediate_size, hidden, config.mlp_bias);
    linear(block + "mlp.up_proj", config.intermediate_size, hidden, config.mlp_bias);
    linear(block + "mlp.down_proj", hidden, config.intermediate_size, config.mlp_bias);
  }
  add("model.norm.weight", {hidden});
  if (!config.tie_word_embeddings) add(std::string(kHead), {config.vocab_size, hidden});
  return tensors;
}

CheckpointSummary verify_checkpoint(const ModelConfig& config, const Checkpoint& checkpoint) {
  return Verifier(config, checkpoint).run();
}

}  // namespace aqlm_exp::checkpoint
