#include "framework/text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/utf8.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::text {
namespace {

constexpr size_t kMaxAddedTokens = 1'000'000;
constexpr size_t kMaxStepsPerByte = 256;  // tokens of published files have a few dozen bytes

char32_t code_point_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return utf8_decode(text, begin).value;
}

size_t spaces_start(std::string_view text, size_t end) {
  while (end > 0) {
    const char32_t c = code_point_before(text, end);
    if (!is_space(c)) break;
    do {
      --end;
    } while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  }
  return end;
}

size_t spaces_end(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const CodePoint c = utf8_decode(text, begin);
    if (!is_space(c.value)) break;
    begin += c.size_bytes;
  }
  return begin;
}

}  // namespace

TokenMatcher::TokenMatcher(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.content < b.content; });
  entries_.erase(std::unique(entries_.begin(), entries_.end(),
                             [](const Entry& a, const Entry& b) { return a.content == b.content; }),
                 entries_.end());
  for (const Entry& entry : entries_) ++first_byte_[static_cast<unsigned char>(entry.content[0]) + 1U];
  for (size_t byte = 0; byte < 256; ++byte) first_byte_[byte + 1] += first_byte_[byte];
}

const TokenMatcher::Entry* TokenMatcher::longest_at(std::string_view text, size_t offset, size_t& steps_left) const {
  const auto first = static_cast<unsigned char>(text[offset]);
  auto low = entries_.begin() + first_byte_[first];
  auto high = entries_.begin() + first_byte_[first + 1U];
  const Entry* found = nullptr;
  for (size_t depth = 1; low != high; ++depth) {
    // Entries in [low, high) share their first `depth` bytes with the text; the shortest comes first.
    if (low->content.size() == depth) found = &*low++;
    if (offset + depth >= text.size()) break;
    const auto next = static_cast<unsigned char>(text[offset + depth]);
    const auto byte_at = [depth](const Entry& entry) { return static_cast<unsigned char>(entry.content[depth]); };
    low = std::partition_point(low, high, [&](const Entry& entry) { return byte_at(entry) < next; });
    high = std::partition_point(low, high, [&](const Entry& entry) { return byte_at(entry) == next; });
    if (--steps_left == 0) {
      throw DataError(
          fmt::format("tokenizer: more than {} steps a byte to find added tokens in a text of {} bytes; the file "
                      "holds long added tokens with a common start",
                      kMaxStepsPerByte, text.size()),
          "K-LIMIT");
    }
  }
  return found;
}

void TokenMatcher::cut(std::string_view text, bool with_special,
                       const std::function<void(std::string_view, size_t, const AddedToken*)>& found) const {
  size_t done = 0;  // stretches before it were handed out
  const auto rest = [&](size_t end) {
    if (done < end) found(text.substr(done, end - done), done, nullptr);
  };
  size_t steps_left = kMaxStepsPerByte * text.size() + (1 << 20);
  for (size_t offset = 0; offset < text.size() && !entries_.empty();) {
    const Entry* entry = longest_at(text, offset, steps_left);
    if (entry == nullptr) {
      ++offset;
      continue;
    }
    size_t begin = offset;
    size_t end = offset + entry->content.size();
    offset = end;
    const AddedToken& token = *entry->token;
    if (token.special && !with_special) continue;
    if (token.single_word) {
      const bool touched = (begin > 0 && is_word(code_point_before(text, begin))) ||
                           (end < text.size() && is_word(utf8_decode(text, end).value));
      if (touched) continue;
    }
    if (token.lstrip) begin = std::max(spaces_start(text, begin), done);
    if (token.rstrip) end = spaces_end(text, end);
    rest(begin);
    found(text.substr(begin, end - begin), begin, &token);
    done = end;
  }
  rest(text.size());
}

std::vector<AddedToken> read_added_tokens(const JsonFields& in, const Vocabulary& model_vocabulary) {
  std::vector<AddedToken> tokens;
  if (!in.has("added_tokens")) return tokens;
  std::set<std::string> seen;
  size_t index = 0;
  for (const auto& entry : in.array("added_tokens", kMaxAddedTokens)) {
    const JsonFields fields(entry, in.where(), fmt::format("added_tokens.{}", index++), "K");
    AddedToken token;
    token.content = fields.text("content");
    if (token.content.empty()) fields.fail("content", "ADDED", "is empty; it would be found everywhere");
    if (!seen.insert(token.content).second) {
      fields.fail("content", "ADDED", fmt::format("\"{}\" is listed twice", token.content.substr(0, 60)));
    }
    const int64_t id = fields.integer("id", 0, kMaxTokenId);
    const int32_t known = model_vocabulary.id_of(token.content);
    if (known != kNoToken && known != id) {
      log_warning("{}: added token \"{}\" has id {}, the vocabulary says {}; taking the vocabulary's", in.where(),
                  token.content.substr(0, 60), id, known);
    }
    token.id = known != kNoToken ? known : static_cast<int32_t>(id);
    token.special = fields.boolean_or("special", false);
    token.lstrip = fields.boolean_or("lstrip", false);
    token.rstrip = fields.boolean_or("rstrip", false);
    token.single_word = fields.boolean_or("single_word", false);
    token.normalized = fields.boolean_or("normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace aqlm_exp::text
