// Nearest names for misspelt ones.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp::config {

/// Damerau-Levenshtein distance (adjacent transpositions, optimal string alignment), ASCII case ignored, in characters.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidates within max(1, length/3) edits of `word`, nearest first, ties in their own order, at most `max_count`.
/// A candidate equal to `word` byte for byte is no suggestion and is left out.
std::vector<std::string> nearest_names(std::string_view word, const std::vector<std::string>& candidates,
                                       size_t max_count = 3);

/// "did you mean 'a', 'b' or 'c'?", or "" for an empty list.
std::string did_you_mean(const std::vector<std::string>& names);

/// "a, b, c": at most `max_count` names, then how many more.
std::string join_names(const std::vector<std::string>& names, size_t max_count = 12);

}  // namespace aqlm_exp::config
