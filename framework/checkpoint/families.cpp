#include "framework/checkpoint/families.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "framework/base/error.h"

namespace aqlm_exp::checkpoint {
namespace {

const std::vector<Family>& all_families() {
  static const std::vector<Family> kFamilies = {gemma_family(),   gemma2_family(),   llama_family(), mistral_family(),
                                                mixtral_family(), phi3_family(),     qwen2_family(), qwen2_moe_family(),
                                                qwen3_family(),   qwen3_moe_family()};
  return kFamilies;
}

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

std::span<const Family> families() { return all_families(); }

const Family& family_of(std::string_view model_type, std::string_view where) {
  std::vector<std::string_view> near;
  for (const Family& family : all_families()) {
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
  for (const Family& family : all_families()) names.emplace_back(family.model_type);
  return names;
}

}  // namespace aqlm_exp::checkpoint
