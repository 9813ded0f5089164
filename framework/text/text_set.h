// Texts as token ids: for evaluation, cut into windows; for calibration, sampled.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/rng.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::text {

struct TextSet {
  std::filesystem::path path;
  std::vector<int32_t> ids;
  std::string text_sha256;  ///< of the file's bytes
  std::string ids_sha256;   ///< of the ids as little-endian int32
};

/// Reads one UTF-8 text (at most 4 GiB) and tokenizes it whole, without special tokens around it; those written in the
/// text are taken as text's own words only if `parse_special` is off.
/// @throws DataError: X-NOTFILE, X-MISSING, X-LARGE, X-UTF8 (with the byte), X-EMPTY, and those of Tokenizer::encode
TextSet load_text_set(const std::filesystem::path& path, const Tokenizer& tokenizer, const EncodeOptions& options = {});

/// SHA-256 of ids as little-endian int32.
std::string ids_sha256(std::span<const int32_t> ids);

enum class SampleRule {
  kFirst,   ///< the first windows, one behind the other
  kRandom,  ///< windows at random places, drawn independently
};
/// "first" or "random". @throws ConfigError
SampleRule sample_rule_of(std::string_view name);

/// Calibration sequences.
/// @return num_samples sequences of seq_len ids each
/// @throws DataError (X-SHORT) if the ids are fewer than the rule needs: num_samples * seq_len for `first`, seq_len for
/// `random`
std::vector<std::vector<int32_t>> sample_windows(std::span<const int32_t> ids, SampleRule rule, int64_t num_samples,
                                                 int64_t seq_len, Rng& rng);

}  // namespace aqlm_exp::text
