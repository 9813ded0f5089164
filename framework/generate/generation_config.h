// Which tokens end an answer, from the files of a model folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "framework/text/tokenizer.h"

namespace aqlm_exp::generate {

/// eos_token_id of generation_config.json (a number or a list), else of config.json, and eos_token of
/// tokenizer_config.json; ascending, without doubles. A folder may name none.
/// @throws DataError (G-...) for ids that are no whole numbers of 0 and more
std::vector<int32_t> stop_tokens(const std::filesystem::path& folder, const text::Tokenizer& tokenizer);

}  // namespace aqlm_exp::generate
