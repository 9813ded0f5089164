#include "framework/text/text_set.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/sha256.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::text {
namespace {

constexpr uint64_t kMaxTextBytes = 4ULL << 30;

}  // namespace

std::string ids_sha256(std::span<const int32_t> ids) {
  static_assert(std::endian::native == std::endian::little, "ids are hashed as little-endian int32");
  Sha256 hash;
  hash.update(ids.data(), ids.size_bytes());
  return hash.hex();
}

TextSet load_text_set(const std::filesystem::path& path, const Tokenizer& tokenizer, const EncodeOptions& options) {
  const std::string text = read_regular_file(path, kMaxTextBytes, "X");
  if (const size_t valid = utf8_valid_prefix(text); valid != text.size()) {
    throw DataError(fmt::format("{}: not UTF-8 at byte {} of {}; convert it first (iconv -t UTF-8)", path.string(),
                                valid, text.size()),
                    "X-UTF8");
  }
  TextSet set;
  set.path = path;
  set.ids = tokenizer.encode(text, options);
  if (set.ids.empty())
    throw DataError(fmt::format("{}: got a text without tokens, need some", path.string()), "X-EMPTY");
  set.text_sha256 = sha256_hex(text);
  set.ids_sha256 = ids_sha256(set.ids);
  return set;
}

SampleRule sample_rule_of(std::string_view name) {
  if (name == "first") return SampleRule::kFirst;
  if (name == "random") return SampleRule::kRandom;
  throw ConfigError(fmt::format("calibration sampling: unknown \"{}\"; known: first, random", name));
}

std::vector<std::vector<int32_t>> sample_windows(std::span<const int32_t> ids, SampleRule rule, int64_t num_samples,
                                                 int64_t seq_len, Rng& rng) {
  if (num_samples < 1 || seq_len < 1) {
    throw ConfigError(
        fmt::format("calibration: got {} samples of {} tokens, need at least 1 of 1", num_samples, seq_len));
  }
  const auto size = static_cast<int64_t>(ids.size());
  const int64_t windows = size / seq_len;
  if (rule == SampleRule::kFirst && windows < num_samples) {
    throw DataError(
        fmt::format(
            "calibration: got {} tokens, which is {} windows of {}; need {}. Take a longer text, fewer samples, a "
            "smaller seq_len, or sampling: random",
            size, windows, seq_len, num_samples),
        "X-SHORT");
  }
  if (windows < 1) {
    throw DataError(
        fmt::format("calibration: got {} tokens, need at least {} for one window; take a longer text", size, seq_len),
        "X-SHORT");
  }
  std::vector<std::vector<int32_t>> samples;
  samples.reserve(static_cast<size_t>(num_samples));
  for (int64_t i = 0; i < num_samples; ++i) {
    const int64_t begin = rule == SampleRule::kFirst
                              ? i * seq_len
                              : static_cast<int64_t>(rng.below(static_cast<uint64_t>(size - seq_len + 1)));
    const auto window = ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(seq_len));
    samples.emplace_back(window.begin(), window.end());
  }
  return samples;
}

}  // namespace aqlm_exp::text
