#include "framework/checkpoint/model_config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/json_fields.h"
#include "framework/base/log.h"
#include "framework/base/strict_json.h"
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {
namespace {

using Json = nlohmann::json;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHidden = 1 << 20;
constexpr int64_t kMaxIntermediate = 1 << 22;
constexpr int64_t kMaxHeads = 1 << 14;
constexpr int64_t kMaxExperts = 4096;
constexpr int64_t kMaxVocab = 1 << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 32;
constexpr double kTiny = std::numeric_limits<double>::min();  // "positive" as a lower bound
constexpr double kHuge = 1e30;

template <typename Value, size_t N>
Value choose(const JsonFields& in, std::string_view key, const std::string& name,
             const std::array<std::pair<std::string_view, Value>, N>& table) {
  std::string known;
  for (const auto& [text, value] : table) {
    if (text == name) return value;
    known += known.empty() ? "" : ", ";
    known += text;
  }
  in.fail(key, "UNKNOWN", fmt::format("unknown \"{}\"; known: {}", name.substr(0, 64), known));
}

constexpr std::array<std::pair<std::string_view, Activation>, 6> kActivations = {
    {{"silu", Activation::kSilu},
     {"swish", Activation::kSilu},
     {"gelu", Activation::kGelu},
     {"gelu_new", Activation::kGeluTanh},
     {"gelu_fast", Activation::kGeluTanh},
     {"gelu_pytorch_tanh", Activation::kGeluTanh}}};

Activation read_activation(const JsonFields& in, const Family& family) {
  const std::string_view key = family.activation_key;
  const Activation activation = choose(in, key, in.text_or(key, family.activation), kActivations);
  return family.gelu_is_tanh && activation == Activation::kGelu ? Activation::kGeluTanh : activation;
}

constexpr std::array<std::pair<std::string_view, RopeType>, 7> kRopeTypes = {{{"default", RopeType::kDefault},
                                                                              {"linear", RopeType::kLinear},
                                                                              {"dynamic", RopeType::kDynamic},
                                                                              {"yarn", RopeType::kYarn},
                                                                              {"llama3", RopeType::kLlama3},
                                                                              {"longrope", RopeType::kLongRope},
                                                                              {"su", RopeType::kLongRope}}};

std::vector<double> factors(const JsonFields& in, std::string_view key, int64_t rotary_pairs) {
  std::vector<double> values;
  for (const Json& entry : in.array(key, 1 << 14)) {
    if (!entry.is_number()) in.fail(key, "TYPE", fmt::format("got {}, need numbers", json_excerpt(entry)));
    values.push_back(entry.get<double>());
    if (!(values.back() >= kTiny && values.back() <= kHuge)) {
      in.fail(key, "RANGE", fmt::format("got {}, need positive numbers", json_excerpt(entry)));
    }
  }
  if (static_cast<int64_t>(values.size()) != rotary_pairs) {
    in.fail(key, "MISMATCH",
            fmt::format("got {} factors, need {}, half of the rotated head size", values.size(), rotary_pairs));
  }
  return values;
}

std::optional<double> number_if(const JsonFields& in, std::string_view key, double min, double max) {
  if (!in.has(key)) return std::nullopt;
  return in.number(key, min, max);
}

/// The scaling parameters, from `rope_parameters` or `rope_scaling`.
void read_scaling(const JsonFields& in, const ModelConfig& model, RopeConfig& rope) {
  const std::string_view type_key = in.has("rope_type") ? "rope_type" : "type";
  rope.type = choose(in, type_key, in.text_or(type_key, "default"), kRopeTypes);
  rope.theta = in.number_or("rope_theta", rope.theta, kTiny, kHuge);
  rope.partial_rotary_factor = in.number_or("partial_rotary_factor", rope.partial_rotary_factor, kTiny, 1.0);
  rope.original_max_position_embeddings = in.integer_or("original_max_position_embeddings", 0, 1, kMaxPositions);
  const bool needs_factor =
      rope.type == RopeType::kLinear || rope.type == RopeType::kDynamic || rope.type == RopeType::kLlama3;
  if (needs_factor) rope.factor = in.number("factor", kTiny, 1e6);
  // Without a factor it is the ratio of the two lengths: read_rope() knows both.
  if (rope.type == RopeType::kLongRope || rope.type == RopeType::kYarn) {
    rope.factor = in.number_or("factor", 0.0, kTiny, 1e6);
  }
  rope.attention_factor = number_if(in, "attention_factor", kTiny, 1e6);
  if (rope.type == RopeType::kLlama3) {
    rope.low_freq_factor = in.number("low_freq_factor", kTiny, 1e6);
    rope.high_freq_factor = in.number("high_freq_factor", kTiny, 1e6);
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      in.fail("high_freq_factor", "MISMATCH",
              fmt::format("got {}, need more than low_freq_factor {}", rope.high_freq_factor, rope.low_freq_factor));
    }
    in.require("original_max_position_embeddings");
  }
  if (rope.type == RopeType::kYarn) {
    rope.beta_fast = in.number_or("beta_fast", 32.0, kTiny, 1e6);
    rope.beta_slow = in.number_or("beta_slow", 1.0, kTiny, 1e6);
    rope.mscale = number_if(in, "mscale", 0.0, 1e6);
    rope.mscale_all_dim = number_if(in, "mscale_all_dim", 0.0, 1e6);
    rope.truncate = in.boolean_or("truncate", true);
  }
  if (rope.type == RopeType::kLongRope) {
    const auto pairs = static_cast<int64_t>(static_cast<double>(model.head_dim) * rope.partial_rotary_factor) / 2;
    rope.short_factor = factors(in, "short_factor", pairs);
    rope.long_factor = factors(in, "long_factor", pairs);
  }
}

RopeConfig read_rope(const JsonFields& in, const Family& family, const ModelConfig& model) {
  RopeConfig rope;
  rope.theta = in.number_or("rope_theta", family.rope_theta, kTiny, kHuge);
  rope.partial_rotary_factor = in.number_or("partial_rotary_factor", 1.0, kTiny, 1.0);
  // A file with both was saved by transformers 5 and kept its old key: the new one is complete.
  if (const auto parameters = in.object_if("rope_parameters")) {
    read_scaling(*parameters, model, rope);
  } else if (const auto scaling = in.object_if("rope_scaling")) {
    read_scaling(*scaling, model, rope);
  }
  if (rope.original_max_position_embeddings == 0) {  // Phi-3 keeps it at the top level
    rope.original_max_position_embeddings =
        in.integer_or("original_max_position_embeddings", model.max_position_embeddings, 1, kMaxPositions);
  }
  if (rope.factor == 0.0) {
    rope.factor =
        static_cast<double>(model.max_position_embeddings) / static_cast<double>(rope.original_max_position_embeddings);
  }
  return rope;
}

std::vector<int64_t> read_windows(const JsonFields& in, const Family& family, int64_t num_layers) {
  std::vector<int64_t> windows(static_cast<size_t>(num_layers), 0);
  if (family.windows == WindowRule::kNone) return windows;
  const bool stated = in.json().contains("sliding_window");  // an explicit null switches windows off
  int64_t window = in.has("sliding_window") ? in.integer("sliding_window", 0, kMaxPositions)
                   : stated                 ? 0
                                            : family.sliding_window;
  const WindowRule rule = family.windows;
  const bool has_switch =
      rule == WindowRule::kFromMaxWindow || rule == WindowRule::kEvenBelowMax || rule == WindowRule::kAllIfUsed;
  if (has_switch && !in.boolean_or("use_sliding_window", false)) window = 0;
  const bool has_max = rule == WindowRule::kFromMaxWindow || rule == WindowRule::kEvenBelowMax;
  const int64_t max_layers = has_max ? in.integer_or("max_window_layers", 28, 0, kMaxLayers * 1024) : 0;
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    const bool even = layer % 2 == 0;
    const bool sliding = rule == WindowRule::kAll || rule == WindowRule::kAllIfUsed ||
                         (rule == WindowRule::kEven && even) ||
                         (rule == WindowRule::kFromMaxWindow && layer >= max_layers) ||
                         (rule == WindowRule::kEvenBelowMax && even && layer < max_layers);
    if (sliding) windows[static_cast<size_t>(layer)] = window;
  }
  if (!family.has_layer_types || !in.has("layer_types")) return windows;

  const Json& types = in.array("layer_types", kMaxLayers);
  if (static_cast<int64_t>(types.size()) != num_layers) {
    in.fail("layer_types", "MISMATCH",
            fmt::format("got {} entries, num_hidden_layers is {}", types.size(), num_layers));
  }
  for (size_t layer = 0; layer < types.size(); ++layer) {
    const std::string key = fmt::format("layer_types.{}", layer);
    if (!types[layer].is_string())
      in.fail(key, "TYPE", fmt::format("got {}, need a string", json_excerpt(types[layer])));
    const bool sliding = choose(
        in, key, types[layer].get<std::string>(),
        std::array<std::pair<std::string_view, bool>, 2>{{{"full_attention", false}, {"sliding_attention", true}}});
    if (sliding && window == 0) in.fail(key, "MISMATCH", "is sliding_attention, but sliding_window is not set");
    windows[layer] = sliding ? window : 0;
  }
  return windows;
}

std::vector<int64_t> read_token_ids(const JsonFields& in, std::string_view key) {
  if (!in.has(key)) return {};
  if (!in.require(key).is_array()) return {in.integer(key, 0, kMaxVocab)};
  std::vector<int64_t> ids;
  for (const Json& entry : in.array(key, 1024)) {
    if (!entry.is_number_unsigned() || entry.get<uint64_t>() > static_cast<uint64_t>(kMaxVocab)) {
      in.fail(key, entry.is_number_integer() ? "RANGE" : "TYPE",
              fmt::format("got {}, need token ids", json_excerpt(entry)));
    }
    ids.push_back(entry.get<int64_t>());
  }
  return ids;
}

std::vector<std::string> read_strings(const JsonFields& in, std::string_view key, size_t max_size) {
  std::vector<std::string> values;
  if (!in.has(key)) return values;
  for (const Json& entry : in.array(key, max_size)) {
    if (!entry.is_string()) in.fail(key, "TYPE", fmt::format("got {}, need strings", json_excerpt(entry)));
    values.push_back(entry.get<std::string>());
  }
  return values;
}

std::optional<AqlmLayout> read_quantisation(const JsonFields& in) {
  if (in.has("aqlm")) {
    in.fail("aqlm", "UNKNOWN",
            "a checkpoint from before February 2024, whose layout is not read; load it in Python with its own "
            "modelling code "
            "and save it again, or take a newer upload");
  }
  const auto quantisation = in.object_if("quantization_config");
  if (!quantisation) return std::nullopt;
  const std::string method = quantisation->text("quant_method");
  if (method != "aqlm") {
    quantisation->fail("quant_method", "UNKNOWN",
                       fmt::format("got \"{}\", only \"aqlm\" checkpoints are read; start from the unquantised model",
                                   method.substr(0, 64)));
  }
  AqlmLayout layout;
  layout.num_codebooks = quantisation->integer_or("num_codebooks", 1, 1, 64);
  layout.nbits_per_codebook = quantisation->integer_or("nbits_per_codebook", 16, 1, 16);
  layout.in_group_size = quantisation->integer_or("in_group_size", 8, 1, 1024);
  layout.out_group_size = quantisation->integer_or("out_group_size", 1, 1, 1024);
  layout.not_quantised = read_strings(*quantisation, "linear_weights_not_to_quantize", 1'000'000);
  return layout;
}

/// Heads, sizes and biases.
void read_shapes(const JsonFields& in, const Family& family, ModelConfig& model) {
  model.hidden_size = in.integer("hidden_size", 1, kMaxHidden);
  model.intermediate_size = in.integer("intermediate_size", 1, kMaxIntermediate);
  model.num_layers = in.integer("num_hidden_layers", 1, kMaxLayers);
  model.num_heads = in.integer("num_attention_heads", 1, kMaxHeads);
  const int64_t kv_fallback = family.num_kv_heads == 0 ? model.num_heads : family.num_kv_heads;
  const bool kv_null = in.json().contains("num_key_value_heads") && !in.has("num_key_value_heads");
  model.num_kv_heads = in.integer_or("num_key_value_heads", kv_null ? model.num_heads : kv_fallback, 1, kMaxHeads);
  model.vocab_size = in.integer("vocab_size", 1, kMaxVocab);
  if (model.num_heads % model.num_kv_heads != 0) {
    in.fail("num_key_value_heads", "MISMATCH",
            fmt::format("got {}, need a divisor of num_attention_heads {}", model.num_kv_heads, model.num_heads));
  }
  int64_t head_dim = family.head_dim;
  if (!in.has("head_dim") && head_dim == 0) {
    if (model.hidden_size % model.num_heads != 0) {
      in.fail("num_attention_heads", "MISMATCH",
              fmt::format("got {}, need a divisor of hidden_size {}", model.num_heads, model.hidden_size));
    }
    head_dim = model.hidden_size / model.num_heads;
  }
  model.head_dim = in.integer_or("head_dim", head_dim, 1, 1 << 14);
  if (model.head_dim % 2 != 0) {
    in.fail("head_dim", "MISMATCH", fmt::format("got {}, rotary embeddings need an even number", model.head_dim));
  }
  const bool attention_bias =
      family.attention_bias == AttentionBias::kFromConfig && in.boolean_or("attention_bias", false);
  model.qkv_bias = family.attention_bias == AttentionBias::kQkv || attention_bias ||
                   (family.attention_bias == AttentionBias::kQkvFromConfig && in.boolean_or("qkv_bias", true));
  model.attention_out_bias = attention_bias;
  model.mlp_bias = family.has_mlp_bias_key && in.boolean_or("mlp_bias", false);
  model.qk_norm = family.qk_norm;
  model.fused_projections = family.fused_projections;
}

/// Norms, scales and soft caps: constants of the family, or keys that only it has.
void read_scales(const JsonFields& in, const Family& family, ModelConfig& model) {
  model.norm_adds_one = family.norm_adds_one;
  model.sandwich_norms = family.sandwich_norms;
  if (family.scales_embedding) model.embedding_scale = std::sqrt(static_cast<double>(model.hidden_size));
  double scalar = static_cast<double>(model.head_dim);
  if (family.query_pre_attn_scalar > 0) {
    scalar = in.number_or("query_pre_attn_scalar", static_cast<double>(family.query_pre_attn_scalar), kTiny, 1e6);
  }
  model.attention_scale = 1.0 / std::sqrt(scalar);
  const auto softcap = [&](std::string_view key, double fallback) {
    if (fallback == 0) return 0.0;
    const bool off = in.json().contains(std::string(key)) && !in.has(key);  // an explicit null switches it off
    return off ? 0.0 : in.number_or(key, fallback, kTiny, kHuge);
  };
  model.attention_softcap = softcap("attn_logit_softcapping", family.attention_softcap);
  model.logit_softcap = softcap("final_logit_softcapping", family.logit_softcap);
}

/// Experts: their number, sizes and the layers that have them.
void read_moe(const JsonFields& in, const Family& family, ModelConfig& model) {
  if (!family.moe) return;
  const MoeFamily& rule = *family.moe;
  MoeConfig moe;
  const bool other = !in.has(rule.experts_key) && in.has(rule.other_experts_key);
  moe.num_experts = in.integer_or(other ? rule.other_experts_key : rule.experts_key, rule.num_experts, 1, kMaxExperts);
  moe.experts_per_token = in.integer_or("num_experts_per_tok", rule.experts_per_token, 1, kMaxExperts);
  if (moe.experts_per_token > moe.num_experts) {
    in.fail("num_experts_per_tok", "MISMATCH",
            fmt::format("got {}, the model has {} experts", moe.experts_per_token, moe.num_experts));
  }
  moe.intermediate_size = in.integer_or(rule.size_key, rule.expert_size, 1, kMaxIntermediate);
  if (rule.shared_size > 0) {
    moe.shared_intermediate_size =
        in.integer_or("shared_expert_intermediate_size", rule.shared_size, 1, kMaxIntermediate);
  }
  moe.normalise_top_k = rule.always_normalises || in.boolean_or("norm_topk_prob", false);
  moe.module = rule.module;
  moe.gate_name = rule.gate_name;
  moe.up_name = rule.up_name;
  moe.down_name = rule.down_name;
  model.sparse.assign(static_cast<size_t>(model.num_layers), true);
  if (rule.may_be_dense) {
    const int64_t step = in.integer_or("decoder_sparse_step", 1, 1, kMaxLayers);
    for (int64_t i = 0; i < model.num_layers; ++i) model.sparse[static_cast<size_t>(i)] = (i + 1) % step == 0;
    if (in.has("mlp_only_layers")) {
      for (const Json& entry : in.array("mlp_only_layers", kMaxLayers)) {
        if (!entry.is_number_unsigned() || entry.get<uint64_t>() >= static_cast<uint64_t>(model.num_layers)) {
          in.fail("mlp_only_layers", "RANGE",
                  fmt::format("got {}, need layers from 0 to {}", json_excerpt(entry), model.num_layers - 1));
        }
        model.sparse[entry.get<size_t>()] = false;
      }
    }
  }
  model.moe = std::move(moe);
}

}  // namespace

ModelConfig parse_model_config(std::string_view text, std::string_view where) {
  const Json json =
      parse_strict_json(text, where, {.max_bytes = 16ULL << 20, .max_depth = 64, .max_values = 4'000'000});
  const JsonFields in(json, std::string(where), "", "J");
  ModelConfig model;
  model.model_type = in.text("model_type");
  const Family& family = family_of(model.model_type, where);
  model.architectures = read_strings(in, "architectures", 16);
  read_shapes(in, family, model);
  model.max_position_embeddings =
      in.integer_or("max_position_embeddings", family.max_position_embeddings, 1, kMaxPositions);
  model.rms_norm_eps = in.number_or("rms_norm_eps", family.rms_norm_eps, kTiny, 1.0);
  read_scales(in, family, model);
  read_moe(in, family, model);
  model.hidden_act = read_activation(in, family);
  model.rope = read_rope(in, family, model);
  model.tie_word_embeddings = in.boolean_or("tie_word_embeddings", family.tie_word_embeddings);
  model.windows = read_windows(in, family, model.num_layers);
  model.bos_token_ids = read_token_ids(in, "bos_token_id");
  model.eos_token_ids = read_token_ids(in, "eos_token_id");
  model.dtype = in.has("dtype") ? in.text("dtype") : in.text_or("torch_dtype", "");
  model.aqlm = read_quantisation(in);
  if (in.has("auto_map")) {
    log_info("{}: auto_map names Python code in the model folder; it is not run, the built-in \"{}\" is used", where,
             model.model_type);
  }
  return model;
}

ModelConfig load_model_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  return parse_model_config(read_regular_file(path, 16ULL << 20, "J"), path.string());
}

}  // namespace aqlm_exp::checkpoint
