#include "framework/config/suggestions.h"

#include <algorithm>
#include <utility>

namespace aqlm_exp::config {
namespace {

constexpr size_t kLongestWord = 200;  // beyond this a near miss says nothing, and the table grows quadratically

/// Characters as numbers, ASCII letters in lower case.
std::vector<char32_t> folded(std::string_view text) {
  std::vector<char32_t> out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80 && !out.empty()) {
      out.back() = (out.back() << 6) | (byte & 0x3Fu);
    } else {
      out.push_back(byte >= 'A' && byte <= 'Z' ? byte + 32u : byte);
    }
  }
  return out;
}

}  // namespace

size_t edit_distance(std::string_view a_text, std::string_view b_text) {
  const std::vector<char32_t> a = folded(a_text), b = folded(b_text);
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::vector<std::string> nearest_names(std::string_view word, const std::vector<std::string>& candidates,
                                       size_t max_count) {
  std::vector<std::pair<size_t, std::string>> found;
  if (word.empty() || word.size() > kLongestWord) return {};
  const size_t limit = std::max<size_t>(1, word.size() / 3);
  for (const std::string& candidate : candidates) {
    if (candidate == word || candidate.size() > word.size() + 4 * limit || word.size() > candidate.size() + 4 * limit) {
      continue;
    }
    const size_t distance = edit_distance(word, candidate);
    if (distance <= limit) found.emplace_back(distance, candidate);
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  std::vector<std::string> names;
  for (auto& [distance, name] : found) {
    if (names.size() < max_count && std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::string did_you_mean(const std::vector<std::string>& names) {
  if (names.empty()) return {};
  std::string out = "did you mean '" + names[0] + "'";
  for (size_t i = 1; i < names.size(); ++i) out += (i + 1 == names.size() ? " or '" : ", '") + names[i] + "'";
  return out + "?";
}

std::string join_names(const std::vector<std::string>& names, size_t max_count) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < max_count; ++i) out += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > max_count) out += ", ... (" + std::to_string(names.size() - max_count) + " more)";
  return out;
}

}  // namespace aqlm_exp::config
