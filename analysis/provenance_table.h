// Where the trials of a report come from, as the values that they share and those that differ.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "analysis/dataset.h"

namespace aqlm_exp::analysis {

struct ProvenanceField {
  std::string key = {};  ///< "host/cpu"
  std::vector<std::pair<std::string, size_t>>
      values;              ///< distinct values with their trials, most frequent first; at most 4
  size_t num_more = 0;     ///< further distinct values
  size_t num_missing = 0;  ///< completed trials without the field
};

/// Fields that describe code, machine and inputs, in the order in which workers write them. Definitions of metrics
/// ("metrics/...") and notes are left out: report_definitions() has them.
std::vector<ProvenanceField> provenance_fields(const Dataset& data);

/// Definitions of metrics as the workers stored them ("ppl.v1: ..."), and how this report compares.
std::vector<std::pair<std::string, std::string>> report_definitions(const Dataset& data);

/// A stored value as text.
std::string value_text(const results::Value& value);

}  // namespace aqlm_exp::analysis
