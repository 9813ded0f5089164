// config.json of a Hugging Face model folder as checked values. Reads both generations of keys: the hub's
// (`rope_theta`, `rope_scaling`, `torch_dtype`) and transformers 5's (`rope_parameters`, `dtype`). What differs between
// families is a table (families.cpp), not code. Source: design/checkpoints.md, read from transformers 5.23.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp::checkpoint {

enum class Activation { kSilu, kGelu, kGeluTanh };

enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongRope };

/// Rotary position embedding.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;            ///< share of head_dim that is rotated
  double factor = 1.0;                           ///< linear, dynamic, yarn, llama3, longrope
  int64_t original_max_position_embeddings = 0;  ///< 0: the model's max_position_embeddings
  double low_freq_factor = 1.0;                  ///< llama3
  double high_freq_factor = 4.0;                 ///< llama3
  double beta_fast = 32.0;                       ///< yarn
  double beta_slow = 1.0;                        ///< yarn
  std::optional<double> attention_factor;        ///< yarn, longrope; absent: from the formula
  std::optional<double> mscale;                  ///< yarn
  std::optional<double> mscale_all_dim;          ///< yarn
  bool truncate = true;                          ///< yarn: correction range rounded to whole dimensions
  std::vector<double> short_factor;              ///< longrope
  std::vector<double> long_factor;               ///< longrope
};

/// `quantization_config` with quant_method "aqlm": design/aqlm.md 1.1.
struct AqlmLayout {
  int64_t num_codebooks = 1;
  int64_t nbits_per_codebook = 16;
  int64_t in_group_size = 8;
  int64_t out_group_size = 1;
  std::vector<std::string> not_quantised;  ///< linear_weights_not_to_quantize as stored

  int64_t codebook_size() const { return int64_t{1} << nbits_per_codebook; }
};

/// A mixture of experts in place of the MLP of some or all layers.
struct MoeConfig {
  int64_t num_experts = 0;
  int64_t experts_per_token = 0;
  int64_t intermediate_size = 0;              ///< of one expert
  int64_t shared_intermediate_size = 0;       ///< of the shared expert; 0: there is none
  bool normalise_top_k = false;               ///< weights of the chosen experts are made to sum to one
  std::string module;                         ///< "mlp", "block_sparse_moe"
  std::string gate_name, up_name, down_name;  ///< an expert's linears: "w1", "w3", "w2"
};

struct ModelConfig {
  std::string model_type;                  ///< "qwen2"
  std::vector<std::string> architectures;  ///< as stored, e.g. "Qwen2ForCausalLM"
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  Activation hidden_act = Activation::kSilu;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;            ///< biases on q_proj, k_proj, v_proj
  bool attention_out_bias = false;  ///< bias on o_proj
  bool mlp_bias = false;
  bool qk_norm = false;            ///< RMS norm over head_dim on queries and keys (Qwen3)
  bool fused_projections = false;  ///< one qkv_proj and one gate_up_proj (Phi-3)
  bool norm_adds_one = false;      ///< norms multiply by 1 + the stored weight (Gemma)
  bool sandwich_norms = false;     ///< norms before and after attention and MLP (Gemma-2)
  double embedding_scale = 1.0;    ///< embeddings are multiplied by it
  double attention_scale = 0;      ///< of queries times keys: 1 / √head_dim unless the family has another
  double attention_softcap = 0;    ///< c · tanh(x / c) of attention scores; 0: none
  double logit_softcap = 0;        ///< the same of logits
  std::optional<MoeConfig> moe;
  std::vector<bool> sparse;      ///< [num_layers] which layers have experts; empty without moe
  std::vector<int64_t> windows;  ///< [num_layers]: attention window in tokens, the token itself counted; 0 = no window
  std::vector<int64_t> bos_token_ids;
  std::vector<int64_t> eos_token_ids;
  std::string dtype;  ///< "bfloat16"; empty if not stated
  std::optional<AqlmLayout> aqlm;
};

/// Checks a config.json.
/// @param where  its name for messages
/// @throws DataError: J-SYNTAX, J-UTF8, J-DUP, J-DEPTH, J-LIMIT; J-TYPE, J-RANGE, J-MISSING (a key); J-MISMATCH (keys
/// that
///         contradict each other); J-UNKNOWN (model_type, rope type, activation or quantisation that is not known)
ModelConfig parse_model_config(std::string_view text, std::string_view where);
/// The same of `folder`/config.json. @throws also J-NOTFILE, J-MISSING, J-DENIED
ModelConfig load_model_config(const std::filesystem::path& folder);

/// Names of the model types that can be read.
std::vector<std::string> known_model_types();

}  // namespace aqlm_exp::checkpoint
