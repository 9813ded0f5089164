#include "analysis/provenance_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "analysis/number_text.h"

namespace aqlm_exp::analysis {
namespace {

constexpr size_t kShownValues = 4;

}  // namespace

std::string value_text(const results::Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  return significant(std::get<double>(value), 6);
}

std::vector<ProvenanceField> provenance_fields(const Dataset& data) {
  std::vector<std::string> order;
  std::map<std::string, std::map<std::string, size_t>> counts;
  size_t completed = 0;
  for (const TrialRow& row : data.rows) {
    if (!row.completed()) continue;
    ++completed;
    for (const auto& [key, value] : row.record->provenance) {
      if (key.rfind("metrics/", 0) == 0 || key.rfind("notes/", 0) == 0 || key.rfind("kernels/", 0) == 0) continue;
      auto [found, added] = counts.try_emplace(key);
      if (added) order.push_back(key);
      ++found->second[value_text(value)];
    }
  }
  std::vector<ProvenanceField> fields;
  for (const std::string& key : order) {
    ProvenanceField field{.key = key, .values = {}, .num_more = 0, .num_missing = completed};
    for (const auto& [value, count] : counts[key]) {
      field.values.emplace_back(value, count);
      field.num_missing -= count;
    }
    std::stable_sort(field.values.begin(), field.values.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    if (field.values.size() > kShownValues) {
      field.num_more = field.values.size() - kShownValues;
      field.values.resize(kShownValues);
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

std::vector<std::pair<std::string, std::string>> report_definitions(const Dataset& data) {
  std::vector<std::pair<std::string, std::string>> definitions;
  for (const TrialRow& row : data.rows) {
    if (!row.completed()) continue;
    for (const auto& [key, value] : row.record->provenance) {
      if (key.rfind("metrics/", 0) != 0) continue;
      const std::pair<std::string, std::string> definition = {key.substr(8), value_text(value)};
      if (std::find(definitions.begin(), definitions.end(), definition) == definitions.end()) {
        definitions.push_back(definition);
      }
    }
  }
  definitions.emplace_back("ranking",
                           "Within a bit budget by KL divergence, by perplexity where a trial of the budget lacks KL. "
                           "Only trials of one model, "
                           "evaluation text, perplexity convention, hardware and build are ranked together.");
  definitions.emplace_back(
      "best, tie, worse",
      "Each configuration is compared with the lowest of its budget window by window (paired Student interval of the "
      "mean "
      "difference). The confidence of each interval is raised so that all intervals of a budget hold together at 95 % "
      "(Bonferroni). A configuration whose interval holds zero is a tie; one that does not is worse.");
  definitions.emplace_back(
      "repeats",
      "Trials that differ in nothing but seed and repeat are one configuration: its numbers are their "
      "medians, its intervals their range.");
  definitions.emplace_back(
      "nominal bits",
      "Bits of the codes alone: nbits, or num_codebooks * nbits_per_codebook / group size. Published tables "
      "often quote these; codebooks, scales and zero points come on top.");
  return definitions;
}

}  // namespace aqlm_exp::analysis
