// A stretch of text on its way through a tokenizer: cut into pieces, each of which the model turns into tokens.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp::text {

struct Range {
  size_t begin;
  size_t end;
};

struct Pieces {
  std::string text;
  std::vector<Range> ranges;  ///< in order, not empty, not overlapping; parts of `text` outside them are dropped
  bool starts_input = false;  ///< the stretch begins where the whole input does
  size_t max_bytes = 0;       ///< text may not grow beyond it

  std::string_view at(const Range& range) const {
    return std::string_view(text).substr(range.begin, range.end - range.begin);
  }
};

/// How much a text may grow while it is normalised and cut: room for every published tokenizer, and an end to hostile
/// ones.
inline size_t growth_limit(size_t input_bytes) { return 16 * input_bytes + (size_t{1} << 20); }
/// @throws DataError (K-LIMIT)
void check_growth(size_t size_bytes, size_t max_bytes);

}  // namespace aqlm_exp::text
