// Post-processors of tokenizer.json, as far as they add tokens: which special tokens stand around a text.
#pragma once

#include <cstdint>
#include <vector>

#include "framework/base/json_fields.h"

namespace aqlm_exp::text {

/// Tokens put before and behind the tokens of one text.
struct SpecialFrame {
  std::vector<int32_t> before;
  std::vector<int32_t> behind;
};

/// Reads TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (adds nothing) and Sequence.
/// @param max_id  ids beyond it are refused
/// @throws DataError: K-UNKNOWN, K-NESTED, K-TYPE, K-MISSING, K-RANGE, K-TEMPLATE
SpecialFrame read_post_processor(const JsonFields& in, int64_t max_id);

}  // namespace aqlm_exp::text
