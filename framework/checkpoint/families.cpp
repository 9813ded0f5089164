#include "framework/checkpoint/families.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <vector>

#include "framework/base/error.h"

namespace aqlm_exp::checkpoint {
namespace {

constexpr std::array<Family, 4> kFamilies = {{
    {.model_type = "llama",
     .rope_theta = 10000.0,
     .rms_norm_eps = 1e-6,
     .max_position_embeddings = 2048,
     .head_dim = 0,
     .num_kv_heads = 0,
     .tie_word_embeddings = false,
     .windows = WindowRule::kNone,
     .sliding_window = 0,
     .has_layer_types = false,
     .attention_bias = AttentionBias::kFromConfig,
     .has_mlp_bias_key = true,
     .qk_norm = false},
    {.model_type = "mistral",
     .rope_theta = 10000.0,
     .rms_norm_eps = 1e-6,
     .max_position_embeddings = 4096 * 32,
     .head_dim = 0,
     .num_kv_heads = 8,
     .tie_word_embeddings = false,
     .windows = WindowRule::kAll,
     .sliding_window = 4096,
     .has_layer_types = false,
     .attention_bias = AttentionBias::kNone,
     .has_mlp_bias_key = false,
     .qk_norm = false},
    {.model_type = "qwen2",
     .rope_theta = 10000.0,
     .rms_norm_eps = 1e-6,
     .max_position_embeddings = 32768,
     .head_dim = 0,
     .num_kv_heads = 32,
     .tie_word_embeddings = false,
     .windows = WindowRule::kFromMaxWindow,
     .sliding_window = 4096,
     .has_layer_types = true,
     .attention_bias = AttentionBias::kQkv,
     .has_mlp_bias_key = false,
     .qk_norm = false},
    {.model_type = "qwen3",
     .rope_theta = 10000.0,
     .rms_norm_eps = 1e-6,
     .max_position_embeddings = 32768,
     .head_dim = 128,
     .num_kv_heads = 32,
     .tie_word_embeddings = false,
     .windows = WindowRule::kFromMaxWindow,
     .sliding_window = 4096,
     .has_layer_types = true,
     .attention_bias = AttentionBias::kFromConfig,
     .has_mlp_bias_key = false,
     .qk_norm = true},
}};

/// Levenshtein distance.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::span<const Family> families() { return kFamilies; }

const Family& family_of(std::string_view model_type, std::string_view where) {
  std::vector<std::string_view> near;
  for (const Family& family : kFamilies) {
    if (family.model_type == model_type) return family;
    if (distance(family.model_type, model_type.substr(0, 64)) <= 2) near.push_back(family.model_type);
  }
  throw DataError(fmt::format("{}: model_type: unknown \"{}\"{}; known: {}", where, model_type.substr(0, 64),
                              near.empty() ? "" : fmt::format("; did you mean \"{}\"?", fmt::join(near, "\" or \"")),
                              fmt::join(known_model_types(), ", ")),
                  "J-UNKNOWN");
}

std::vector<std::string> known_model_types() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.model_type);
  return names;
}

}  // namespace aqlm_exp::checkpoint
