#include "framework/quant/code_spec.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "framework/base/error.h"
#include "framework/config/reader.h"

namespace aqlm_exp::quant {

std::string CodeSpec::str() const {
  const std::string groups =
      out_group_size == 1 ? fmt::format("g{}", in_group_size) : fmt::format("g{}x{}", in_group_size, out_group_size);
  return fmt::format("{}x{} {}", num_codebooks, nbits_per_codebook, groups);
}

void CodeSpec::check_shape(const std::string& where, int64_t out_features, int64_t in_features) const {
  if (in_features % in_group_size != 0) {
    throw DataError(fmt::format("[{}] in_features {} is no multiple of in_group_size {}; choose a divisor of {}", where,
                                in_features, in_group_size, in_features));
  }
  if (out_features % out_group_size != 0) {
    throw DataError(fmt::format("[{}] out_features {} is no multiple of out_group_size {}; choose a divisor of {}",
                                where, out_features, out_group_size, out_features));
  }
}

CodeSpec parse_code_spec(const std::string& text) {
  CodeSpec spec;
  const char *at = text.data(), *const end = at + text.size();
  const auto take = [&](std::string_view before, int64_t& value, int64_t most) {
    if (static_cast<size_t>(end - at) < before.size() || std::string_view(at, before.size()) != before) return false;
    const auto [after, error] = std::from_chars(at + before.size(), end, value);
    if (error != std::errc() || value < 1 || value > most) return false;
    at = after;
    return true;
  };
  const bool good =
      take("", spec.num_codebooks, 64) && take("x", spec.nbits_per_codebook, 16) &&
      (at == end || (take(" g", spec.in_group_size, 4096) && (at == end || take("x", spec.out_group_size, 4096))));
  if (!good || at != end) {
    throw ConfigError(
        fmt::format("scheme: got \"{}\", need MxN with 1 to 64 codebooks of 1 to 16 bits, and, if groups "
                    "are not of 8, their size: \"2x8\", \"1x16 g16\", \"2x8 g8x2\"",
                    text));
  }
  return spec;
}

CodeSpec read_code_spec(config::Reader& in) {
  CodeSpec spec;
  spec.num_codebooks = in.integer("num_codebooks", {.fallback = 2, .min = 1, .max = 64, .doc = "codebooks M of MxN"});
  spec.nbits_per_codebook =
      in.integer("nbits_per_codebook", {.fallback = 8, .min = 1, .max = 16, .unit = "bits", .doc = "bits N of MxN"});
  spec.in_group_size =
      in.integer("in_group_size", {.fallback = 8, .min = 1, .max = 4096, .doc = "neighbouring inputs a code covers"});
  spec.out_group_size =
      in.integer("out_group_size", {.fallback = 1, .min = 1, .max = 4096, .doc = "neighbouring outputs a code covers"});
  return spec;
}

}  // namespace aqlm_exp::quant
